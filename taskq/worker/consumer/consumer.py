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
from kombu.exceptions import ContentDisallowed, DecodeError, OperationalError

from taskq import bootsteps
from taskq.exceptions import InvalidTaskError
from taskq.utils.log import get_logger
from taskq.utils.nodenames import gethostname
from taskq.worker import loops, state
from taskq.worker.consumer import reduction
from taskq.worker.consumer.connecting import CONNECTION_ERROR, Connecting
from taskq.worker.consumer.holding import HeldRequests
from taskq.worker.consumer.unfit import UnfitMessages, dump_body
from taskq.worker.state import (
    active_requests,
    reserved_requests,
    scheduled_requests,
)

__all__ = ("Consumer", "Evloop", "dump_body")

logger = get_logger("celery.worker.consumer")

CLOSE = bootsteps.CLOSE
TERMINATE = bootsteps.TERMINATE
STOP_CONDITIONS = {CLOSE, TERMINATE}

CONNECTION_RETRY = "consumer: Connection to broker lost. Trying to re-establish the connection..."

#: What a header of the wrong type, a missing or an impossible one raises.
MESSAGE_FAULTS = (
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    AttributeError,
    RecursionError,
)


class Consumer(Connecting, UnfitMessages, HeldRequests):
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
    #: Whether the loop runs: from when there is a connection until it is lost or closed.
    consuming = False
    #: The timer's entry that sends AMQP heartbeats on the connection; None without.
    amqheartbeat_timer: Any = None
    _flush_scheduled = False
    #: Early acknowledgements the broker may not have got, where it doesn't confirm them.
    early_acks: Any = None
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
        # kombu wraps what it meets when it connects again by itself.
        self.connection_errors = (*connection.connection_errors, OperationalError)
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
                    self.pause_after_failure()

    def on_connection_error_before_connected(self, exc: BaseException) -> None:
        """The first connection attempt of this round failed."""
        # One that has run goes on trying: its file may be put back in place.
        if self.first_connection_attempt and getattr(exc, "permanent", False):
            raise exc
        self.stop_unless_retrying(exc)
        self.failed_attempts += 1
        logger.error(
            CONNECTION_ERROR,
            self.app.connection_for_read().as_uri(),
            exc,
            "Trying to reconnect...",
        )

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        """An established connection was lost."""
        # Where it came from is worth telling once.
        logger.warning("%s\n%r", CONNECTION_RETRY, exc, exc_info=not self.failed_attempts)
        self.failed_attempts += 1
        self.first_connection_attempt = False
        self.stop_unless_retrying(exc)
        try:
            self.connection.collect()
        except Exception as collect_error:
            logger.debug("Closing the lost connection failed: %r", collect_error)
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
                self._return(request)
            except self.connection_errors + self.channel_errors as exc:
                logger.warning(
                    "Could not return %s to the broker, which will deliver it again: %r",
                    request,
                    exc,
                )
            state.task_ready(request)

    def _return(self, request: Any) -> None:
        """Give back one request, as if it had not been taken where the broker can do that."""
        channel = request.message.channel
        if hasattr(channel, "release"):
            channel.release([request.message.delivery_tag])
            request.acknowledged = True
        else:
            request.reject(requeue=True)

    def on_ready(self) -> None:
        """Consuming has begun."""
        self.failed_attempts = 0
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
        self._forget_waiting_room()
        if self.controller is not None and self.controller.semaphore is not None:
            self.controller.semaphore.clear()
        for bucket in self.task_buckets.values():
            if bucket is not None:
                bucket.clear_pending()
                bucket.cancel()
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
            if self.pool.cancel_pending(request) or self.forget_limited(request):
                logger.warning("%s was given to another worker: not running it here", request)
                request.acknowledged = True
                state.task_ready(request)

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
                return self.on_invalid_task(payload, message, exc)
            except DecodeError as exc:
                return self.on_decode_error(message, exc)
            except MESSAGE_FAULTS as exc:
                # A header of the wrong type or a missing one: the message's fault, unless a
                # connection error, which is an OSError, says otherwise.
                logger.debug("Message could not be handled", exc_info=True)
                return self.on_invalid_task(payload, message, exc)

        return on_task_received

    def update_strategies(self) -> None:
        """Look at the registered tasks again."""
        loader = self.app.loader
        self.strategies.clear()
        for name, task in self.app.tasks.items():
            self.strategies[name] = task.start_strategy(self.app, self)
            task.__trace__ = self.app._build_tracer(name, task, loader, self.hostname, app=self.app)

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
            added = queues.select_add(queues[queue])
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

    def call_soon_ack(self, p: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a promise that acknowledges or rejects: at once, whatever the loop is doing."""
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
        c.consuming = True
        try:
            c.loop(*c.loop_args())
        finally:
            c.consuming = False
