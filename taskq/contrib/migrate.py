"""Moving tasks that wait: to another broker, or to other queues of the same one.

Used by ``taskq migrate`` and from Python. A message is acknowledged at its old place only after
its new place has it: a task may come to be at both, never at neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import count
from typing import Any

from kombu import Exchange, Queue
from kombu.common import maybe_declare
from kombu.utils.encoding import ensure_bytes

from taskq._state import app_or_default
from taskq.utils.nodenames import worker_direct
from taskq.utils.text import str_to_list

__all__ = (
    "State",
    "StopFiltering",
    "migrate_task",
    "migrate_tasks",
    "move",
    "move_by_idmap",
    "move_by_taskmap",
    "move_direct",
    "move_direct_by_id",
    "move_task_by_id",
    "republish",
    "start_filter",
    "task_id_eq",
    "task_id_in",
)

MOVING_PROGRESS_FMT = "Moving task {state.filtered}/{state.strtotal}: {name}[{id}]"

#: Properties that belong to one delivery, or that publishing sets again.
_NOT_COPIED = (
    "application_headers",
    "content_type",
    "content_encoding",
    "headers",
    "delivery_info",
    "delivery_tag",
    "body_encoding",
)


class StopFiltering(Exception):
    """Raised by a callback to end the search."""


class State:
    """How far a search has come: ``count`` messages seen, of about ``total_apx``."""

    count = 0
    filtered = 0
    total_apx = 0

    @property
    def strtotal(self) -> str:
        """The total as text; ``?`` if the broker does not tell."""
        return str(self.total_apx) if self.total_apx else "?"

    def __repr__(self) -> str:
        if self.filtered:
            return f"^{self.filtered}"
        return f"{self.count}/{self.strtotal}"


def task_of(body: Any, message: Any) -> tuple[Any, Any]:
    """Return name and id of the task in a message of either protocol."""
    headers = message.headers or {}
    if headers.get("task"):
        return headers["task"], headers.get("id")
    if isinstance(body, Mapping):
        return body.get("task"), body.get("id")
    return None, None


def republish(
    producer: Any,
    message: Any,
    exchange: str | None = None,
    routing_key: str | None = None,
    remove_props: Iterable[str] | None = None,
) -> None:
    """Publish a received message again, as it is.

    - exchange, routing_key: where to, where it came from if not given.
    - remove_props: properties that are not copied.
    """
    info, headers = message.delivery_info, dict(message.headers or {})
    properties = dict(message.properties)
    for name in remove_props or _NOT_COPIED:
        properties.pop(name, None)
    # Of a redelivery by us, not of the task.
    headers.pop("redelivered", None)
    # The body was decompressed when it came.
    compression = headers.pop("compression", None)
    if properties.get("expiration") is not None:
        # Seconds for the producer; milliseconds on the wire.
        properties["expiration"] = float(properties["expiration"]) / 1000
    producer.publish(
        ensure_bytes(message.body),
        exchange=info["exchange"] if exchange is None else exchange,
        routing_key=info["routing_key"] if routing_key is None else routing_key,
        compression=compression,
        headers=headers,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        **properties,
    )


def migrate_task(
    producer: Any, body_: Any, message: Any, queues: Mapping[str, str] | None = None
) -> None:
    """Publish one message with ``producer``; ``queues`` maps old to new exchanges and keys."""
    info = message.delivery_info
    queues = queues or {}
    republish(
        producer,
        message,
        exchange=queues.get(info["exchange"]),
        routing_key=queues.get(info["routing_key"]),
    )


def migrate_tasks(
    source: Any,
    dest: Any,
    migrate: Callable[..., Any] = migrate_task,
    app: Any = None,
    queues: Any = None,
    **kwargs: Any,
) -> State:
    """Copy the tasks that wait at connection ``source`` to connection ``dest``.

    Parameters:
        migrate: called for each, ``migrate(producer, body, message, queues=…)``.
        queues: names of the queues to take from (all of the app if not given), as a list, as text
            with commas, or as a mapping to new names.
        kwargs: those of `start_filter`; with ``ack_messages`` the tasks are moved.
    """
    app = app_or_default(app)
    queues = prepare_queues(queues)
    producer = app.amqp.Producer(dest, auto_declare=False)

    def on_declare_queue(queue: Any) -> None:
        """Make the same queue at the destination, under its new name."""
        new = queue(producer.channel)
        new.name = queues.get(queue.name, queue.name)
        if new.routing_key == queue.name:
            new.routing_key = queues.get(new.routing_key, new.routing_key)
        if new.exchange.name == queue.name:
            new.exchange.name = queues.get(queue.name, queue.name)
        new.declare()

    return start_filter(
        app,
        source,
        partial(migrate, producer, queues=queues),
        queues=queues,
        on_declare_queue=on_declare_queue,
        **kwargs,
    )


def prepare_queues(queues: Any) -> dict[str, str]:
    """Return queues given as text, list or mapping as a mapping of old to new names."""
    queues = str_to_list(queues) if isinstance(queues, str) else queues
    if queues is None:
        return {}
    if isinstance(queues, Mapping):
        return dict(queues)
    pairs = (name.partition(":") for name in queues)
    return {old: new or old for old, _, new in pairs}


def move(
    predicate: Callable[[Any, Any], Any],
    connection: Any = None,
    exchange: Any = None,
    routing_key: str | None = None,
    source: Any = None,
    app: Any = None,
    callback: Callable[..., Any] | None = None,
    limit: int | None = None,
    transform: Callable[[Any], Any] | None = None,
    **kwargs: Any,
) -> State:
    """Move tasks to other queues of the same broker.

    Parameters:
        predicate: called with body and message of each; true moves it. It may also return where
            to: a queue, the name of one, or a pair of exchange and routing key.
        connection: to the broker, the app's if not given.
        exchange, routing_key: where to, if the predicate does not say.
        source: queues to look in (names, or text with commas), all of the app if not given.
        callback: called with the state, body and message of each task that was moved.
        limit: number of tasks after which to stop.
        transform: makes a queue of what the predicate returned.
        kwargs: those of `start_filter`.

    Tasks that are not moved stay where they are.
    """
    app = app_or_default(app)
    sources = [_queue(app, queue) for queue in str_to_list(source) or ()] or None
    with app.connection_or_acquire(connection, pool=False) as conn:
        producer = app.amqp.Producer(conn, auto_declare=False)
        state = State()

        def on_task(body: Any, message: Any) -> None:
            found = predicate(body, message)
            if not found:
                return
            if transform is not None:
                found = transform(found)
            to_exchange, to_key = expand_dest(found, exchange, routing_key)
            if isinstance(found, Queue):
                maybe_declare(found, conn.default_channel)
            info = message.delivery_info
            if (info["exchange"], info["routing_key"]) == (to_exchange, to_key):
                return  # it is there: we look in that queue too
            republish(producer, message, exchange=to_exchange, routing_key=to_key)
            message.ack()
            state.filtered += 1
            if callback is not None:
                callback(state, body, message)
            if limit and state.filtered >= limit:
                raise StopFiltering()

        return start_filter(app, conn, on_task, consume_from=sources, state=state, **kwargs)


def expand_dest(ret: Any, exchange: Any, routing_key: Any) -> tuple[Any, Any]:
    """Return exchange and routing key of what a predicate returned."""
    if isinstance(ret, Queue):
        return ret.exchange.name, ret.routing_key
    if isinstance(ret, (tuple, list)):
        return ret[0], ret[1]
    if isinstance(ret, str):
        return "", ret  # every queue has its name at the default exchange
    return exchange.name if isinstance(exchange, Exchange) else exchange, routing_key


def task_id_eq(task_id: str, body: Any, message: Any) -> bool:
    """Return whether a message is of the task with an id."""
    return bool(task_of(body, message)[1] == task_id)


def task_id_in(ids: Iterable[str], body: Any, message: Any) -> bool:
    """Return whether a message is of a task with one of some ids."""
    return task_of(body, message)[1] in ids


def _queue(app: Any, queue: Any) -> Any:
    return app.amqp.queues[queue] if isinstance(queue, str) else queue


def start_filter(
    app: Any,
    conn: Any,
    filter: Callable[[Any, Any], Any],
    limit: int | None = None,
    timeout: float | None = 1.0,
    ack_messages: bool = False,
    tasks: Any = None,
    queues: Any = None,
    callback: Callable[..., Any] | None = None,
    forever: bool = False,
    on_declare_queue: Callable[[Any], Any] | None = None,
    consume_from: Any = None,
    state: State | None = None,
    accept: Any = None,
    **kwargs: Any,
) -> State:
    """Show every task that waits to ``filter(body, message)``; return how many there were.

    Parameters:
        conn: connection to the broker.
        limit: number of messages after which to stop.
        timeout: seconds without a message after which to stop.
        ack_messages: acknowledge, that is remove, each message that the filter was shown.
        tasks: names of the tasks to show, others are left alone (a list, or text with commas).
        queues: names of the queues to look in, all of the app if not given.
        callback: called with state, body and message after the filter.
        forever: wait for more instead of stopping after ``timeout``.
        on_declare_queue: called with each queue before it is consumed from.
        consume_from: queues (objects) to consume from instead of the app's.
        accept: content types to decode; all of the app's if not given.
    """
    state = state or State()
    wanted_tasks = set(str_to_list(tasks) or ())
    names = prepare_queues(queues)
    accept = app.conf.accept_content if accept is None else accept
    seen = count(1)

    def on_message(body: Any, message: Any) -> None:
        if wanted_tasks and task_of(body, message)[0] not in wanted_tasks:
            return
        state.count = next(seen)
        filter(body, message)
        if ack_messages and not message.acknowledged:
            message.ack()
        if callback is not None:
            callback(state, body, message)
        if limit and state.count >= limit:
            raise StopFiltering()

    with conn.channel() as channel:
        consumer = _consumer(app, channel, names, consume_from, accept)
        for queue in list(consumer.queues):
            if on_declare_queue is not None:
                on_declare_queue(queue)
            state.total_apx += _waiting(conn, queue)
        consumer.register_callback(on_message)
        with consumer:
            try:
                _drain(conn, timeout, forever=forever)
            except StopFiltering:
                pass
    return state


def _consumer(app: Any, channel: Any, names: dict[str, str], consume_from: Any, accept: Any) -> Any:
    consumer = app.amqp.TaskConsumer(channel, queues=consume_from, accept=accept)
    if names:
        for queue in list(consumer.queues):
            if queue.name not in names:
                consumer.cancel_by_queue(queue.name)
        known = {queue.name for queue in consumer.queues}
        for name in names:
            if name not in known:
                consumer.add_queue(app.amqp.queues[name])
    return consumer


def _waiting(conn: Any, queue: Any) -> int:
    """Return about how many messages wait; 0 where the broker does not tell."""
    # A channel of its own: amqp closes the one on which a missing queue was named.
    try:
        with conn.channel() as channel:
            return int(queue(channel).queue_declare(passive=True).message_count or 0)
    except (*conn.channel_errors, AttributeError, TypeError):
        return 0


def _drain(conn: Any, timeout: float | None, *, forever: bool) -> None:
    while True:
        try:
            conn.drain_events(timeout=timeout)
        except TimeoutError:
            if not forever:
                return


def move_task_by_id(task_id: str, dest: Any, **kwargs: Any) -> State:
    """Move one task by its id to ``dest`` (a queue, its name, or exchange and routing key).

    Keywords are those of `move`.
    """
    return move_by_idmap({task_id: dest}, **kwargs)


def move_by_idmap(map: Mapping[str, Any], **kwargs: Any) -> State:
    """Move tasks by id, ``{"5bee6e82-…": Queue("hot")}``; stops when all have been found."""

    def destination(body: Any, message: Any) -> Any:
        return map.get(task_of(body, message)[1])

    return move(destination, limit=len(map), **kwargs)


def move_by_taskmap(map: Mapping[str, Any], **kwargs: Any) -> State:
    """Move tasks by name, ``{"proj.add": Queue("name")}``."""

    def destination(body: Any, message: Any) -> Any:
        return map.get(task_of(body, message)[0])

    return move(destination, **kwargs)


def filter_status(state: State, body: Any, message: Any, **kwargs: Any) -> None:
    """Print how far a move has come; a ``callback`` for `move`."""
    name, id = task_of(body, message)
    print(MOVING_PROGRESS_FMT.format(state=state, name=name, id=id))


#: As `move` and `move_task_by_id`; what the predicate returns is the name of a worker.
move_direct = partial(move, transform=worker_direct)
move_direct_by_id = partial(move_task_by_id, transform=worker_direct)
