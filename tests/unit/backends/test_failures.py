"""Exceptions as stored data and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskq.exceptions import ChordError, SecurityError, TaskRevokedError


class Telling(Exception):
    """Its text is made of attributes."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host)
        self.port = port

    def __str__(self) -> str:
        return f"{self.args[0]}:{self.port}"


class Wanting(Exception):
    """Its constructor wants more than it leaves in `args`."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code)
        self.reason = reason


class Outer:
    class Inner(Exception):
        pass


def round_trip(backend: Any, exc: BaseException) -> BaseException:
    stored = json.loads(json.dumps(backend.prepare_exception(exc)))
    found: BaseException = backend.exception_to_python(stored)
    return found


def test_the_stored_form(backend: Any) -> None:
    stored = backend.prepare_exception(KeyError("a", 2))
    assert json.loads(json.dumps(stored)) == {
        "exc_type": "KeyError",
        "exc_message": ["a", 2],
        "exc_module": "builtins",
    }


def test_a_builtin_exception_comes_back(backend: Any) -> None:
    found = round_trip(backend, ValueError("bad", 3))
    assert type(found) is ValueError
    assert found.args == ("bad", 3)


def test_a_nested_class_comes_back(backend: Any) -> None:
    assert type(round_trip(backend, Outer.Inner("x"))) is Outer.Inner


def test_a_local_class_comes_back_by_name(backend: Any) -> None:
    class Local(Exception):
        pass

    found = round_trip(backend, Local("x"))
    assert type(found).__name__ == "Local"
    assert found.args == ("x",)


def test_arguments_that_cannot_be_serialized_become_text(backend: Any) -> None:
    found = round_trip(backend, ValueError("a", object()))
    assert found.args[0] == "a"
    assert "object object" in found.args[1]


def test_a_class_with_other_arguments_comes_back_with_its_args(backend: Any) -> None:
    found = round_trip(backend, Wanting(7, "why"))
    assert type(found) is Wanting
    assert "7" in str(found)


def test_a_class_whose_text_needs_attributes_comes_back_as_text(backend: Any) -> None:
    found = round_trip(backend, Telling("host", 80))
    assert type(found) is Exception
    assert "Telling" in str(found)


def test_groups_keep_their_members(backend: Any) -> None:
    found = round_trip(
        backend, ExceptionGroup("two", [ValueError(1), ExceptionGroup("in", [Wanting(7, "why")])])
    )
    assert type(found) is ExceptionGroup
    assert found.message == "two"
    assert [type(each) for each in found.exceptions] == [ValueError, ExceptionGroup]
    assert type(found.exceptions[1].exceptions[0]) is Wanting


def test_a_class_that_is_not_here_comes_back_by_name(backend: Any) -> None:
    stored = {"exc_type": "Gone", "exc_message": ["x"], "exc_module": "no.such.module"}
    found = backend.exception_to_python(stored)
    assert type(found).__name__ == "Gone"
    assert type(found).__module__ == "no.such.module"
    assert isinstance(found, Exception)


def test_a_class_without_module_is_never_looked_up(backend: Any) -> None:
    stored = {"exc_type": "ValueError", "exc_message": "x", "exc_module": None}
    found = backend.exception_to_python(stored)
    assert type(found).__name__ == "ValueError"
    assert not isinstance(found, ValueError)


@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("subprocess", "Popen"), ("builtins", "print")]
)
def test_only_exception_classes_are_called(backend: Any, module: str, name: str) -> None:
    with pytest.raises(SecurityError, match=f"{module}.{name}"):
        backend.exception_to_python(
            {"exc_type": name, "exc_message": ["rm -rf /"], "exc_module": module}
        )


def test_failure_data_of_ones_own_comes_back_inside_an_exception(backend: Any) -> None:
    found = backend.exception_to_python({"reason": "disk full"})
    assert isinstance(found, Exception)
    assert found.args == ({"reason": "disk full"},)


@pytest.mark.parametrize("exc", [TaskRevokedError("terminated"), ChordError("x")])
def test_our_exceptions_are_celerys_on_the_wire(backend: Any, exc: Exception) -> None:
    stored = backend.prepare_exception(exc)
    assert stored["exc_module"] == "celery.exceptions"
    assert type(round_trip(backend, exc)) is type(exc)


def test_pickle_keeps_the_instance(backend: Any) -> None:
    exc = backend.prepare_exception(Wanting(7, "why"), serializer="pickle")
    assert isinstance(exc, Exception)


def test_no_exception(backend: Any) -> None:
    assert backend.exception_to_python(None) is None
