"""Cached properties, bunches, look-ups, and context managers with a fallback."""

from __future__ import annotations

import threading
import uuid as stdlib_uuid

import pytest

import taskq.utils
from taskq.utils import cached_property, uuid
from taskq.utils.abstract import CallableSignature, CallableTask
from taskq.utils.annotations import (
    annotation_is_class,
    annotation_issubclass,
    get_optional_arg,
    is_none_type,
)
from taskq.utils.objects import Bunch, FallbackContext, getitem_property, mro_lookup


class Test_cached_property:
    def test_computed_once(self):
        calls = []

        class Owner:
            @cached_property
            def value(self):
                """Documented."""
                calls.append(1)
                return 5

        owner = Owner()
        assert (owner.value, owner.value, calls) == (5, 5, [1])
        owner.value = 6
        assert owner.value == 6
        del owner.value
        assert owner.value == 5
        assert Owner.value.__doc__ == "Documented."

    def test_named_differently_from_its_function(self):
        class Owner:
            one = cached_property(lambda self: 1)
            two = cached_property(lambda self: 2)

        assert (Owner().one, Owner().two) == (1, 2)

    def test_setter_and_deleter(self):
        deleted = []

        class Owner:
            @cached_property
            def value(self):
                return 1

            @value.setter
            def value(self, value):
                return value * 10

            @value.deleter
            def value(self, value):
                deleted.append(value)

        owner = Owner()
        assert owner.value == 1
        owner.value = 5
        assert owner.value == 50
        del owner.value
        del owner.value
        assert deleted == [50]
        assert owner.value == 1

    def test_threads_get_the_same_object(self):
        barrier = threading.Barrier(4)

        class Owner:
            @cached_property
            def value(self):
                barrier.wait(timeout=5)
                return object()

        owner, found = Owner(), []
        threads = [threading.Thread(target=lambda: found.append(owner.value)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(map(id, found))) == 1


def test_uuid():
    ids = {uuid() for _ in range(1000)}
    assert len(ids) == 1000
    for text in ids:
        parsed = stdlib_uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, stdlib_uuid.RFC_4122)
    assert uuid(_uuid=lambda: "x") == "x"


@pytest.mark.parametrize("name", taskq.utils.__all__)
def test_every_short_name_is_there(name):
    assert getattr(taskq.utils, name) is not None


def test_Bunch():
    assert Bunch(a=1).a == 1


def test_mro_lookup():
    class A(list):
        def foo(self):
            pass

    class B(A):
        pass

    assert mro_lookup(B, "foo") is A
    assert mro_lookup(B, "append") is list
    assert mro_lookup(B, "append", stop={list}) is None
    assert mro_lookup(B, "foo", stop={A}) is A
    assert mro_lookup(B, "foo", stop={A}, monkey_patched=[__name__]) is None
    assert mro_lookup(B, "nope") is None


def test_FallbackContext(tmp_path):
    with FallbackContext("given", None) as value:
        assert value == "given"
    with FallbackContext(None, open, tmp_path / "f", mode="w") as file:
        file.write("x")
    assert file.closed


def test_getitem_property():
    class Message(dict):
        id = getitem_property("id", "The id.")
        queue = getitem_property("options.queue")

    message = Message(options={})
    message.id, message.queue = 1, "q"
    assert message == {"id": 1, "options": {"queue": "q"}}
    assert (message.id, message.queue) == (1, "q")
    assert Message(options={}).queue is None


def test_abstract():
    class Task:
        def delay(self): ...
        def apply(self): ...
        def apply_async(self): ...

    assert isinstance(Task(), CallableTask)
    assert not isinstance(Task(), CallableSignature)
    assert not isinstance(object(), CallableTask)

    @CallableSignature.register
    class Other:
        pass

    assert isinstance(Other(), CallableSignature)


def test_annotations():
    from typing import Optional

    assert get_optional_arg(Optional[int]) is int  # noqa: UP045
    assert get_optional_arg(None | int) is int
    assert get_optional_arg(int) is None
    assert get_optional_arg(int | str | None) is None
    assert annotation_is_class(int)
    assert not annotation_is_class(list[int])
    assert annotation_issubclass(bool, int)
    assert is_none_type(type(None))
