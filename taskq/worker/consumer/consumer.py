"""The consumer: keeps a connection to the broker and turns its messages into running tasks.

A blueprint of steps (connection, tasks, event loop, …) that is restarted when the connection is
lost. The controller starts it; messages leave it through ``on_task_request``.
"""

from __future__ import annotations

import errno
import os
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from billiard.common import restart_state
from billiard.exceptions import RestartFreqExceeded
from kombu.exceptions import ContentDisallowed, DecodeError
from kombu.utils.encoding import safe_repr
from kombu.utils.limits import TokenBucket

from taskq import bootsteps, signals
from taskq.app.task import Context
from taskq.app.trace import build_tracer
from taskq.exceptions import InvalidTaskError, NotRegistered
from taskq.utils.log import get_logger
from taskq.utils.nodenames import gethostname
from taskq.utils.text import truncate
from taskq.utils.time import humanize_seconds, rate
from taskq.worker import loops, state
from taskq.worker.consumer import reduction
from taskq.worker.state import (
    active_requests,
    reserved_requests,
    scheduled_requests,
    task_reserved,
    task_scheduled,
)

__all__ = ("Consumer", "Evloop", "dump_body")

logger = get_logger("celery.worker.consumer")

CLOSE = bootsteps.CLOSE
TERMINATE = bootsteps.TERMINATE
STOP_CONDITIONS = {CLOSE, TERMINATE}

CONNECTION_RETRY = "consumer: Connection to broker lost. Trying to re-establish the connection..."
CONNECTION_RETRY_STEP = "Trying again {when}... ({retries}/{max_retries})"
CONNECTION_ERROR = "consumer: Cannot connect to %s: %s.\n%s\n"
CONNECTION_FAILOVER = "Will retry using next failover."
NO_BROKER_HINT = (
    "No broker is configured, so RabbitMQ on this machine was tried. To run without any server "
    "set broker_url = 'sqlite:///taskq.db' (and result_backend to the same)."
)
UNKNOWN_FORMAT = (
    "Received and deleted unknown message. Wrong destination?!?\n\n"
    "The full contents of the message body was: %s"
)
UNKNOWN_TASK_ERROR = (
    "Received unregistered task of type %s.\n"
    "The message has been ignored and discarded.\n\n"
    "Did you remember to import the module containing this task?\n"
    "Or maybe you're using relative imports?\n\n"
    "The full contents of the message body was:\n%s\n\n"
    "The full contents of the message headers:\n%s\n\n"
    "The delivery info for this task is:\n%s\n"
)
INVALID_TASK_ERROR = (
    "Received invalid task message: %s\n"
    "The message has been ignored and discarded.\n\n"
    "Please ensure your message conforms to the task message protocol.\n\n"
    "The full contents of the message body was:\n%s\n"
)
MESSAGE_DECODE_ERROR = (
    "Can't decode message body: %r [type:%r encoding:%r headers:%s]\n\nbody: %s\n"
)

#: Characters of a body that go into the log.
_BODY_IN_LOG = 1024


def dump_body(m: Any, body: Any) -> str:
    """Return the beginning of a message body and its size, for the log."""
    body = m.body if body is None else body
    size = len(m.body) if isinstance(m.body, bytes | str | memoryview) else 0
    return f"{truncate(safe_repr(body), _BODY_IN_LOG)} ({size}b)"


