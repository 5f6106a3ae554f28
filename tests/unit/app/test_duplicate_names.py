"""Two tasks that want one name are told apart by a warning, as in Celery."""

from __future__ import annotations

import warnings

import pytest

from taskq import TaskQ, shared_task
from taskq.exceptions import DuplicateTaskNameWarning


def app_of():
    return TaskQ("names", set_as_current=False)


def named(value):
    def function():
        return value

    return function


def test_a_second_function_under_a_name_warns_and_the_first_one_stays():
    app = app_of()
    app.task(named(1), name="same", lazy=False)

    with pytest.warns(DuplicateTaskNameWarning, match="'same' is already registered") as caught:
        app.task(named(2), name="same", lazy=False)

    assert app.tasks["same"]() == 1
    assert "test_duplicate_names.named.<locals>.function" in str(caught[0].message)


def test_the_warning_points_at_the_second_function():
    app = app_of()
    second = named(2)
    app.task(named(1), name="same", lazy=False)

    with pytest.warns(DuplicateTaskNameWarning) as caught:
        app.task(second, name="same", lazy=False)

    assert caught[0].filename == __file__
    assert caught[0].lineno == second.__code__.co_firstlineno


def test_lazy_tasks_warn_when_the_app_is_finalized():
    app = app_of()
    app.task(named(1), name="same")
    app.task(named(2), name="same")

    with pytest.warns(DuplicateTaskNameWarning, match="same"):
        app.finalize()


def test_one_function_may_be_registered_again():
    app = app_of()
    function = named(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        app.task(function, name="same", lazy=False)
        app.task(function, name="same", lazy=False)
        app.task(function, name="same", lazy=False, bind=False)


def test_shared_tasks_of_one_name_warn():
    shared_task(named(1), name="shared.same")
    shared_task(named(2), name="shared.same")

    with pytest.warns(DuplicateTaskNameWarning, match=r"shared\.same"):
        app_of().finalize()


def test_another_class_under_a_name_warns_and_takes_over():
    app = app_of()

    class First(app.Task):
        name = "class.same"

        def run(self):
            return 1

    class Second(app.Task):
        name = "class.same"

        def run(self):
            return 2

    app.register_task(First)
    with pytest.warns(DuplicateTaskNameWarning, match="replaced the existing one"):
        app.register_task(Second)

    assert app.tasks["class.same"]() == 2


def test_the_same_class_may_be_registered_again():
    app = app_of()

    class Only(app.Task):
        name = "class.only"

        def run(self):
            return 1

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        app.register_task(Only)
        app.register_task(Only())
        app.register_task(app.tasks["class.only"])
