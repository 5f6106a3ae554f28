"""Caches, iteration helpers, lists that are read when needed, heads of functions."""

from __future__ import annotations

import inspect
import json
import pickle
import threading

import pytest

from taskq.utils import functional
from taskq.utils.functional import (
    LRUCache,
    arity_greater,
    chunks,
    dictfilter,
    evaluate_promises,
    first,
    firstmethod,
    fun_accepts_kwargs,
    fun_takes_argument,
    head_from_fun,
    is_list,
    is_numeric_value,
    lookahead,
    mattrgetter,
    maybe,
    maybe_evaluate,
    maybe_list,
    memoize,
    mlazy,
    noop,
    padlist,
    pass1,
    regen,
    seq_concat_item,
    seq_concat_seq,
    uniq,
)


class Test_LRUCache:
    def test_forgets_what_was_longest_not_used(self):
        cache = LRUCache(limit=2)
        cache["a"], cache["b"] = 1, 2
        assert cache["a"] == 1
        cache["c"] = 3
        assert list(cache) == ["a", "c"]
        assert cache.get("b") is None

    def test_update_keeps_the_limit(self):
        cache = LRUCache(limit=3)
        cache.update((n, n) for n in range(10))
        assert cache.keys() == [7, 8, 9]

    def test_popitem(self):
        cache = LRUCache()
        cache.update(a=1, b=2)
        assert cache.popitem(last=False) == ("a", 1)
        assert cache.popitem() == ("b", 2)

    def test_incr(self):
        cache = LRUCache()
        cache["n"] = "5"
        assert cache.incr("n", 3) == 8

    def test_pickle(self):
        cache = LRUCache(limit=5)
        cache["a"] = 1
        copy = pickle.loads(pickle.dumps(cache))
        copy["b"] = 2
        assert (copy.limit, copy.items()) == (5, [("a", 1), ("b", 2)])

    def test_changing_while_iterating(self):
        cache = LRUCache(limit=2)
        cache.update(a=1, b=2)
        for key in cache:
            cache[key + "x"] = 1

    def test_threads(self):
        cache = LRUCache(limit=10)
        errors = []

        def work(start):
            try:
                for n in range(2000):
                    cache[(start * n) % 17] = n
                    cache.get(n % 17)
                    len(cache.items())
            except Exception as exc:
                errors.append(exc)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert len(cache) <= 10

    def test_what_another_thread_removes_in_between(self):
        class Fleeting(LRUCache):
            """Loses each item once it was looked at, as if another thread removed it then."""

            def __getitem__(self, key):
                value = super().__getitem__(key)
                del self.data[key]
                return value

        cache = Fleeting(limit=2)
        cache["a"] = 1
        assert cache.pop("a", None) == 1
        assert cache.pop("a", "gone") == "gone"
        with pytest.raises(KeyError):
            cache.pop("a")


class Test_memoize:
    def test_calls_once_for_the_same_arguments(self):
        calls = []

        @memoize(maxsize=2)
        def double(n, plus=0):
            calls.append(n)
            return n * 2 + plus

        assert [double(1), double(1), double(1, plus=1)] == [2, 2, 3]
        assert calls == [1, 1]
        assert (double.hits, double.misses) == (1, 2)
        double.clear()
        assert double(1) == 2
        assert calls == [1, 1, 1]
        assert double.original_func(4) == 8
        assert double.__name__ == "double"

    def test_keyfun(self):
        @memoize(keyfun=lambda args, kwargs: args[0].lower())
        def shout(text):
            return text.upper() + "!"

        assert shout("a") == "A!"
        assert shout("A") == "A!"
        assert shout.misses == 1


class Test_regen:
    def test_lists_and_tuples_are_returned_as_they_are(self):
        items = [1]
        assert regen(items) is items
        assert regen((1,)) == (1,)

    def test_reads_no_more_than_it_is_asked_for(self):
        read = []
        lazy = regen(read.append(n) or n for n in range(10))
        assert read == []
        assert lazy
        assert read == [0]
        assert lazy[2] == 2
        assert read == [0, 1, 2]
        assert "..." in repr(lazy)

    def test_can_be_iterated_over_again_and_again(self):
        lazy = regen(iter(range(3)))
        assert list(zip(lazy, lazy)) == [(0, 0), (1, 1), (2, 2)]
        assert list(lazy) == [0, 1, 2]
        assert repr(lazy) == "<_regen: [0, 1, 2]>"

    def test_is_a_list(self):
        lazy = regen(iter([1, 2]))
        assert isinstance(lazy, list)
        assert (len(lazy), lazy[-1], lazy[0:1], 2 in lazy) == (2, 2, [1], True)
        assert lazy == [1, 2]
        assert regen(iter([1])) + [2] == [1, 2]  # noqa: RUF005 - the operator is tested
        assert regen(iter([1, 2])).index(2) == 1

    def test_empty(self):
        assert not regen(iter(()))
        assert list(regen(iter(()))) == []
        with pytest.raises(IndexError):
            regen(iter(()))[0]

    def test_serializes_as_a_list(self):
        assert json.dumps(regen(iter([1, 2]))) == "[1, 2]"
        assert pickle.loads(pickle.dumps(regen(iter([1, 2])))) == [1, 2]

    def test_map_changes_items_read_and_to_come(self):
        lazy = regen(iter([1, 2, 3]))
        assert lazy[0] == 1
        lazy.map(lambda n: n + 1)
        lazy.map(lambda n: n * 10)
        assert list(lazy) == [20, 30, 40]

    def test_error_while_reading(self):
        def broken():
            yield 1
            raise ValueError("broken")

        lazy = regen(broken())
        with pytest.raises(ValueError, match="broken"):
            list(lazy)
        assert list(lazy) == [1]

    def test_changing_reads_everything_first(self):
        lazy = regen(iter([1, 2]))
        lazy.append(3)
        assert list(lazy) == [1, 2, 3]