class Consumer:
    """Consumes task messages.

    - on_task_request: called with each request that may run.
    - init_callback: called with the consumer when it is ready.
    - hostname: node name; pool, timer, hub, controller: the worker's.
    - amqheartbeat: AMQP heartbeat in seconds.
    - disable_rate_limits: ignore ``rate_limit`` of tasks.
    - initial_prefetch_count: messages to hold at first; prefetch_multiplier: per pool process.
    """

    Strategies = dict

    #: Called once, when the consumer is ready for the first time.
    init_callback: Any = None
    pool: Any = None
    timer: Any = None
    #: How often the consumer was restarted; -1 before it was started.
    restart_count = -1
    first_connection_attempt = True
    broker_connection_retry_attempt = 0
    _flush_scheduled = False
    #: What runs since before the connection was lost, while less is prefetched for it.
    running_since_loss: frozenset[Any] = frozenset()

    class Blueprint(bootsteps.Blueprint):
        """The steps of a consumer."""

        name = "Consumer"
        default_steps = (
            "taskq.worker.consumer.connection:Connection",
            "taskq.worker.consumer.mingle:Mingle",
            "taskq.worker.consumer.events:Events",
            "taskq.worker.consumer.gossip:Gossip",
            "taskq.worker.consumer.heart:Heart",
            "taskq.worker.consumer.control:Control",
            "taskq.worker.consumer.tasks:Tasks",
            "taskq.worker.consumer.delayed_delivery:DelayedDelivery",
            "taskq.worker.consumer.consumer:Evloop",
            "taskq.worker.consumer.agent:Agent",
        )

        def shutdown(self, parent: Any) -> None:
            """Release what the steps hold."""
            self.send_all(parent, "shutdown")

    def __init__(
        self,
        on_task_request: Callable[[Any], None],
        init_callback: Callable[[Any], None] = lambda consumer: None,
        hostname: str | None = None,
        pool: Any = None,
        app: Any = None,
        timer: Any = None,
        controller: Any = None,
        hub: Any = None,
        amqheartbeat: float | None = None,
        worker_options: dict[str, Any] | None = None,
        disable_rate_limits: bool = False,
        initial_prefetch_count: int = 2,
        prefetch_multiplier: int = 1,
        **kwargs: Any,
    ) -> None:
        self.app = app
        self.controller = controller
        self.init_callback = init_callback
        self.hostname = hostname or gethostname()
        self.pid = os.getpid()
        self.pool = pool
        self.timer = timer
        self.hub = hub
        self.strategies: dict[str, Any] = self.Strategies()
        self.connection: Any = None
        self.task_consumer: Any = None
        self.qos: Any = None
        self.event_dispatcher: Any = None
        self.connection_errors: tuple[type[BaseException], ...] = ()
        self.channel_errors: tuple[type[BaseException], ...] = ()
        self._read_connection_errors()
        self._restart_state = restart_state(maxR=5, maxT=1)
        self.on_task_request = on_task_request
        self.on_task_message: set[Any] = set()
        self.amqheartbeat_rate = self.app.conf.broker_heartbeat_checkrate
        self.disable_rate_limits = disable_rate_limits
        self.initial_prefetch_count = initial_prefetch_count
        self.prefetch_multiplier = prefetch_multiplier
        #: Seconds: ETAs farther away are given back to a broker that can keep them.
        self.defer_eta: float = self.app.conf.worker_defer_eta
        self.amqheartbeat = self.app.conf.broker_heartbeat if amqheartbeat is None else amqheartbeat
        self.task_buckets: dict[str, Any] = defaultdict(lambda: None)
        self.reset_rate_limits()
        self.steps: list[Any] = []
        self.blueprint = self.Blueprint(steps=self.app.steps["consumer"], on_close=self.on_close)
        self.blueprint.apply(self, **{**(worker_options or {}), **kwargs})

    def _read_connection_errors(self) -> None:
        connection = self.app.connection_for_read()
        self.connection_errors = tuple(connection.connection_errors)
        self.channel_errors = tuple(connection.channel_errors)

    # -- running

    def start(self) -> None:
        """Run until the worker is told to stop; reconnect whenever the connection is lost."""
        blueprint = self.blueprint
        while blueprint.state not in STOP_CONDITIONS:
            state.maybe_shutdown()
            if self.restart_count > 0:
                try:
                    self._restart_state.step()
                except RestartFreqExceeded as exc:
                    logger.critical("Frequent restarts detected: %r", exc)
                    time.sleep(1)
            self.restart_count += 1
            try:
                blueprint.start(self)
            except self.connection_errors as exc:
                if isinstance(exc, OSError) and exc.errno == errno.EMFILE:
                    raise  # too many open files: reconnecting can't help
                state.maybe_shutdown()
                if blueprint.state not in STOP_CONDITIONS:
                    if self.connection:
                        self.on_connection_error_after_connected(exc)
                    else:
                        self.on_connection_error_before_connected(exc)
                    self.on_close()
                    blueprint.restart(self)

    def on_connection_error_before_connected(self, exc: BaseException) -> None:
        """The first connection attempt of this round failed."""
        if not self.app.conf.broker_connection_retry:
            raise exc
        logger.error(
            CONNECTION_ERROR,
            self.app.connection_for_read().as_uri(),
            exc,
            "Trying to reconnect...",
        )

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        """An established connection was lost."""
        logger.warning(CONNECTION_RETRY, exc_info=True)
        if not self.app.conf.broker_connection_retry:
            raise exc
        try:
            self.connection.collect()
        except Exception as collect_error:
            logger.debug("Closing the lost connection failed: %r", collect_error)
        self.first_connection_attempt = False
        if self.app.conf.worker_cancel_long_running_tasks_on_connection_loss:
            self.cancel_active_requests()
        if self.app.conf.worker_enable_prefetch_count_reduction:
            reduction.reduce(self)

    def cancel_active_requests(self) -> None:
        """Terminate running tasks whose messages can't be acknowledged any more."""
        for request in list(active_requests):
            if request.task.acks_late and not request.acknowledged:
                logger.warning(
                    "Task %s cannot be acknowledged after a connection loss since late "
                    "acknowledgement is enabled for it. Terminating it instead.",
                    request,
                )
                request.cancel(self.pool)

    def register_with_event_loop(self, hub: Any) -> None:
        """Let the steps take part in the loop."""
        self.blueprint.send_all(
            self, "register_with_event_loop", args=(hub,), description="Hub.register"
        )

    def stop(self) -> None:
        """Stop consuming; what was fetched and not begun goes back to the broker at once."""
        self.blueprint.stop(self)
        self._return_held_requests()

    def shutdown(self) -> None:
        """Close the connection."""
        self.blueprint.shutdown(self)

    def _return_held_requests(self) -> None:
        """Give back what nobody has begun to run."""
        for request in [*list(reserved_requests), *list(scheduled_requests)]:
            if request.acknowledged or request in active_requests:
                continue
            if request in reserved_requests and not self.pool.cancel_pending(request):
                continue
            try:
                request.reject(requeue=True)
            except self.connection_errors + self.channel_errors as exc:
                logger.warning(
                    "Could not return %s to the broker, which will deliver it again: %r",
                    request,
                    exc,
                )
            state.task_ready(request)

    def on_ready(self) -> None:
        """Consuming has begun."""
        reduction.restore_gradually(self)
        callback, self.init_callback = self.init_callback, None
        if callback:
            callback(self)

    def loop_args(self) -> tuple[Any, ...]:
        """Return the arguments of the loops."""
        return (
            self,
            self.connection,
            self.task_consumer,
            self.blueprint,
            self.hub,
            self.qos,
            self.amqheartbeat,
            self.app.clock,
            self.amqheartbeat_rate,
        )

    @property
    def loop(self) -> Callable[..., None]:
        """The loop that suits the transport."""
        if self.connection.transport.implements.asynchronous:
            return loops.asynloop
        return loops.synloop

    def on_close(self) -> None:
        """The connection is gone: forget what the broker will deliver again."""
        if self.controller is not None and self.controller.semaphore is not None:
            self.controller.semaphore.clear()
        for bucket in self.task_buckets.values():
            if bucket is not None:
                bucket.clear_pending()
        for request in list(scheduled_requests):
            if request._eta_timer_entry is not None:
                request._eta_timer_entry.cancel()
            state.task_ready(request)
        for request in list(reserved_requests):
            if request in active_requests or request.acknowledged:
                continue
            if self.pool is not None and self.pool.cancel_pending(request):
                state.task_ready(request)

    def drop_lost(self, tags: Any) -> None:
        """Forget held messages that the broker has given to another worker.

        - tags: their delivery tags. Those that run already can't be called back: their
          acknowledgements are refused by the broker.
        """
        lost = frozenset(tags)
        for request in list(reserved_requests):
            if request.message.delivery_tag not in lost or request in active_requests:
                continue
            if self.pool.cancel_pending(request):
                logger.warning("%s was given to another worker: not running it here", request)
                request.acknowledged = True
                state.task_ready(request)

    # -- connecting

    def connect(self) -> Any:
        """Return a connection that is established, and known to the event loop."""
        conn = self.connection_for_read(heartbeat=self.amqheartbeat)
        if self.hub is not None and conn.transport.implements.asynchronous:
            conn.transport.register_with_event_loop(conn.connection, self.hub)
        return conn

    def connection_for_read(self, heartbeat: float | None = None) -> Any:
        """Return an established connection to consume from."""
        return self.ensure_connected(self.app.connection_for_read(heartbeat=heartbeat))

    def connection_for_write(self, url: Any = None, heartbeat: float | None = None) -> Any:
        """Return an established connection to publish with."""
        return self.ensure_connected(self.app.connection_for_write(url=url, heartbeat=heartbeat))

    def ensure_connected(self, conn: Any) -> Any:
        """Establish the connection, trying again as the settings say. Returns it."""
        conf = self.app.conf
        max_retries = conf.broker_connection_max_retries
        retry = conf.broker_connection_retry
        if self.first_connection_attempt and conf.broker_connection_retry_on_startup is not None:
            retry = conf.broker_connection_retry_on_startup
        self.broker_connection_retry_attempt = 0

        def on_error(exc: BaseException, interval: float) -> None:
            self.broker_connection_retry_attempt += 1
            if getattr(conn, "alt", None) and interval == 0:
                next_step = CONNECTION_FAILOVER
            else:
                next_step = CONNECTION_RETRY_STEP.format(
                    when=humanize_seconds(interval, "in", " "),
                    retries=self.broker_connection_retry_attempt,
                    max_retries=max_retries,
                )
            if not conf.broker_read_url and self.broker_connection_retry_attempt == 1:
                next_step = f"{next_step}\n{NO_BROKER_HINT}"
            logger.error(CONNECTION_ERROR, conn.as_uri(), exc, next_step)

        if not retry:
            conn.connect()
            self.first_connection_attempt = False
            return conn
        conn = conn.ensure_connection(on_error, max_retries, callback=state.maybe_shutdown)
        self.first_connection_attempt = False
        return conn

    # -- messages

    def create_task_handler(self, promise: Any = None) -> Callable[[Any], None]:
        """Return the function that kombu's consumer calls with every message."""
        strategies = self.strategies
        callbacks = self.on_task_message

        def on_task_received(message: Any) -> None:
            payload = None
            try:
                name = message.headers["task"]
            except TypeError:
                return self.on_unknown_message(None, message)
            except KeyError:
                # Protocol 1 keeps everything in the body.
                try:
                    payload = message.decode()
                except Exception as exc:
                    return self.on_decode_error(message, exc)
                try:
                    name = payload["task"]
                except (TypeError, KeyError):
                    return self.on_unknown_message(payload, message)
            try:
                strategy = strategies[name]
            except (KeyError, TypeError) as exc:
                return self.on_unknown_task(None, message, exc)
            try:
                strategy(
                    message, payload, message.ack_log_error, message.reject_log_error, callbacks
                )
            except (InvalidTaskError, ContentDisallowed) as exc:
                if isinstance(exc, ContentDisallowed):
                    return self.on_decode_error(message, exc)
                return self.on_invalid_task(payload, message, exc)
            except DecodeError as exc:
                return self.on_decode_error(message, exc)
            except (KeyError, TypeError, ValueError, AttributeError) as exc:
                # A header of the wrong type or a missing one: the message's fault, unless a
                # connection error, which is an OSError, says otherwise.
                logger.debug("Message could not be handled", exc_info=True)
                return self.on_invalid_task(payload, message, exc)

        return on_task_received

    def on_decode_error(self, message: Any, exc: BaseException) -> None:
        """A message can't be decoded or may not be: log it and drop it."""
        logger.critical(
            MESSAGE_DECODE_ERROR,
            exc,
            message.content_type,
            message.content_encoding,
            safe_repr(message.headers),
            dump_body(message, message.body),
        )
        message.ack_log_error(logger, self.connection_errors)

    def _message_report(self, body: Any, message: Any) -> str:
        return (
            f"body: {dump_body(message, body)}\n"
            f"{{content_type:{safe_repr(message.content_type)} "
            f"content_encoding:{safe_repr(message.content_encoding)}\n"
            f"  delivery_info:{safe_repr(message.delivery_info)} "
            f"headers={safe_repr(message.headers)}}}\n"
        )

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """A message is no task at all: log it and reject it."""
        logger.warning(UNKNOWN_FORMAT, self._message_report(body, message))
        message.reject_log_error(logger, self.connection_errors)
        signals.task_rejected.send(sender=self, message=message, exc=None)

    def on_unknown_task(self, body: Any, message: Any, exc: BaseException) -> None:
        """A message names a task that isn't registered: log it, reject it, store a failure."""
        headers = message.headers if isinstance(message.headers, dict) else {}
        report = dump_body(message, body)
        logger.error(
            UNKNOWN_TASK_ERROR,
            exc,
            report,
            safe_repr(headers),
            safe_repr(message.delivery_info),
            exc_info=True,
        )
        name, task_id = headers.get("task"), headers.get("id")
        if name is None:
            try:
                payload = message.payload
                name, task_id = payload["task"], payload["id"]
            except Exception as decode_error:
                logger.debug("The message has no id either: %r", decode_error)
        message.reject_log_error(logger, self.connection_errors)
        if isinstance(task_id, str):
            # The caller learns of it, and a chord does not wait for ever.
            request = self._context_of(message, headers)
            self.app.backend.mark_as_failure(
                task_id,
                NotRegistered(name),
                request=request,
                store_result=not headers.get("ignore_result"),
            )
            if self.event_dispatcher is not None:
                self.event_dispatcher.send(
                    "task-failed", uuid=task_id, exception=f"NotRegistered({name!r})"
                )
        signals.task_unknown.send(sender=self, message=message, exc=exc, name=name, id=task_id)

    def _context_of(self, message: Any, headers: dict[str, Any]) -> Any:
        embed: dict[str, Any] = {}
        try:
            embed = message.decode()[2] or {}
        except Exception as exc:
            logger.debug("The body of an unregistered task can't be decoded: %r", exc)
        return Context({**headers, **embed, "called_directly": False})

    def on_invalid_task(self, body: Any, message: Any, exc: BaseException) -> None:
        """A message is a task, but a malformed one: log it and reject it."""
        logger.error(INVALID_TASK_ERROR, exc, dump_body(message, body), exc_info=True)
        message.reject_log_error(logger, self.connection_errors)
        signals.task_rejected.send(sender=self, message=message, exc=exc)

    def update_strategies(self) -> None:
        """Look at the registered tasks again."""
        loader = self.app.loader
        self.strategies.clear()
        for name, task in self.app.tasks.items():
            self.strategies[name] = task.start_strategy(self.app, self)
            task.__trace__ = build_tracer(name, task, loader, self.hostname, app=self.app)

    # -- events

    def on_send_event_buffered(self) -> None:
        """Task events are kept for a moment, so that those of one tick share a message."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self.hub.call_soon(self._flush_events)

    def _flush_events(self) -> None:
        self._flush_scheduled = False
        if self.event_dispatcher is not None:
            self.event_dispatcher.flush()

    # -- ETA and rate limits

    def hold_until(self, due: float, request: Any) -> None:
        """Keep a request in memory until unix time ``due``.

        It doesn't count as prefetched, unless ``worker_eta_task_limit`` are held already: then no
        more messages come until one of them is due.
        """
        before = self.qos.value
        request._widened_prefetch = self.qos.increment_eventually() > before
        request._eta_timer_entry = self.timer.call_after(
            max(0.0, due - time.time()), self.apply_eta_task, (request,), priority=6
        )
        task_scheduled(request)

    def apply_eta_task(self, task: Any) -> None:
        """The ETA of a request has come."""
        task._eta_timer_entry = None
        task_reserved(task)
        bucket = self.task_buckets[task.task.name]
        if bucket is not None:
            self._limit_task(task, bucket, 1)
        else:
            self.on_task_request(task)
        if task._widened_prefetch:
            self.qos.decrement_eventually()

    def bucket_for_task(self, type: Any) -> Any:
        """Return a token bucket for the task's rate limit, None when it has none."""
        limit = rate(getattr(type, "rate_limit", None))
        return TokenBucket(limit, capacity=1) if limit else None

    def reset_rate_limits(self) -> None:
        """Make the token buckets anew."""
        if self.disable_rate_limits:
            return
        self.task_buckets.update(
            (name, self.bucket_for_task(task)) for name, task in self.app.tasks.items()
        )

    def _limit_task(self, request: Any, bucket: Any, tokens: int) -> None:
        """Run the request when its rate limit allows it; others don't wait for it."""
        task_reserved(request)
        if bucket.contents:
            # Others of this task wait already.
            bucket.add((request, tokens))
            return
        if bucket.can_consume(tokens):
            self.on_task_request(request)
            return
        bucket.add((request, tokens))
        self._schedule_bucket_request(bucket)

    def _schedule_bucket_request(self, bucket: Any) -> None:
        """Run what the bucket has tokens for, and come back when it has more."""
        while bucket.contents:
            request, tokens = bucket.contents[0]
            if not bucket.can_consume(tokens):
                self.timer.call_after(
                    bucket.expected_time(tokens),
                    self._schedule_bucket_request,
                    (bucket,),
                    priority=4,
                )
                return
            bucket.pop()
            self.on_task_request(request)

    # -- queues at run time

    def add_task_queue(
        self,
        queue: Any,
        exchange: str | None = None,
        exchange_type: str | None = None,
        routing_key: str | None = None,
        **options: Any,
    ) -> None:
        """Consume from one more queue."""
        queues = self.app.amqp.queues
        if queue in queues:
            added = queues[queue]
        else:
            exchange = queue if exchange is None else exchange
            added = queues.select_add(
                queue,
                exchange=exchange,
                exchange_type="direct" if exchange_type is None else exchange_type,
                routing_key=queue if routing_key is None else routing_key,
                **options,
            )
        if not self.task_consumer.consuming_from(added):
            self.task_consumer.add_queue(added)
            self.task_consumer.consume()
            logger.info("Started consuming from %s", added.name)

    def cancel_task_queue(self, queue: str) -> None:
        """Stop consuming from a queue."""
        logger.info("Canceling queue %s", queue)
        self.app.amqp.queues.deselect(queue)
        self.task_consumer.cancel_by_queue(queue)

    def call_soon(self, p: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a promise in the loop's next round."""
        if self.hub is not None:
            return self.hub.call_soon(lambda: p(*args, **kwargs))
        return p(*args, **kwargs)

    @property
    def max_prefetch_count(self) -> int:
        """Messages to hold when all of the pool is free."""
        return int(self.pool.num_processes * self.prefetch_multiplier)

    def _update_prefetch_count(self, index: int = 0) -> int | None:
        """The pool has grown (or shrunk) by ``index`` processes: hold more (or fewer)."""
        processes = self.pool.num_processes
        if not self.initial_prefetch_count or not processes:
            return None  # prefetch disabled
        self.initial_prefetch_count = processes * self.prefetch_multiplier
        return self._update_qos_eventually(index)

    def _update_qos_eventually(self, index: int) -> int:
        change = self.qos.decrement_eventually if index < 0 else self.qos.increment_eventually
        return change(abs(index) * self.prefetch_multiplier)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<Consumer: {self.hostname} ({self.blueprint.human_state()})>"


class Evloop(bootsteps.StartStopStep):
    """The step that runs the loop; it ends when the consumer stops."""

    label = "event loop"
    last = True

    def start(self, c: Any) -> None:
        """Run the loop."""
        c.loop(*c.loop_args())
