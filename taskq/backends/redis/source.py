"""Waiting for results by PUB/SUB: subscribed while somebody waits, and no longer.

The backend's `Waiter` drives it, from one thread at a time.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from redis import exceptions

from taskq.backends.unreadable import decoded
from taskq.backends.waiting import Meta, ResultSource, Wakeup
from taskq.transport.redis.resp import ErrorReply, pack
from taskq.transport.redis.wire import Wire, readable

#: Ids subscribed to and read with one command.
BATCH = 1000


class RedisSource(ResultSource):
    """Subscribes to the keys of tasks, which are the channels that their metas are published on.

    1. `begin` subscribes and reads, in one round trip: what is stored before is read, what is
       stored after is heard.
    2. `drain` listens.
    3. `end` unsubscribes.

    - wire: a connection of its own.
    - key_of: makes the key of a task's id.
    - decode: makes the meta of a stored value.
    - read: returns the values of keys, for servers that let a subscriber read nothing.
    """

    recoverable_errors = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)

    def __init__(
        self,
        wire: Wire,
        key_of: Callable[[str], bytes],
        decode: Callable[[Any], Meta],
        read: Callable[[Sequence[bytes]], Sequence[Any]],
    ) -> None:
        self._wire = wire
        self._key_of = key_of
        self._decode = decode
        self._read_elsewhere = read
        #: Key -> task id.
        self._watched: dict[bytes, str] = {}
        self._heard: list[Meta] = []
        self._answers: list[Any] = []
        self._can_read = True

    def begin(self, task_ids: Sequence[str]) -> Iterable[Meta]:
        self._connect()
        keys = {self._key_of(task_id): task_id for task_id in task_ids}
        self._watched.update(keys)
        ordered = list(keys)
        metas: list[Meta] = []
        for start in range(0, len(ordered), BATCH):
            batch = ordered[start : start + BATCH]
            for key, value in zip(batch, self._subscribe(batch), strict=True):
                if value is not None:
                    metas.append(self._meta(key, value))
        return metas

    def end(self, task_ids: Sequence[str]) -> None:
        keys = [key for key in map(self._key_of, task_ids) if self._watched.pop(key, None)]
        if keys and self._wire.connected:
            self._wire.send(pack("UNSUBSCRIBE", *keys))

    def drain(self, timeout: float, wakeup: Wakeup) -> Iterable[Meta]:
        deadline = time.monotonic() + timeout
        while not self._heard:
            left = deadline - time.monotonic()
            if not _wait(self._wire.sock, wakeup.fileno(), max(0.0, left)):
                if left <= 0 or wakeup.is_set():
                    break
                continue
            self._receive()
        heard, self._heard = self._heard, []
        return heard

    def disconnect(self) -> None:
        self._wire.close()
        self._watched.clear()
        self._heard.clear()

    def after_fork(self) -> None:
        self._wire.forget()
        self._watched.clear()
        self._heard.clear()

    def _connect(self) -> None:
        if self._wire.connected and readable(self._wire.sock):
            try:
                self._receive()  # late answers, or the end of a connection left alone for long
            except self.recoverable_errors:
                self._watched.clear()
        if self._wire.connected:
            return
        self._wire.open()
        try:
            self._wire.call(pack("HELLO", "3"))
            self._can_read = True
        except exceptions.ResponseError:
            self._can_read = False  # before Redis 6

    def _subscribe(self, keys: Sequence[bytes]) -> Sequence[Any]:
        """Subscribe to keys, then read them; return their values."""
        self._answers.clear()
        self._wire.send(pack("SUBSCRIBE", *keys) + (pack("MGET", *keys) if self._can_read else b""))
        awaited = 1 if self._can_read else len(keys)
        while len(self._answers) < awaited:
            self._receive()
        return self._answers[0] if self._can_read else self._read_elsewhere(keys)

    def _receive(self) -> None:
        """Take in what has come: metas, answers, and confirmations nobody needs."""
        for reply in self._wire.receive():
            if isinstance(reply, ErrorReply):
                raise self._wire.error(reply)
            kind = reply[0] if isinstance(reply, list) and reply else None
            if kind == b"message":
                if reply[1] in self._watched:
                    self._heard.append(self._meta(reply[1], reply[2]))
            elif kind == b"unsubscribe" or (kind == b"subscribe" and self._can_read):
                continue
            else:
                self._answers.append(reply)

    def _meta(self, key: bytes, value: Any) -> Meta:
        return decoded(self._watched[key], self._decode, value)


def _wait(sock: Any, wakeup: int, timeout: float) -> bool:
    """Wait until there is something to read from the socket; return whether there is."""
    if sock is None:
        return True  # reading raises the error that the waiter recovers from
    if getattr(sock, "pending", None) is not None and sock.pending():
        return True
    if not hasattr(select, "poll"):
        return sock in select.select([sock, wakeup], [], [], timeout)[0]
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    poller.register(wakeup, select.POLLIN)
    return any(fileno != wakeup for fileno, _ in poller.poll(timeout * 1000))
