"""Publishing on an event loop: the message is made in the loop's thread, and the loop sends it.

`Task.aapply_async` and what is like it come here. Redis can do this; with other brokers, and in the
cases that `LoopPublisher.takes` tells apart, the call is made in the thread beside the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from taskq import signals
from taskq._state import get_current_worker_task
from taskq.app.drafts import Prepared
from taskq.app.producer import Producer, declare_once, is_declared
from taskq.app.routes import MapRoute
from taskq.app.sending import Sending
from taskq.app.task.calling import TaskCalls
from taskq.app.unreachable import naming_the_broker
from taskq.backends.core import BackendCore
from taskq.exceptions import OperationalError
from taskq.utils.asyncclient import closed_with_loop
from taskq.utils.inthread import call_in_thread
from taskq.utils.log import get_logger

__all__ = ("LoopPublisher",)

logger = get_logger(__name__)

#: Calls that a loop makes in its thread before it connects.
CALLS_BEFORE_CONNECTING = 8
#: Options that say how to publish, or with what: those calls are made in the thread.
_IN_THREAD = frozenset(("producer", "publisher", "connection", "router"))


class Parcel(NamedTuple):
    """Messages that are made and published together, and what has to be there before they are."""

    messages: Sequence[Prepared]
    undeclared: Sequence[Any]
    retry: bool
    retry_policy: Mapping[str, Any] | None
    #: The broker's answer, where the loop has sent the messages; None where the thread is to.
    answer: asyncio.Future[Any] | None


class LoopProducer(Producer):
    """Makes messages and has the loop send them at once; never waits for the broker.

    - channel: an open one, whose exchanges and bindings count.
    - wire: the loop's connection.
    """

    #: What was made for the call that is being made.
    parcels: list[Parcel]
    _undeclared: Sequence[Any] = ()
    _made: Prepared

    def __init__(self, channel: Any, wire: Any) -> None:
        super().__init__(channel, auto_declare=False)
        self._wire = wire
        self._publisher = channel.publisher

    def _open(self) -> Any:
        return self._channel

    def _declare(self, entities: Sequence[Any], channel: Any) -> None:
        for entity in entities:
            if not is_declared(entity, channel):
                self._undeclared = (*self._undeclared, entity)

    def _send(
        self, channel: Any, message: Any, exchange: str, routing_key: str, options: dict[str, Any]
    ) -> None:
        # The options have no meaning for brokers of ours.
        self._made = message, exchange, routing_key

    def _ensured(self, send: Any, *, retry: bool, retry_policy: Mapping[str, Any] | None) -> None:
        if self._drafts is not None:
            send()
            return
        if self._batch is not None:
            send()
            self._batch.append(self._made)
            return
        self._undeclared = ()
        send()
        made = self._made
        self._send_parcel(
            (made,), lambda: self._publisher.commands(*made), retry=retry, retry_policy=retry_policy
        )

    def _begin_batch(self, **policy: Any) -> None:
        self._undeclared = ()

    def _send_batch(
        self,
        batch: list[Prepared],
        *,
        retry: bool,
        retry_policy: Mapping[str, Any] | None,
        once: int | None,
        scope: str,
    ) -> None:
        assert once is None
        self._send_parcel(
            batch,
            lambda: self._publisher.commands_of_many(batch),
            retry=retry,
            retry_policy=retry_policy,
        )

    def _send_parcel(
        self,
        messages: Sequence[Prepared],
        pack: Callable[[], list[bytes]],
        *,
        retry: bool,
        retry_policy: Mapping[str, Any] | None,
    ) -> None:
        """Send messages if the loop can, and remember them for whoever made the call.

        - pack: returns the packed commands that publish them; none if no queue is bound.
        """
        answer = None
        if self._can_send(messages):
            commands = pack()
            if not commands:
                return
            answer = self._wire.ask(b"".join(commands), len(commands))
        self.parcels.append(Parcel(messages, self._undeclared, retry, retry_policy, answer))

    def _can_send(self, messages: Sequence[Prepared]) -> bool:
        """Return whether the loop can send messages without asking the broker anything."""
        parcels = self.parcels
        # Those of a call keep their order.
        if self._undeclared or (parcels and (parcels[-1].answer is None or not self._wire.is_open)):
            return False
        knows = self._publisher.knows_route
        if len(messages) == 1:
            return bool(knows(*messages[0][1:]))
        ways = {(exchange, routing_key) for _, exchange, routing_key in messages}
        return all(knows(*way) for way in ways)


class LoopPublisher:
    """Publishes for the coroutines of one event loop.

    1. The first calls are made in the thread beside the loop, with producers of the pool: for
       a loop that makes few, as some servers have one for each request, connecting is not worth it.
    2. The next one is made there too, and connects.
    3. From then on a message is made here, at once, and sent by the loop, unless something about
       it has to be asked or told first: then the thread does that, and what comes after it waits
       its turn there.
    4. When the connection breaks, the thread goes on with the message as the retry policy says.

    - app: whose broker and settings count.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._connection: Any = None
        self._producer: Any = None
        #: What publishes on the loop, its connection, and what that raises when it breaks.
        self._loop_producer: Any = None
        self._wire: Any = None
        self._recoverable: tuple[type[Exception], ...] = ()
        #: Calls that the thread is at.
        self._in_thread = 0
        self._calls = 0
        self._end = closed_with_loop(self.close)
        #: Whether the broker's transport, and the loop, can do it; not known at first.
        self._suits = False

    def takes(self, tasks: Sequence[Any], options: Mapping[str, Any]) -> bool:
        """Return whether a call runs no code that may block: the broker's client, or a user's.

        - tasks: the tasks that are called; None for one that is known by name only.
        - options: of the call.
        """
        for task in tasks:
            if task is not None and (
                type(task).apply_async is not TaskCalls.apply_async
                or "apply_async" in task.__dict__
            ):
                return False
        app, amqp, conf = self._app, self._app.amqp, self._app.conf
        routes = amqp.router.routes
        return (
            self._suits
            and not signals.before_task_publish.receivers
            and not signals.after_task_publish.receivers
            and _IN_THREAD.isdisjoint(options)
            and not conf.task_always_eager
            and not conf.task_send_sent_event
            and amqp.Producer is Producer
            and amqp.send_task_message is amqp.own_sender
            and type(app).send_task is Sending.send_task
            and "send_task" not in app.__dict__
            and (not routes or all(type(route) is MapRoute for route in routes))
            and type(app.backend).on_task_call is BackendCore.on_task_call
        )

    async def call(
        self, tasks: Sequence[Any], send: Callable[..., Any], /, *args: Any, **options: Any
    ) -> Any:
        """Make a call that publishes, such as `Task.apply_async`, and return what it returns.

        - tasks: as for `takes`.
        - send: the function, which takes a ``producer``; args, options: its arguments.
        """
        if self._calls < CALLS_BEFORE_CONNECTING:
            return await self._thread(self._call_first, send, args, options)
        if not self.takes(tasks, options):
            return await call_in_thread(send, *args, **options)
        if self._in_thread or self._wire is None or not self._wire.check():
            return await self._thread(self._call_in_thread, send, args, options)
        # The handle becomes a child of the running task only once the message is published.
        parent = get_current_worker_task() if options.get("add_to_parent", True) else None
        if parent is not None:
            options["add_to_parent"] = False
        producer = self._loop_producer
        parcels: list[Parcel] = []
        producer.parcels = parcels
        result = send(*args, producer=producer, **options)
        for parcel in parcels:
            await self._delivered(parcel)
        if parent is not None and result is not None:
            parent.add_trail(_first_of(result))
        return result

    def close(self) -> None:
        """Give up the connections; the next call makes new ones."""
        if self._wire is not None:
            self._wire.close()
        connection, self._connection = self._connection, None
        self._producer = self._loop_producer = self._wire = None
        if connection is not None:
            connection.release()

    # -- on the loop

    async def _delivered(self, parcel: Parcel) -> None:
        """Return when the broker has a message. Raises what publishing raises."""
        if parcel.answer is not None:
            try:
                await parcel.answer
            except self._recoverable as exc:
                if not parcel.retry:
                    raise OperationalError(str(exc)) from exc
                logger.debug("Publishing again, after: %r", exc)
            else:
                return
        await self._thread(self._publish_in_thread, parcel)

    async def _thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in the thread, and have further calls wait for their turn there."""
        self._in_thread += 1
        try:
            returned = await call_in_thread(function, *args)
            self._calls += 1
            if self._producer is not None:
                await self._attach()
            return returned
        finally:
            self._in_thread -= 1

    async def _attach(self) -> None:
        """Have the loop publish what comes next, if it can."""
        channel = self._producer.opened_channel
        if channel is None or (self._wire is not None and self._wire.check()):
            return
        self._recoverable = self._connection.recoverable_connection_errors
        if self._loop_producer is None or self._loop_producer.channel is not channel:
            if self._wire is not None:
                self._wire.close()
            self._wire = channel.loop_wire()
            self._loop_producer = LoopProducer(channel, self._wire)
        try:
            await self._wire.open()
        except NotImplementedError:
            self._suits = False  # the loop watches no sockets
        except self._recoverable as exc:
            logger.debug("Publishing goes on in a thread for now: %r", exc)

    # -- in the thread

    def _call_first(
        self, send: Callable[..., Any], args: Sequence[Any], options: dict[str, Any]
    ) -> Any:
        returned = send(*args, **options)
        # Importing a transport takes a while.
        transport = self._app.connection_for_write().get_transport_cls()
        self._suits = bool(getattr(transport, "publishes_on_loops", False))
        return returned

    def _call_in_thread(
        self, send: Callable[..., Any], args: Sequence[Any], options: dict[str, Any]
    ) -> Any:
        return send(*args, producer=self._own_producer(), **options)

    def _publish_in_thread(self, parcel: Parcel) -> None:
        producer = self._own_producer()

        def send() -> None:
            channel = producer._open()
            for entity in parcel.undeclared:
                declare_once(entity, channel)
            channel.basic_publish_many(parcel.messages)

        try:
            producer._ensured(send, retry=parcel.retry, retry_policy=parcel.retry_policy)
        except OSError:
            with naming_the_broker(self._connection):
                raise

    def _own_producer(self) -> Any:
        if self._producer is None or self._producer.is_closed:
            self._connection = self._app.connection_for_write()
            self._producer = self._app.amqp.Producer(self._connection, auto_declare=False)
        return self._producer


def _first_of(result: Any) -> Any:
    """Return the handle on what was sent: of a chain that is its first step."""
    while (before := getattr(result, "parent", None)) is not None:
        result = before
    return result
