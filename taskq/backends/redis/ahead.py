"""Successes sent to Redis in a row, on a connection of their own, answers read afterwards."""

from __future__ import annotations

import logging
from typing import Any

from redis import exceptions

from taskq.backends.ahead import ahead
from taskq.backends.redis.scripts import backend_script
from taskq.transport.redis.resp import Argument
from taskq.transport.redis.wire import Wire

__all__ = ("AheadWriter",)

logger = logging.getLogger(__name__)

#: Answers outstanding at most.
MOST_OUTSTANDING = 16
#: Longest meta in bytes that is written ahead: it is kept until the answer is there.
LARGEST = 64 * 1024

_ERRORS = (exceptions.RedisError, OSError)


class AheadWriter:
    """Stores metas of successful tasks without awaiting each answer.

    Invariant: what is not answered with success is stored again, in the order it was written. A
    meta that is there already is left as it is, so that nothing is stored twice.

    - backend: stores what has to be stored again.
    - wire: a connection that nobody else uses.
    """

    def __init__(self, backend: Any, wire: Wire) -> None:
        self._backend = backend
        self._wire = wire
        self._script = backend_script("store")
        self._outstanding: list[tuple[bytes, bytes]] = []

    def write(self, key: bytes, meta: bytes, seconds: Argument) -> None:
        """Send a meta to be kept for so many seconds."""
        outstanding, wire = self._outstanding, self._wire
        if not outstanding:
            ahead.owe(self)
        outstanding.append((key, meta))
        try:
            if len(outstanding) == 1 and wire.reopen_if_closed():
                # A server that doesn't know it would have the results wait until we settle.
                self._script.load(wire)
            wire.send(self._script.pack((key,), (meta, seconds)))
        except _ERRORS as exc:
            logger.debug("Could not write a result ahead: %r", exc)
            wire.close()
            self.settle()
            return
        if len(outstanding) >= MOST_OUTSTANDING:
            self.settle()

    def settle(self) -> None:
        """Wait for the answers, and store again what was refused or may be lost."""
        outstanding, self._outstanding = self._outstanding, []
        if not outstanding:
            return
        try:
            replies = self._wire.replies(len(outstanding))
        except _ERRORS as exc:
            logger.debug("Results that were written ahead are written again: %r", exc)
            replies = [exc] * len(outstanding)
        for (key, meta), reply in zip(outstanding, replies, strict=True):
            if type(reply) is not int:
                self._store_again(key, meta)

    def after_fork(self) -> None:
        """Leave what is outstanding to the parent process."""
        self._outstanding = []

    def _store_again(self, key: bytes, meta: bytes) -> None:
        try:
            self._backend.store_success(key, meta)
        except Exception:
            # The task is reported as done already, so this is the last place to tell.
            logger.critical("The result of a task could not be stored: %s", key, exc_info=True)
