"""The lease in Redis: in one transaction with the messages, where Redis is the broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taskq.beat.leases.base import Fenced, Holder, Lease, Prepared, Run
from taskq.transport import Connection
from taskq.transport.redis.resp import pack

__all__ = ("RedisLease",)

_LUA = Path(__file__).with_name("lua")
TAKE = (_LUA / "take.lua").read_text()
RENEW = (_LUA / "renew.lua").read_text()
RELEASE = (_LUA / "release.lua").read_text()


class RedisLease(Lease):
    """The lease in a Redis database.

    Parameters:
        connection: of our Redis transport.
        is_broker: the tasks' messages go to the same database.
    """

    def __init__(self, connection: Any, *, is_broker: bool) -> None:
        self._connection = connection
        self._is_broker = is_broker
        prefix = connection.default_channel.global_keyprefix
        self._lease = f"{prefix}taskq.beat.lease"
        #: Beside the lease: it changes with the leader only, so a transaction can watch it.
        self._fence = f"{prefix}taskq.beat.fence"
        self._runs = f"{prefix}taskq.beat.runs"

    @classmethod
    def in_broker(cls, connection: Any) -> RedisLease:
        """Return the lease in the broker."""
        return cls(connection, is_broker=True)

    @classmethod
    def in_backend(cls, app: Any) -> RedisLease:
        """Return the lease in the result backend."""
        return cls(Connection(app.backend.url), is_broker=False)

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
        fence = self._eval(TAKE, owner, seen.owner, seen.fence, seen.count)
        return int(fence) or None

    def renew(self, fence: int) -> bool:
        return bool(self._eval(RENEW, fence))

    def release(self, fence: int) -> None:
        self._eval(RELEASE, fence)

    def runs(self) -> dict[str, Run]:
        (flat,) = self._call([("HGETALL", self._runs)])
        pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
        return {name.decode(): Run.from_text(run.decode()) for name, run in pairs}

    def seed(self, runs: Mapping[str, Run]) -> None:
        if runs:
            self._call([("HSETNX", self._runs, name, run.to_text()) for name, run in runs.items()])

    def commit(
        self, fence: int, entry: str, run: Run, messages: Sequence[Prepared], channel: Any
    ) -> None:
        publisher = (channel if self._is_broker else self._connection.default_channel).publisher
        wire = publisher.wire
        if not self._is_broker:
            (found,) = self._call([("GET", self._fence)])
            if int(found or 0) != fence:
                raise Fenced
            for message, exchange, routing_key in messages:
                channel.basic_publish(message, exchange=exchange, routing_key=routing_key)
            messages = ()
        commands = [pack("MULTI"), pack("HSET", self._runs, entry, run.to_text())]
        for message, exchange, routing_key in messages:
            commands += publisher.commands(message, exchange, routing_key)
        commands.append(pack("EXEC"))
        with wire.lock:
            wire.reopen_if_closed()
            # The fence is watched: the transaction fails if it changes after it was read.
            watch = pack("WATCH", self._fence) + pack("GET", self._fence)
            found = wire.call_many(watch, 2)[1]
            if int(found or 0) != fence:
                wire.call_many(pack("UNWATCH"), 1)
                raise Fenced
            if wire.call_many(b"".join(commands), len(commands))[-1] is None:
                raise Fenced

    def close(self) -> None:
        self._connection.release()

    def _eval(self, script: str, *arguments: Any) -> Any:
        (reply,) = self._call([("EVAL", script, 2, self._lease, self._fence, *arguments)])
        return reply

    def _call(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        wire = self._connection.default_channel.publisher.wire
        with wire.lock:
            wire.reopen_if_closed()
            replies: list[Any] = wire.call_many(b"".join(pack(*c) for c in commands), len(commands))
            return replies
