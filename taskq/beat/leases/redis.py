"""The lease in Redis: in one transaction with the messages, where Redis is the broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taskq.beat.leases.base import (
    REMEMBERED,
    BrokerLease,
    Fenced,
    Holder,
    Intent,
    Lease,
    OutboxLease,
    Run,
)
from taskq.transport.redis.resp import pack

__all__ = ("RedisBrokerLease", "RedisLease", "RedisOutboxLease")

_LUA = Path(__file__).with_name("lua")
TAKE = (_LUA / "take.lua").read_text()
RENEW = (_LUA / "renew.lua").read_text()
RELEASE = (_LUA / "release.lua").read_text()
INTEND = (_LUA / "intend.lua").read_text()
SETTLE = (_LUA / "settle.lua").read_text()
FIRST = (_LUA / "first.lua").read_text()


class RedisLease(Lease):
    """The lease in a Redis database.

    Parameters:
        connection: of our Redis transport.
        name: what tells it from the leases of other apps there.
    """

    def __init__(self, connection: Any, name: str) -> None:
        self._connection = connection
        prefix = connection.default_channel.global_keyprefix
        self._prefix = f"{prefix}taskq.beat.{name}." if name else f"{prefix}taskq.beat."
        self._lease = f"{self._prefix}lease"
        #: Beside the lease: it changes with the leader only, so a transaction can watch it.
        self._fence = f"{self._prefix}fence"
        self._runs = f"{self._prefix}runs"

    def look(self) -> Holder:
        owner, count, fence = self._call(
            [
                ("HGET", self._lease, "owner"),
                ("HGET", self._lease, "count"),
                ("GET", self._fence),
            ]
        )
        return Holder((owner or b"").decode(), int(fence or 0), int(count or 0))

    def take(self, owner: str, seen: Holder) -> int | None:
        fence = self._eval(
            TAKE, (self._lease, self._fence), owner, seen.owner, seen.fence, seen.count
        )
        return int(fence) or None

    def renew(self, fence: int) -> bool:
        return bool(self._eval(RENEW, (self._lease, self._fence), fence))

    def release(self, fence: int) -> None:
        self._eval(RELEASE, (self._lease, self._fence), fence)

    def runs(self) -> dict[str, Run]:
        pairs = self._all(self._runs).items()
        return {name: Run.from_text(run) for name, run in pairs}

    def seed(self, runs: Mapping[str, Run]) -> None:
        if runs:
            self._call([("HSETNX", self._runs, name, run.to_text()) for name, run in runs.items()])

    def close(self) -> None:
        self._connection.release()

    def _all(self, key: str) -> dict[str, str]:
        """Return what a hash holds."""
        (flat,) = self._call([("HGETALL", key)])
        pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
        return {name.decode(): value.decode() for name, value in pairs}

    def _eval(self, script: str, keys: Sequence[str], *arguments: Any) -> Any:
        (reply,) = self._call([("EVAL", script, len(keys), *keys, *arguments)])
        return reply

    def _call(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        wire = self._connection.default_channel.publisher.wire
        with wire.lock:
            wire.reopen_if_closed()
            replies: list[Any] = wire.call_many(b"".join(pack(*c) for c in commands), len(commands))
            return replies


class RedisBrokerLease(RedisLease, BrokerLease):
    """The lease in the Redis database that is the broker."""

    def commit(self, fence: int, intent: Intent, channel: Any) -> None:
        publisher = channel.publisher
        wire = publisher.wire
        entry, run = intent.entry, intent.run
        commands = [pack("MULTI"), pack("HSET", self._runs, entry, run.to_text())]
        for draft in intent.messages:
            commands += publisher.commands(*draft.prepared(channel))
        commands.append(pack("EXEC"))
        with wire.lock:
            wire.reopen_if_closed()
            # The fence is watched: the transaction fails if it changes after it was read.
            watch = (pack("WATCH", self._fence), pack("GET", self._fence))
            look = pack("HGET", self._runs, entry)
            _, found, last = wire.call_many(b"".join((*watch, look)), 3)
            is_done = bool(last) and Run.from_text(last.decode()).key == run.key
            if int(found or 0) != fence or is_done:
                wire.call_many(pack("UNWATCH"), 1)
                if is_done:
                    return  # The answer to the transaction was lost.
                raise Fenced
            if wire.call_many(b"".join(commands), len(commands))[-1] is None:
                raise Fenced


class RedisOutboxLease(RedisLease, OutboxLease):
    """The lease in the Redis database of the results."""

    def __init__(self, connection: Any, name: str) -> None:
        super().__init__(connection, name)
        self._outbox = f"{self._prefix}outbox"

    def intend(self, fence: int, intent: Intent) -> None:
        if not self._eval(
            INTEND, (self._fence, self._outbox), fence, intent.run.key, intent.to_text()
        ):
            raise Fenced

    def settle(self, fence: int, intent: Intent, *, twice: bool) -> None:
        run = intent.run
        keys = (self._fence, self._runs, self._outbox, f"{self._prefix}twice.{run.key}")
        seconds = REMEMBERED if twice else 0
        if not self._eval(SETTLE, keys, fence, intent.entry, run.to_text(), run.key, seconds):
            raise Fenced

    def intents(self) -> Sequence[Intent]:
        return Intent.from_texts(self._all(self._outbox).values())

    def is_first(self, key: str, task_id: str, copy: str) -> bool:
        keys = (self._outbox, f"{self._prefix}twice.{key}", f"{self._prefix}first.{task_id}")
        return bool(self._eval(FIRST, keys, key, copy, REMEMBERED))
