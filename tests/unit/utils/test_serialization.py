"""Exceptions survive pickling; values become what JSON can hold."""

from __future__ import annotations

import datetime
import pickle
from decimal import Decimal

import pytest

from taskq.utils.serialization import (
    UnpickleableExceptionWrapper,
    b64decode,
    b64encode,
    create_exception_cls,
    ensure_serializable,
    find_pickleable_exception,
    get_pickleable_etype,
    get_pickleable_exception,
    get_pickled_exception,
    jsonify,
    raise_with_context,
    strtobool,
)


class Importable(KeyError):
    pass


class TwoArguments(KeyError):
    """Cannot be pickled, since pickle gives it one argument."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(key)
        self.reason = reason


def local_class(base: type[BaseException] = Exception) -> type[BaseException]:
    class Local(base):  # type: ignore[misc,valid-type]
        pass

    return Local


def through_pickle(exc):
    return get_pickled_exception(pickle.loads(pickle.dumps(get_pickleable_exception(exc))))


def test_an_exception_that_can_be_pickled_stays_itself():
    exc = Importable("x")
    assert get_pickleable_exception(exc) is exc
    assert get_pickleable_etype(Importable) is Importable


def test_nearest_base_class_is_taken():
    exc = find_pickleable_exception(TwoArguments("k", "r"))
    assert (type(exc), exc.args) == (KeyError, ("k",))
    assert type(through_pickle(local_class(ValueError)(1))) is ValueError


def test_nothing_near_enough():
    assert find_pickleable_exception(local_class()(1)) is None
    exc = through_pickle(local_class()(1))
    assert (type(exc).__name__, exc.args) == ("Local", (1,))
    assert get_pickleable_etype(local_class()) is Exception


def test_wrapper():
    wrapper = UnpickleableExceptionWrapper.from_exception(local_class()("a", lambda: 1))
    copy = pickle.loads(pickle.dumps(wrapper))
    assert copy.exc_cls_name == "Local"
    assert copy.exc_module == __name__
    assert copy.exc_args[0] == "a"
    assert "lambda" in copy.exc_args[1]
    assert str(copy) == wrapper.text


def test_create_exception_cls():
    cls = create_exception_cls("Made", "some.module", KeyError)
    assert (cls.__name__, cls.__module__, cls.__bases__) == ("Made", "some.module", (KeyError,))


def test_ensure_serializable():
    assert ensure_serializable([1, {2}], jsonify) == (1, "{2}")


def test_base64():
    assert b64encode("foo") == "Zm9v"
    assert b64decode("Zm9v") == b"foo"


@pytest.mark.parametrize(
    ("term", "value"),
    [("yes", True), ("OFF", False), ("1", True), (True, True), (None, None), (3, 3)],
)
def test_strtobool(term, value):
    assert strtobool(term) == value


def test_strtobool_refuses_other_words():
    with pytest.raises(TypeError, match="maybe"):
        strtobool("maybe")


UTC = datetime.UTC


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (1.5, 1.5),
        ((1, [2]), [1, [2]]),
        ({"a": {"b": None}}, {"a": {"b": None}}),
        (datetime.datetime(2030, 1, 2, 3, 4, 5, 678901), "2030-01-02T03:04:05.678"),
        (datetime.datetime(2030, 1, 2, 3, 4, 5, 678901, UTC), "2030-01-02T03:04:05.678Z"),
        (datetime.datetime(2030, 1, 2, tzinfo=UTC), "2030-01-02T00:00:00Z"),
        (datetime.date(2030, 1, 2), "2030-01-02"),
        (datetime.time(1, 2, 3, 456789), "01:02:03.456"),
        (datetime.timedelta(hours=1), "1:00:00"),
    ],
)
def test_jsonify(value, expected):
    assert jsonify(value) == expected


def test_jsonify_options():
    kept = jsonify({"a": 1, "_b": 2}, keyfilter=lambda key: not key.startswith("_"))
    assert kept == {"a": 1}
    assert jsonify({"a": [Decimal("1.5")]}, unknown_type_filter=str) == {"a": ["1.5"]}
    with pytest.raises(ValueError, match="parent: a"):
        jsonify({"a": object()})


def test_raise_with_context():
    def fail_while_handling():
        try:
            raise KeyError("old")
        except KeyError:
            raise_with_context(ValueError("new"))

    with pytest.raises(ValueError, match="new") as caught:
        fail_while_handling()
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(ValueError, match="alone"):
        raise_with_context(ValueError("alone"))
