"""Proxies stand for their object in every way that matters to user code."""

from __future__ import annotations

import copy
import pickle
from datetime import date

import pytest

from taskq.local import PromiseProxy, Proxy, class_property, maybe_evaluate, try_import
from taskq.utils.threads import Local, LocalStack


class Named:
    """A documented class."""

    def __init__(self, name: str = "n") -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Named) and other.name == self.name

    __hash__ = None  # type: ignore[assignment]


def test_attributes_are_read_set_and_deleted_on_the_object():
    obj = Named()
    proxy = Proxy(lambda: obj)
    proxy.name = "changed"
    assert obj.name == "changed"
    assert proxy.name == "changed"
    del proxy.name
    assert not hasattr(obj, "name")


def test_isinstance_and_class():
    proxy = Proxy(lambda: Named())
    assert isinstance(proxy, Named)
    assert proxy.__class__ is Named


def test_name_doc_and_module_are_the_objects_unless_given():
    def fun() -> None:
        """Documented."""

    proxy = Proxy(lambda: fun)
    assert proxy.__name__ == "fun"
    assert proxy.__doc__ == "Documented."
    assert proxy.__module__ == __name__
    named = Proxy(lambda: fun, name="other", __doc__="else")
    assert (named.__name__, named.__doc__) == ("other", "else")
    assert Proxy.__module__ == "taskq.local"
    assert "Stand-in" in Proxy.__doc__


def test_arguments_are_passed_to_the_function():
    assert Proxy(lambda *a, **kw: (a, kw), (1,), {"b": 2}) == ((1,), {"b": 2})


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (lambda p: p + 1, 8),
        (lambda p: 1 + p, 8),
        (lambda p: p - 1, 6),
        (lambda p: 10 - p, 3),
        (lambda p: p * 2, 14),
        (lambda p: p // 2, 3),
        (lambda p: p / 2, 3.5),
        (lambda p: p % 4, 3),
        (lambda p: divmod(p, 4), (1, 3)),
        (lambda p: p**2, 49),
        (lambda p: 2**p, 128),
        (lambda p: p << 1, 14),
        (lambda p: p >> 1, 3),
        (lambda p: p & 3, 3),
        (lambda p: p | 8, 15),
        (lambda p: p ^ 1, 6),
        (lambda p: -p, -7),
        (lambda p: +p, 7),
        (lambda p: ~p, -8),
        (lambda p: abs(p), 7),
        (lambda p: int(p), 7),
        (lambda p: float(p), 7.0),
        (lambda p: complex(p), 7 + 0j),
        (lambda p: [0] * 8 and list(range(8))[p], 7),
        (lambda p: hash(p), hash(7)),
        (lambda p: f"{p:03d}", "007"),
        (lambda p: (p < 8, p <= 7, p > 7, p >= 7, p == 7, p != 7), (1, 1, 0, 1, 1, 0)),
    ],
)
def test_operators(operation, expected):
    assert operation(Proxy(lambda: 7)) == expected


def test_containers():
    items = {"a": 1}
    proxy = Proxy(lambda: items)
    proxy["b"] = 2
    del proxy["a"]
    assert (len(proxy), list(proxy), proxy["b"], "b" in proxy) == (1, ["b"], 2, True)
    assert list(reversed(Proxy(lambda: [1, 2]))) == [2, 1]
    assert "keys" in dir(proxy)


def test_calling_and_context_manager(tmp_path):
    assert Proxy(lambda: len)([1]) == 1
    real = open(tmp_path / "f", "w")  # noqa: SIM115 - the proxy is the context manager
    with Proxy(lambda: real) as file:
        file.write("x")
    assert real.closed
    assert (tmp_path / "f").read_text() == "x"


def test_unbound():
    def missing():
        raise RuntimeError("nothing here")

    proxy = Proxy(missing)
    assert repr(proxy) == "<Proxy unbound>"
    assert not proxy
    assert dir(proxy) == []
    with pytest.raises(RuntimeError, match="nothing here"):
        proxy.attribute


def test_copying_and_pickling_take_the_object():
    proxy = Proxy(lambda: date(2030, 1, 2))
    assert pickle.loads(pickle.dumps(proxy)) == date(2030, 1, 2)
    assert type(copy.deepcopy(proxy)) is date


def test_proxy_of_a_local_and_of_a_stack():
    local = Local()
    user = local("user")
    assert repr(user) == "<Proxy unbound>"
    local.user = "anna"
    assert user == "anna"
    stack = LocalStack()
    top = stack()
    stack.push("x")
    assert top == "x"


class Test_PromiseProxy:
    def test_evaluates_once_and_only_when_used(self):
        made = []
        proxy = PromiseProxy(lambda: made.append(1) or Named())
        assert not proxy.__evaluated__()
        assert made == []
        assert proxy.name == "n"
        assert proxy.name == "n"
        assert made == [1]
        assert proxy.__evaluated__()

    def test_then_runs_after_evaluation_or_at_once(self):
        called = []
        proxy = PromiseProxy(Named)
        proxy.__then__(called.append, 1)
        assert called == []
        real = proxy.__maybe_evaluate__()
        assert isinstance(real, Named)
        assert called == [1]
        proxy.__then__(called.append, 2)
        assert called == [1, 2]

    def test_maybe_evaluate(self):
        assert maybe_evaluate(3) == 3
        obj = Named()
        assert maybe_evaluate(PromiseProxy(lambda: obj)) is obj

    def test_unused_promise_can_be_collected(self):
        import weakref

        proxy = PromiseProxy(Named)
        ref = weakref.ref(proxy)
        del proxy
        assert ref() is None


def test_try_import():
    assert try_import("json").loads("1") == 1
    assert try_import("no_such_module_here", default=5) == 5


def test_class_property():
    class Base:
        registry: dict = {}

        def _get(cls):
            return cls.__name__

        def _set(cls, value):
            cls.registry[cls.__name__] = value

        who = class_property(_get, _set)

    class Child(Base):
        pass

    assert (Base.who, Child.who, Child().who) == ("Base", "Child", "Child")
    Child().who = 5
    assert Base.registry == {"Child": 5}
