"""Where tasks go: both packages asked with the same settings, and messages on a real RabbitMQ."""

from __future__ import annotations

import re
from typing import Any

import celery
import pytest
from kombu import Exchange, Queue, binding
from kombu.common import Broadcast

import taskq

PACKAGES = {"taskq": taskq.TaskQ, "celery": celery.Celery}


def by_name(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **kw: Any) -> Any:
    """A router: a function."""
    if name == "by.function":
        return {"queue": "functional", "priority": 3}
    return None


class Router:
    """A router: an object."""

    def route_for_task(self, task: str, args: Any = None, kwargs: Any = None) -> Any:
        """Return the route of one task."""
        return "objective" if task == "by.object" else None


QUEUES = (
    Queue("plain", Exchange("plain"), routing_key="plain"),
    Queue("media", Exchange("media", type="topic"), routing_key="media.#"),
    Queue("many", [binding(Exchange("m"), "a"), binding(Exchange("m"), "b")]),
    Broadcast("everybody"),
)

ROUTES: list[Any] = [
    {"a.b": "plain"},
    {"a.b": {"queue": "plain", "routing_key": "other"}},
    {"a.b": {"exchange": "media", "routing_key": "media.video"}},
    {"a.b": {"queue": "everybody"}},
    {"a.b": {"queue": "new"}},
    {"a.*": "plain", "a.b": "media"},
    {"*.b": {"queue": "media"}},
    [("a.*", {"queue": "media"}), ("*", {"queue": "plain"})],
    [(re.compile(r"(video|a)\..*"), {"queue": "media", "priority": 4})],
    ([("x.*", "plain")], {"a.b": "media"}),
    by_name,
    [by_name, Router(), {"a.b": "plain"}],
    Router(),
    f"{__name__}.by_name",
    {"a.b": Queue("given", Exchange("given"), routing_key="given")},
]
CALLS: list[dict[str, Any]] = [
    {},
    {"queue": "media"},
    {"queue": "media", "routing_key": "media.audio"},
    {"exchange": "media"},
    {"routing_key": "rk"},
    {"queue": "unknown"},
    {"priority": 7},
]
NAMES = ["a.b", "video.b", "by.function", "by.object", "x.y"]
SETTINGS: list[dict[str, Any]] = [
    {"task_queues": QUEUES, "task_default_queue": "plain"},
    {
        "task_queues": {
            "plain": {"exchange": "plain", "routing_key": "plain"},
            "media": {"exchange": "media", "exchange_type": "topic", "routing_key": "media.#"},
            "other": {},
        },
        "task_default_queue": "plain",
        "task_queue_max_priority": 9,
        "task_default_priority": 5,
    },
    {"task_default_queue": "d", "task_default_exchange": "e", "task_default_routing_key": "r"},
    {"task_default_exchange_type": "topic", "task_create_missing_queue_type": "quorum"},
    {
        "task_default_queue_type": "quorum",
        "task_create_missing_queue_exchange_type": "topic",
        "task_default_exchange_type": "topic",
    },
    {"task_create_missing_queues": False, "task_queues": QUEUES, "task_default_queue": "plain"},
    {"task_queue_ha_policy": None, "task_queue_max_priority": 3},
]


def described(value: Any) -> Any:
    """Return what a route says, comparable between the packages."""
    if isinstance(value, Queue):
        fields = ("name", "routing_key", "durable", "auto_delete", "queue_arguments", "alias")
        found = {field: getattr(value, field) for field in fields}
        exchange = value.exchange and (value.exchange.name, value.exchange.type)
        if isinstance(value, Broadcast):
            found.pop("name")
        bound = sorted((b.exchange.name, b.routing_key) for b in value.bindings)
        return {**found, "exchange": exchange, "bindings": bound}
    if isinstance(value, Exchange):
        return value.name, value.type
    if isinstance(value, dict):
        return {key: described(item) for key, item in value.items()}
    return value


def routed(package: str, settings: dict[str, Any], routes: Any) -> list[Any]:
    """Return where all calls of all tasks go, or what they raise."""
    app = PACKAGES[package]("routing", broker="memory://", set_as_current=False)
    app.conf.update(settings, task_routes=routes)
    found = []
    for name in NAMES:
        for call in CALLS:
            try:
                route = described(app.amqp.router.route(dict(call), name))
            except Exception as exc:
                route = type(exc).__name__
            found.append((name, call, route))
    found.append(described(dict(app.amqp.queues)))
    found.append(described(dict(app.amqp.queues.consume_from)))
    app.close()
    return found


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: next(iter(s)))
def test_routes(settings: dict[str, Any]) -> None:
    for routes in ROUTES:
        ours, theirs = (routed(package, settings, routes) for package in ("taskq", "celery"))
        for mine, other in zip(ours, theirs, strict=True):
            assert mine == other, routes
