"""Models as arguments and results of tasks."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from taskq import Task, TaskQ

pydantic = pytest.importorskip("pydantic")


class Item(pydantic.BaseModel):
    n: int = 1


class Seeing(pydantic.BaseModel):
    """Shows the context it was validated in."""

    text: str

    @pydantic.field_validator("text")
    @classmethod
    def with_context(cls, value: str, info: pydantic.ValidationInfo) -> str:
        return f"{value} {sorted(info.context)}"


@pytest.fixture
def app():
    app = TaskQ("models", broker="memory://", backend="cache+memory://")
    app.conf.task_always_eager = True
    return app


def define(app: TaskQ, function: Any, **options: Any) -> Any:
    return app.task(pydantic=True, shared=False, **options)(function)


def more(item: Item) -> Item:
    return Item(n=item.n + 1)


@pytest.mark.parametrize("given", [{"n": 2}, {"n": "2"}, Item(n=2)])
def test_models_in_and_out(app, given):
    task = define(app, more)
    assert task.delay(given).get() == {"n": 3}
    assert task.delay(item=given).get() == {"n": 3}
    assert task(given) == {"n": 3}


def optional(item: Item | None = None) -> str:
    return repr(item)


def test_optional_models(app):
    task = define(app, optional)
    assert task.delay().get() == "None"
    assert task.delay(None).get() == "None"
    assert task.delay({"n": 2}).get() == "Item(n=2)"


def unions(item: Item | Seeing, items: list[Item]) -> str:
    return repr((item, items))


def test_other_unions_and_generics_stay_data(app):
    assert define(app, unions).delay({"n": 2}, [{"n": 3}]).get() == "({'n': 2}, [{'n': 3}])"


def test_strict(app):
    task = define(app, more, pydantic_strict=True)
    with pytest.raises(pydantic.ValidationError):
        task.delay({"n": "2"}).get()
    assert task.delay({"n": 2}).get() == {"n": 3}


def see(seeing: Seeing) -> str:
    return seeing.text


def test_context(app):
    task = define(app, see, pydantic_context={"mine": 1})
    assert task.delay({"text": "x"}).get() == "x ['celery_app', 'celery_task_name', 'mine']"


def default(item: Item) -> Item:
    return Item()


def test_dump_arguments(app):
    assert define(app, default, name="whole").delay({}).get() == {"n": 1}
    task = define(app, default, pydantic_dump_kwargs={"exclude_defaults": True})
    assert task.delay({}).get() == {}


def with_task(self: Any, item: Item) -> list[Any]:
    return [self.name, item.n]


def test_bound_tasks(app):
    task = define(app, with_task, bind=True, name="bound")
    assert task.delay({"n": 4}).get() == ["bound", 4]
    with pytest.raises(TypeError):
        task.delay()


def test_options_of_a_class(app):
    class Strict(Task):
        abstract = True
        pydantic = True
        pydantic_strict = True
        pydantic_dump_kwargs: ClassVar = {"by_alias": True}

    task = define(app, more, base=Strict)
    assert (task.pydantic, task.pydantic_strict) == (True, True)
    inherited = app.task(base=Strict, name="inherited", shared=False)(more)
    for each in (task, inherited):
        with pytest.raises(pydantic.ValidationError):
            each.delay({"n": "2"}).get()
        assert each.delay(Item(n=2)).get() == {"n": 3}


def test_class_based_tasks(app):
    class More(Task):
        name = "class-based"
        pydantic = True
        autoretry_for = (ZeroDivisionError,)
        max_retries = 0

        def run(self, item: Item) -> Item:
            assert isinstance(item, Item)
            return Item(n=item.n + 1)

    task = app.register_task(More)
    assert app.register_task(task) is task
    assert task.delay(Item(n=1)).get() == {"n": 2}
    assert task.delay({"n": "1"}).get() == {"n": 2}
