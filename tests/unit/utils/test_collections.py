"""Layered configuration, and containers that stay small."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import pytest

from taskq.utils.collections import (
    AttributeDict,
    BufferMap,
    ChainMap,
    ConfigurationView,
    DictAttribute,
    LimitedSet,
    Messagebuffer,
    OrderedDict,
    force_mapping,
    lpmerge,
)


def test_AttributeDict():
    d = AttributeDict(a=1)
    d.b = 2
    assert d == {"a": 1, "b": 2}
    assert d.b == 2
    with pytest.raises(AttributeError, match="'c'"):
        d.c


class Test_DictAttribute:
    def test_reads_and_writes_attributes(self):
        obj = SimpleNamespace(a=1)
        d = DictAttribute(obj)
        d["b"] = 2
        d.c = 3
        assert (obj.b, obj.c, d["a"], d.get("z", 5), d.setdefault("e", 6)) == (2, 3, 1, 5, 6)
        assert "a" in d
        assert "z" not in d
        with pytest.raises(KeyError):
            d["z"]

    def test_iteration(self):
        d = DictAttribute(SimpleNamespace(a=1))
        assert dict(d.items())["a"] == 1
        assert {"a"} <= set(d) == set(d.keys())
        assert 1 in d.values()


def test_force_mapping():
    assert force_mapping({"a": 1}) == {"a": 1}
    assert force_mapping(SimpleNamespace(a=1))["a"] == 1


def test_lpmerge():
    assert lpmerge({"a": 1, "b": 2}, {"a": None, "b": 3, "c": 4}) == {"a": 1, "b": 3, "c": 4}


def test_OrderedDict():
    assert OrderedDict([("b", 1), ("a", 2)])._LRUkey() == "b"


class Test_ChainMap:
    def test_first_map_counts_and_changes(self):
        m = ChainMap({"a": 1}, {"a": 2, "b": 3})
        m["c"] = 4
        assert dict(m) == {"a": 1, "b": 3, "c": 4}
        assert m.changes == {"a": 1, "c": 4}
        assert (len(m), "b" in m, "z" in m, bool(m)) == (3, True, False, True)
        assert m.pop("a") == 1
        assert m["a"] == 2
        with pytest.raises(KeyError):
            m.pop("b")
        with pytest.raises(KeyError):
            m["z"]
        del m["c"]
        with pytest.raises(KeyError):
            del m["c"]

    def test_add_defaults_goes_before_other_defaults(self):
        m = ChainMap({}, {"a": 1})
        m.add_defaults({"a": 2})
        m.add_defaults(SimpleNamespace(b=3))
        assert (m["a"], m["b"]) == (2, 3)

    def test_observers(self):
        seen = []
        m = ChainMap()
        m.bind_to(lambda *args, **kwargs: seen.append((args, kwargs)))
        m.update({"a": 1})
        m.update(b=2)
        assert seen == [(({"a": 1},), {}), ((), {"b": 2})]

    def test_copy_is_independent(self):
        m = ChainMap({"a": 1}, {"b": 2})
        copy = m.copy()
        copy["a"] = 5
        assert (m["a"], copy["b"]) == (1, 2)

    def test_key_type(self):
        m = ChainMap({}, {"A": 1}, key_t=str.upper)
        m["b"] = 2
        assert (m["a"], m["B"], m.get("b")) == (1, 2, 2)

    def test_rest(self):
        m = ChainMap.fromkeys("ab", 1)
        assert dict(m.items()) == {"a": 1, "b": 1}
        assert list(m.values()) == [1, 1]
        assert m.setdefault("c", 3) == 3
        m.clear()
        assert not m


class Test_ConfigurationView:
    @pytest.fixture
    def view(self):
        return ConfigurationView({"changed": 1}, [{"default": 2, "changed": 0}])

    def test_attributes_and_items(self, view):
        assert (view.changed, view["default"], view.get("nope")) == (1, 2, None)
        view.default = 3
        assert view.changes == {"changed": 1, "default": 3}
        with pytest.raises(AttributeError):
            view.nope

    def test_first(self, view):
        assert view.first("nope", "default") == 2

    def test_prefix(self):
        view = ConfigurationView({"CELERY_A": 1}, [{"CELERY_B": 2}], prefix="CELERY")
        assert (view.A, view["B"], view.CELERY_A, "B" in view) == (1, 2, 1, True)

    def test_other_names_of_keys(self):
        view = ConfigurationView({}, [{"OLD": 1}], keys=[{"new": "OLD"}.get])
        assert view.new == 1
        assert "new" in view

    def test_swap_with(self, view):
        other = ConfigurationView({"changed": 9}, [{"else": 8}])
        view.swap_with(other)
        assert (view.changed, view["else"]) == (9, 8)
        view.changed = 10
        assert other.changed == 10

    def test_clear_and_copy(self, view):
        copy = view.copy()
        view.clear()
        assert (view.changed, copy.changed) == (0, 1)


class Test_LimitedSet:
    def test_forgets_the_oldest(self):
        s = LimitedSet(maxlen=3)
        for n in range(5):
            s.add(n)
        assert list(s) == [2, 3, 4]
        assert 4 in s
        assert 1 not in s

    def test_adding_again_makes_it_new(self):
        s = LimitedSet(maxlen=2)
        for n in (1, 2, 1, 3):
            s.add(n)
        assert list(s) == [1, 3]

    def test_expires(self):
        s = LimitedSet(maxlen=10, expires=5)
        s.add("old", now=100)
        s.add("new", now=104)
        s.purge(now=106)
        assert list(s) == ["new"]

    def test_minlen_is_kept_though_expired(self):
        s = LimitedSet(maxlen=10, minlen=2, expires=1)
        for n in range(4):
            s.add(n, now=n)
        s.purge(now=100)
        assert list(s) == [2, 3]

    def test_pop_and_discard(self):
        s = LimitedSet(data=["a", "b"])
        s.discard("a")
        s.discard("not there")
        assert (s.pop(), s.pop(), s.pop(default=7)) == ("b", None, 7)

    def test_discarding_often_does_not_fill_memory(self):
        s = LimitedSet()
        for n in range(1000):
            s.add(n)
            s.discard(n)
        assert len(s._heap) < 200

    def test_update_pickle_and_equality(self):
        s = LimitedSet(maxlen=5)
        s.update(["a"])
        s.update({"b": 5.0})
        s.update(LimitedSet(data=["c"]))
        copy = pickle.loads(pickle.dumps(s))
        assert copy == s
        assert (set(copy), copy.maxlen) == ({"a", "b", "c"}, 5)
        assert s.as_dict()["b"] <= 5.0
        s.update({"future": 1e12})
        assert s.as_dict()["future"] < 1e12
        with pytest.raises(ValueError, match="float"):
            s.update({"d": "yesterday"})
        s.clear()
        assert not s

    @pytest.mark.parametrize("options", [{"maxlen": -1}, {"expires": -1}, {"minlen": 2}])
    def test_refuses_nonsense(self, options):
        with pytest.raises(ValueError):
            LimitedSet(**options)


class Test_Messagebuffer:
    def test_keeps_the_newest(self):
        b = Messagebuffer(2, [1])
        b.put(2)
        b.extend([3, 4])
        assert (len(b), b[0], list(reversed(b)), 4 in b) == (2, 3, [4, 3], True)
        assert (b.take(), b.take(), b.take(None)) == (3, 4, None)
        with pytest.raises(b.Empty):
            b.take()

    def test_iterating_takes(self):
        b = Messagebuffer(None, [1, 2])
        assert list(b) == [1, 2]
        assert len(b) == 0


class Test_BufferMap:
    def test_total_is_limited(self):
        m = BufferMap(3)
        for key, item in [("a", 1), ("a", 2), ("b", 3), ("c", 4)]:
            m.put(key, item)
        assert m.total == 3
        assert (m.take("a"), m.take("b"), m.take("c")) == (2, 3, 4)
        assert m.take("a", None) is None
        with pytest.raises(m.Empty):
            m.take("nope")
        assert m.total == 0

    def test_one_buffer_is_limited(self):
        m = BufferMap(100, bufmaxsize=2)
        m.extend("a", range(5))
        assert (m.total, m.take("a")) == (2, 3)

    def test_eviction_spares_no_buffer(self):
        m = BufferMap(4, [("a", 1), ("a", 2), ("b", 1), ("b", 2)])
        m.extend("c", [1, 2])
        assert {key: len(buffer) for key, buffer in m.items()} == {"a": 1, "b": 1, "c": 2}
