"""The consumer: the part of the worker that talks to the broker."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from taskq.worker.consumer.connection import Connection
from taskq.worker.consumer.consumer import Consumer
from taskq.worker.consumer.tasks import Tasks

__all__ = (
    "Agent",
    "Connection",
    "Consumer",
    "Control",
    "Events",
    "Gossip",
    "Heart",
    "Mingle",
    "Tasks",
)

#: Steps that are only loaded by those who name them.
_LAZY = {
    "Agent": "agent",
    "Control": "control",
    "Events": "events",
    "Gossip": "gossip",
    "Heart": "heart",
    "Mingle": "mingle",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
