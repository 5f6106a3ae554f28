"""Waiting for results on an event loop: a subscription that the loop itself listens to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from redis import exceptions

from taskq import states
from taskq.backends.awaiting import AwaitedResults, Follower, Patience
from taskq.backends.unreadable import decoded
from taskq.backends.waiting import Meta
from taskq.transport.redis.errors import from_reply
from taskq.transport.redis.loopwire import LoopWire
from taskq.transport.redis.resp import ErrorReply, Push, pack
from taskq.transport.redis.wire import Wire
from taskq.utils.asyncclient import loop_runs

__all__ = ("RedisFollower",)

#: Ids subscribed to and read with one command.
BATCH = 1000
#: States that a loop asks for in its thread before it connects.
CALLS_BEFORE_CONNECTING = 8
#: Seconds until subscriptions are ended that nothing else takes along.
UNSUBSCRIBE_AFTER = 0.05
#: Errors after which the connection is made anew.
RECOVERABLE = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)


class RedisFollower(Follower):
    """Subscribes to the keys of tasks, as `taskq.backends.redis.source` does for threads.

    Everybody on the loop shares one connection. It subscribes and reads in one round trip: what is
    stored before is read, what is stored after is heard. It speaks RESP3; with servers that do not,
    and on loops that watch no sockets, another follower takes over for good.

    - wire: a connection of its own.
    - key_of: makes the key of a task's id; decode: the meta of a stored value.
    - policy: how often and when to connect anew.
    - substitute: makes the other follower.
    - reads: what is read here is what the backend would return.
    """

    def __init__(
        self,
        awaited: AwaitedResults,
        wire: Wire,
        *,
        key_of: Callable[[str], bytes],
        decode: Callable[[Any], Meta],
        policy: dict[str, Any],
        substitute: Callable[[], Follower],
        reads: bool,
    ) -> None:
        super().__init__(awaited)
        self._url = wire.url
        self._wire = LoopWire(wire, greeting=pack("HELLO", "3"))
        self._wire.on_push = self._on_push
        self._wire.on_lost = self._on_lost
        self._key_of = key_of
        self._decode = decode
        self._patience = Patience(policy, wire.url)
        self._make_substitute = substitute
        self._substitute: Follower | None = None
        self._reads = reads
        self._calls = 0
        #: Key -> task id.
        self._watched: dict[bytes, str] = {}
        self._unheard: list[bytes] = []
        #: Subscriptions that nobody needs any more; what is begun next takes them along.
        self._ended: list[bytes] = []
        self._unsubscribing: asyncio.TimerHandle | None = None
        #: Connects, and then subscribes to what is `_unheard`.
        self._subscribing: asyncio.Task[None] | None = None

    def begin(self, task_ids: Sequence[str]) -> None:
        if self._substitute is not None:
            self._substitute.begin(task_ids)
            return
        for task_id in task_ids:
            key = self._key_of(task_id)
            self._watched[key] = task_id
            self._unheard.append(key)
        self._subscribe_soon()

    def end(self, task_ids: Sequence[str]) -> None:
        if self._substitute is not None:
            self._substitute.end(task_ids)
            return
        ended = [key for key in map(self._key_of, task_ids) if self._watched.pop(key, None)]
        self._ended += ended
        if ended and self._unsubscribing is None and loop_runs():
            loop = asyncio.get_running_loop()
            self._unsubscribing = loop.call_later(UNSUBSCRIBE_AFTER, self._unsubscribe)

    async def read(self, task_ids: Sequence[str]) -> Sequence[Meta] | None:
        """Read over the same connection. Where there is none the first calls are not worth one."""
        if self._substitute is not None or not self._reads:
            return None
        self._calls += 1
        if not self._wire.check() and self._calls <= CALLS_BEFORE_CONNECTING:
            return None
        metas: list[Meta] = []
        try:
            await self._wire.open()
            for start in range(0, len(task_ids), BATCH):
                batch = task_ids[start : start + BATCH]
                (values,) = await self._wire.ask(pack("MGET", *map(self._key_of, batch)), 1)
                metas += map(self._meta, batch, values)
        except (*RECOVERABLE, exceptions.ResponseError, NotImplementedError):
            return None  # the thread tries again, as often as the policy says
        return metas

    def _meta(self, task_id: str, value: Any) -> Meta:
        return self._decode(value) if value else {"status": states.PENDING, "result": None}

    def close(self) -> None:
        self._begin_again()
        if self._substitute is not None:
            self._substitute.close()

    # -- subscribing

    def _subscribe_soon(self) -> None:
        """Subscribe to what is not heard yet: at once, or when there is a connection."""
        if self._subscribing is None and self._wire.check():
            while self._unheard and self._wire.is_open:
                if keys := self._take_unheard():
                    self._request(keys)
        elif self._subscribing is None and self._unheard:
            self._subscribing = asyncio.ensure_future(self._connect())

    def _take_unheard(self) -> list[bytes]:
        unheard = [key for key in self._unheard if key in self._watched]
        self._unheard = unheard[BATCH:]
        return unheard[:BATCH]

    def _request(self, keys: Sequence[bytes]) -> None:
        """Subscribe to keys and read them."""
        # What was ended may be begun again here: the farewell comes first. Confirmations of
        # subscriptions are pushed: the only reply is that with the values.
        commands = self._farewell() + pack("SUBSCRIBE", *keys) + pack("MGET", *keys)
        self._wire.send(commands, 1, partial(self._answered, keys))

    def _answered(
        self, keys: Sequence[bytes], replies: list[Any] | None, error: Exception | None
    ) -> None:
        if replies is None:
            return  # `_on_lost` begins again
        self._patience.succeeded()
        (values,) = replies
        if isinstance(values, ErrorReply):
            self._begin_again()
            self.fail(from_reply(values, self._url))
            return
        for key, value in zip(keys, values, strict=True):
            if value is not None:
                self._hear(key, value)

    async def _connect(self) -> None:
        """Connect, as often as the policy allows, and subscribe to everything."""
        try:
            while self._watched and not self._wire.is_open:
                await self._patience.pause()
                try:
                    await self._wire.open()
                except RECOVERABLE as exc:
                    self._patience.failed(exc)
        except (NotImplementedError, exceptions.ResponseError):
            # A loop that watches no sockets; or what servers before Redis 6 answer to HELLO.
            self._hand_over()
        except Exception as exc:
            self.fail(exc)
        finally:
            self._subscribing = None
        self._subscribe_soon()

    def _hand_over(self) -> None:
        """Have another follower do this one's work from now on."""
        self._wire.close()
        self._substitute = self._make_substitute()
        watched, self._watched = list(self._watched.values()), {}
        self._unheard.clear()
        self._substitute.begin(watched)

    def _begin_again(self) -> None:
        """The subscriptions went with the connection."""
        self._wire.close()
        self._unheard = list(self._watched)
        self._ended.clear()

    def _unsubscribe(self) -> None:
        self._unsubscribing = None
        if self._ended:
            self._wire.send_unanswered(self._farewell())

    def _farewell(self) -> bytes:
        """Return the command that ends what nobody waits for any more; nothing if that is none."""
        ended, self._ended = self._ended, []
        return pack("UNSUBSCRIBE", *ended) if ended else b""

    # -- listening

    def _on_lost(self, error: Exception) -> None:
        self._begin_again()
        self._patience.failed(error)
        self._subscribe_soon()

    def _on_push(self, push: Push) -> None:
        if push[0] == b"message" and push[1] in self._watched:
            self._hear(push[1], push[2])

    def _hear(self, key: bytes, value: Any) -> None:
        task_id = self._watched.get(key)
        if task_id is not None:
            self.deliver([decoded(task_id, self._decode, value)])
