"""Signatures, and the messages that come of them, are the same in Celery and in taskq."""

from __future__ import annotations

import importlib
import json
import pickle
import re
from typing import Any

import pytest

from tests.interop.canvas_cases import EAGER, OPERANDS, SENT, SIGNATURES

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
QUEUES = ("celery", "other")


def add_numbers(x, y=0, *args, **kwargs):
    return x + y


def mul_numbers(x, y=1):
    return x * y


def total_of(numbers):
    return sum(numbers)


def echo_all(*args, **kwargs):
    return [list(args), kwargs]


def err_of(*args):
    return None


class Library:
    """One of the two, with an app in memory and the names that cases use."""

    def __init__(self, package: str) -> None:
        main = importlib.import_module(package)
        canvas = importlib.import_module(f"{package}.canvas")
        self.app = main.Celery(
            package, broker="memory://", backend="cache+memory://", set_as_current=False
        )
        self.app.conf.task_publish_retry = False
        self.names = self._names(canvas)

    def _names(self, canvas: Any) -> dict[str, Any]:
        add, mul, total, echo, err = (
            self.app.task(name=fun.__name__, shared=False)(fun)
            for fun in (add_numbers, mul_numbers, total_of, echo_all, err_of)
        )
        public = "signature Signature chain _chain group chord chunks xmap xstarmap maybe_signature"
        return {
            **{name: getattr(canvas, name) for name in public.split()},
            "add": add,
            "echo": echo,
            "err": err,
            "a": add.s,
            "m": mul.s,
            "t": total.s,
            "linked": self.linked,
            "failing": self.failing,
            "stamped": self.stamped,
            "pickled": lambda sig: pickle.loads(pickle.dumps(sig)),
            "dumps": json.dumps,
            "loads": json.loads,
        }

    @staticmethod
    def linked(sig: Any, *callbacks: Any) -> Any:
        for callback in callbacks:
            sig.link(callback)
        return sig

    @staticmethod
    def failing(sig: Any, errback: Any) -> Any:
        sig.link_error(errback)
        return sig

    @staticmethod
    def stamped(sig: Any, **stamps: Any) -> Any:
        sig.stamp(**stamps)
        return sig

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression, with this library's app as the current one."""
        self.app.set_current()
        return eval(expression, dict(self.names))

    def messages(self) -> list[Any]:
        """Return what was sent since this was asked last."""
        found = []
        with self.app.connection_for_write() as connection:
            channel = connection.default_channel
            for queue in QUEUES:
                channel.queue_declare(queue)
                while (message := channel.basic_get(queue)) is not None:
                    found.append(
                        {
                            "queue": queue,
                            "headers": {**message.headers, "origin": None},
                            "priority": message.properties.get("priority") or 0,
                            "body": json.loads(message.body),
                        }
                    )
        return found


def normal(value: Any) -> str:
    """Return JSON with ids named in the order they come up, keys sorted."""
    names: dict[str, str] = {}
    text = json.dumps(value, sort_keys=True)
    return UUID.sub(lambda found: names.setdefault(found.group(), f"id{len(names)}"), text)


def without_nothing(value: Any) -> Any:
    """Return a value without dict items that say nothing."""
    if isinstance(value, dict):
        items = {key: without_nothing(item) for key, item in value.items()}
        return {key: item for key, item in items.items() if item not in (None, [], {})}
    if isinstance(value, list):
        return [without_nothing(item) for item in value]
    return value


def shape(result: Any) -> Any:
    """Return the ids of a result, its members and parents."""
    if result is None:
        return None
    members = getattr(result, "results", None)
    return {
        "id": result.id,
        "results": None if members is None else [shape(member) for member in members],
        "parent": shape(result.parent),
    }


@pytest.fixture(scope="module")
def libraries():
    both = Library("celery"), Library("taskq")
    for library in both:
        library.messages()
    yield both
    for library in both:
        library.app.close()


@pytest.mark.parametrize("expression", SIGNATURES)
def test_signatures(libraries, expression):
    celery, taskq = (json.dumps(library.evaluate(expression)) for library in libraries)
    if "stamped" in expression:
        # Celery gives stamps in no order.
        assert json.loads(taskq) == json.loads(celery)
    else:
        assert taskq == celery


@pytest.mark.parametrize("right", OPERANDS)
@pytest.mark.parametrize("left", OPERANDS)
def test_operators(libraries, left, right):
    expression = f"{OPERANDS[left]} | {OPERANDS[right]}"
    celery, taskq = (json.dumps(library.evaluate(expression)) for library in libraries)
    assert taskq == celery


@pytest.mark.parametrize("operand", OPERANDS.values())
@pytest.mark.parametrize(
    "form",
    [
        "chain({})",
        "chain([{}])",
        "group({})",
        "chord({}, t())",
        "chord([{}], t())",
        "chord([a()], {})",
    ],
)
def test_operands_of_each_kind(libraries, form, operand):
    expression = form.format(operand)
    celery, taskq = (json.dumps(library.evaluate(expression)) for library in libraries)
    assert taskq == celery


@pytest.mark.parametrize("expression", SENT)
def test_messages_and_results(libraries, expression):
    celery, taskq = (
        normal(
            without_nothing(
                [shape(library.evaluate(expression)), sent_by(library)],
            )
        )
        for library in libraries
    )
    assert taskq == celery


def sent_by(library: Library) -> list[Any]:
    messages = library.messages()
    for message in messages:
        for key in ("eta", "expires", "timelimit"):
            message["headers"].pop(key, None)
    return messages


@pytest.mark.parametrize("expression", EAGER)
def test_eager_results(libraries, expression):
    celery, taskq = (library.evaluate(f"({expression}).apply().get()") for library in libraries)
    assert taskq == celery
