"""The loops that a consumer runs in: on the event loop, or on a transport that only blocks.

A tick is one round: what the broker and the children sent is handled, then what the pool was
given goes out.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Any

from taskq.bootsteps import RUN
from taskq.exceptions import WorkerLostError, WorkerTerminate
from taskq.utils.log import get_logger
from taskq.worker import state, wakeup

__all__ = ("asynloop", "synloop")

logger = get_logger("celery.worker.loops")

#: Seconds a blocking transport may keep the loop from the children's news.
BLOCKING_TICK = 0.05


def _enable_amqheartbeats(timer: Any, connection: Any, rate: float = 2.0) -> Any:
    """Check and send AMQP heartbeats on a timer, ``rate`` times per interval.

    Returns the timer's entry, None where the connection has no heartbeats.
    """
    heartbeat = connection.get_heartbeat_interval()
    if not (heartbeat and connection.supports_heartbeats):
        return None

    def tick(rate: float) -> None:
        try:
            connection.heartbeat_check(rate)
        except Exception as exc:
            # A dead connection shows up in the loop, where it is handled.
            logger.debug("AMQP heartbeat failed: %r", exc)

    return timer.call_repeatedly(heartbeat / rate, tick, (rate,))


def _begin(
    obj: Any, connection: Any, consumer: Any, hub: Any, heartbeat: float | None, hbrate: float
) -> None:
    """Let the steps take part in the loop, and begin to consume.

    Parameters are those of `asynloop`. Raises WorkerLostError when the pool has not started.
    """
    consumer.on_message = obj.create_task_handler()
    if obj.controller is not None:
        obj.controller.register_with_event_loop(hub)
    obj.register_with_event_loop(hub)
    # Not when the loop ends: a warm shutdown still needs them.
    if obj.amqheartbeat_timer is not None:
        obj.amqheartbeat_timer.cancel()
        obj.amqheartbeat_timer = None
    if heartbeat:
        obj.amqheartbeat_timer = _enable_amqheartbeats(hub.timer, connection, rate=hbrate)
    consumer.consume()
    obj.on_ready()
    if not obj.restart_count and not obj.pool.did_start_ok():
        raise WorkerLostError("Could not start worker processes")
    # What has arrived while the consumer was set up.
    obj.pool.flush_dispatch()


def asynloop(
    obj: Any,
    connection: Any,
    consumer: Any,
    blueprint: Any,
    hub: Any,
    qos: Any,
    heartbeat: float | None,
    clock: Any,
    hbrate: float = 2.0,
) -> None:
    """Consume on the hub until told to stop or until the connection is lost.

    - obj: the worker's consumer; consumer: kombu's.
    - heartbeat: AMQP heartbeat in seconds.
    """
    _begin(obj, connection, consumer, hub, heartbeat, hbrate)
    hub.propagate_errors = connection.connection_errors
    loop = hub.create_loop()
    flush = obj.pool.flush_dispatch
    try:
        with wakeup.on_signals(hub):
            while blueprint.state == RUN and obj.connection:
                state.maybe_shutdown()
                if qos.prev != qos.value:
                    qos.update()
                try:
                    next(loop)
                except StopIteration:
                    loop = hub.create_loop()
                flush()
    finally:
        loop.close()


def synloop(
    obj: Any,
    connection: Any,
    consumer: Any,
    blueprint: Any,
    hub: Any,
    qos: Any,
    heartbeat: float | None,
    clock: Any,
    hbrate: float = 2.0,
    **kwargs: Any,
) -> None:
    """Consume from a transport without a file descriptor to wait on.

    Parameters are those of `asynloop`.
    """
    _begin(obj, connection, consumer, hub, heartbeat, hbrate)
    tick = hub_tick(hub, obj.pool)
    try:
        tick()
        while blueprint.state == RUN and obj.connection:
            state.maybe_shutdown()
            if qos.prev != qos.value:
                qos.update()
            try:
                connection.drain_events(timeout=BLOCKING_TICK)
            except TimeoutError:
                pass
            except OSError as exc:
                if exc.errno != errno.EINTR and blueprint.state == RUN:
                    raise
            tick()
    finally:
        tick.close()


def hub_tick(hub: Any, pool: Any) -> _Tick:
    """Return a function that runs one round of the hub without waiting."""
    loops = [hub.create_loop()]
    # A pipe that always has something to read keeps the hub from waiting for anything else.
    ready, feed = os.pipe()
    os.write(feed, b"!")
    hub.add_reader(ready, _ignore)

    def tick() -> None:
        pool.flush_dispatch()
        if ready not in hub.readers:
            hub.add_reader(ready, _ignore)
        try:
            next(loops[0])
        except StopIteration:
            loops[0] = hub.create_loop()
        pool.flush_dispatch()

    def close() -> None:
        hub.remove_reader(ready)
        os.close(ready)
        os.close(feed)

    return _Tick(tick, close)


class _Tick:
    """A round of the hub, and what it takes to end the last one."""

    def __init__(self, run: Callable[[], None], close: Callable[[], None]) -> None:
        self.run = run
        self.close = close

    def __call__(self) -> None:
        self.run()


def _ignore(*args: Any) -> None:
    """The pipe is only there to be ready."""


def drain(
    hub: Any,
    pool: Any,
    finished: Callable[[], bool],
    *,
    deadline: float | None = None,
    errors: tuple[type[BaseException], ...] = (),
) -> bool:
    """Keep the loop turning until ``finished`` says so: leases and heartbeats go on.

    - deadline: ``time.monotonic()`` after which to give up.
    - errors: what a lost connection raises; it doesn't end the wait.

    Returns whether it finished. Raises WorkerTerminate when termination is asked for.
    """
    hub.timer.call_repeatedly(0.2, lambda: None)
    loop = hub.create_loop()
    while not finished():
        if state.should_terminate is not None and state.should_terminate is not False:
            raise WorkerTerminate(state.should_terminate)
        if deadline is not None and time.monotonic() >= deadline:
            return False
        try:
            next(loop)
        except StopIteration:
            loop = hub.create_loop()
        except errors as exc:
            logger.warning("Connection to broker lost during shutdown: %r", exc)
            loop = hub.create_loop()
        pool.flush_dispatch()
    return True