class Test_head_from_fun:
    @pytest.mark.parametrize(
        ("args", "kwargs"),
        [((1,), {"c": 1}), ((1, 2, 3), {"c": 1}), ((), {"a": 1, "c": 2, "z": 3})],
    )
    def test_accepts_what_the_function_accepts(self, args, kwargs):
        def fun(a, b=1, *rest, c, d=2, **options):
            raise AssertionError("never called")

        assert head_from_fun(fun)(*args, **kwargs) == 1

    @pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1, 2), {"c": 1})])
    def test_refuses_what_the_function_refuses(self, args, kwargs):
        def fun(a, b):
            pass

        with pytest.raises(TypeError, match="fun"):
            head_from_fun(fun)(*args, **kwargs)

    def test_bound_leaves_out_the_first(self):
        def task(self, x):
            pass

        assert head_from_fun(task, bound=True)(1) == 1
        with pytest.raises(TypeError):
            head_from_fun(task, bound=True)(1, 2)
        assert head_from_fun(lambda *args: 1, bound=True)(1, 2) == 1

    def test_methods_and_callable_objects(self):
        class Adder:
            def add(self, x):
                pass

            def __call__(self, x, y=1):
                pass

        assert head_from_fun(Adder().add)(1) == 1
        assert head_from_fun(Adder())(1, y=2) == 1
        with pytest.raises(TypeError):
            head_from_fun(Adder())()

    def test_lambda_and_annotations(self):
        def annotated(a: NotDefined, b: int = 3) -> Missing:  # noqa: F821
            pass

        assert head_from_fun(lambda x: 1)(1) == 1
        assert str(inspect.signature(head_from_fun(annotated))) == "(a, b=None)"

    def test_positional_only(self):
        def fun(a, /, b):
            pass

        with pytest.raises(TypeError):
            head_from_fun(fun)(a=1, b=2)

    def test_functions_that_do_not_tell(self):
        assert head_from_fun(max)(1, 2, key=3) == 1


def test_fun_takes_argument():
    def fun(a, b):
        pass

    assert fun_takes_argument("a", fun)
    assert not fun_takes_argument("c", fun)
    assert fun_takes_argument("c", fun, position=2)
    assert not fun_takes_argument("c", fun, position=3)
    assert fun_takes_argument("c", lambda *args: 1)
    assert fun_takes_argument("c", lambda **kwargs: 1)


def test_fun_accepts_kwargs():
    assert fun_accepts_kwargs(lambda **kwargs: 1)
    assert not fun_accepts_kwargs(lambda a: 1)


def test_arity_greater():
    assert arity_greater(lambda a, b: 1, 1)
    assert not arity_greater(lambda a, b: 1, 2)
    assert arity_greater(lambda *args: 1, 99)


def test_first():
    assert first(lambda n: n > 1, [1, 2, 3]) == 2
    assert first(None, [None, 0]) == 0
    assert first(None, []) is None


def test_firstmethod():
    class Router:
        def __init__(self, answer):
            self.answer = answer

        def route(self, extra):
            return self.answer

    ask = firstmethod("route")
    assert ask([Router(None), mlazy(Router, 5), Router(6)], "x") == 5
    assert ask([object()], "x") is None
    assert firstmethod("route", lambda meth, x: meth(x) * 2)([Router(4)], "x") == 8


def test_small_ones():
    assert list(chunks(iter([1, 2, 3]), 2)) == [[1, 2], [3]]
    assert padlist(["a"], 3, "-") == ["a", "-", "-"]
    assert padlist([1, 2, 3], 2) == [1, 2]
    assert mattrgetter("real", "nope")(3) == {"real": 3, "nope": None}
    assert list(uniq([1, 2, 1])) == [1, 2]
    assert list(lookahead([1, 2])) == [(1, 2), (2, None)]
    assert (noop(1, a=2), pass1(1, 2), maybe(int, "3"), maybe(int, None)) == (None, 1, 3, None)
    assert dictfilter({"a": 1, "b": None}, c=None, e=2) == {"a": 1, "e": 2}
    assert seq_concat_item((1,), 2) == (1, 2)
    assert seq_concat_item([1], 2) == [1, 2]
    assert seq_concat_seq((1,), [2]) == (1, 2)
    assert seq_concat_seq([1], (2,)) == [1, 2]
    assert [is_numeric_value(v) for v in (1, 1.5, True, "1")] == [True, True, False, False]
    assert [is_list(v) for v in ([], (), "a", {})] == [True, True, False, False]
    assert [maybe_list(v) for v in ("a", None, [1], {})] == [["a"], None, [1], [{}]]


def test_lazy_values():
    calls = []
    value = mlazy(lambda: calls.append(1) or 5)
    assert (value(), value(), calls) == (5, 5, [1])
    assert maybe_evaluate(value) == 5
    assert maybe_evaluate(3) == 3
    assert maybe_evaluate(functional.lazy(lambda: 4)) == 4
    assert list(evaluate_promises([mlazy(int), 1])) == [0, 1]
