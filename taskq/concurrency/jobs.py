"""What pools run: the job protocol of ``submit()`` and plain callables of ``apply_async()``.

The worker's requests are jobs; the pools of this package speak to them through this protocol.
"""

from __future__ import annotations

import logging
import pickle
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from billiard.exceptions import TimeLimitExceeded, WorkerLostError

logger = logging.getLogger(__name__)

#: ``Outcome.kind`` of a task that returned normally (the other kinds belong to the trace module).
OK = 0
#: ``Outcome.kind`` of a task that raised.
FAILED = 1


class OutcomeLike(Protocol):
    """What the executor returns; ``taskq.app.trace.Outcome`` in production."""

    @property
    def kind(self) -> int:
        """How the task ended: 0 when it returned normally."""

    @property
    def value(self) -> Any:
        """The repr of the result or None when ``kind`` is 0, else what the kind says."""

    @property
    def runtime(self) -> float:
        """Seconds the task took."""


class Job(Protocol):
    """One task execution as a pool sees it; the worker's request implements it."""

    @property
    def id(self) -> str:
        """The task id."""

    @property
    def name(self) -> str:
        """The task name; run times are learnt per name."""

    @property
    def payload(self) -> tuple[Any, ...]:
        """``(name, id, headers, body, content_type, content_encoding, delivery_info, properties)``.

        Handed to the executor as it is. Whatever marshal can't write is pickled.
        """

    @property
    def early_ack(self) -> bool:
        """True when the message is acknowledged before the task starts.

        A child may then run the task even though the main process died meanwhile.
        """

    @property
    def soft_limit(self) -> float | None:
        """Soft time limit in seconds; None takes the pool's, 0 means none."""

    @property
    def hard_limit(self) -> float | None:
        """Hard time limit in seconds; None takes the pool's, 0 means none."""

    def on_dispatched(self) -> None:
        """The job is about to be handed to a child; early acknowledgement happens here."""

    def on_started(self, pid: int, time_started: float) -> None:
        """A child has the job at hand since ``time_started`` (unix time).

        Called again with another pid in the rare case that the job moved before it really began.
        """

    def on_outcome(self, outcome: Any) -> None:
        """The task ended as ``outcome`` says."""

    def on_lost(self, exc: BaseException) -> None:
        """The child died while it ran the job, or the pool was terminated under it."""

    def on_limit(self, soft: bool, limit: float) -> None:
        """A time limit in seconds was hit; after a hard one nothing else is called."""


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job that a child (or thread) is executing."""

    job: Job
    pid: int
    #: Unix time at which it began.
    started: float


class PoolResult:
    """A handle on a call made with ``apply_async``."""

    def __init__(self, call_id: str, pump: Callable[[float | None], None] | None = None) -> None:
        self.correlation_id = call_id
        self._done = threading.Event()
        self._pump = pump
        self._value: Any = None
        self._error: BaseException | None = None

    def ready(self) -> bool:
        """Return whether the call has ended."""
        return self._done.is_set()

    def successful(self) -> bool:
        """Return whether the call has ended without an error."""
        return self._done.is_set() and self._error is None

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the call has ended, at most ``timeout`` seconds."""
        if self._pump is None:
            self._done.wait(timeout)
            return
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._done.is_set():
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                return
            self._pump(remaining)

    def get(self, timeout: float | None = None) -> Any:
        """Return what the call returned, waiting at most ``timeout`` seconds.

        Raises:
            TimeoutError: it did not end in time.
            Exception: whatever the call raised, or why its child died.
        """
        self.wait(timeout)
        if not self._done.is_set():
            raise TimeoutError(f"call {self.correlation_id} did not end in {timeout} seconds")
        if self._error is not None:
            raise self._error
        return self._value

    def settle(self, value: Any, error: BaseException | None) -> None:
        """Record how the call ended; the pool calls it."""
        self._value, self._error = value, error
        self._done.set()


class CallJob:
    """An arbitrary picklable callable as a :class:`Job`.

    Its payload has no task name, which tells the child to call it instead of tracing a task.
    """

    early_ack = True

    def __init__(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: PoolResult,
        *,
        soft_limit: float | None = None,
        hard_limit: float | None = None,
        accept_callback: Callable[..., Any] | None = None,
        callback: Callable[..., Any] | None = None,
        error_callback: Callable[..., Any] | None = None,
        timeout_callback: Callable[..., Any] | None = None,
    ) -> None:
        self.id = result.correlation_id
        self.name = f"{getattr(target, '__module__', '')}.{getattr(target, '__qualname__', '')}"
        # Pickled here, so that the caller hears of what can't be.
        call = pickle.dumps((target, args, kwargs), pickle.HIGHEST_PROTOCOL)
        self.payload = (None, self.id, None, call)
        self.result = result
        self.soft_limit = soft_limit
        self.hard_limit = hard_limit
        self._accept = accept_callback
        self._callback = callback
        self._error_callback = error_callback
        self._timeout_callback = timeout_callback

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.name} {self.id}>"

    def on_dispatched(self) -> None:
        """Nothing to acknowledge."""

    def on_started(self, pid: int, time_started: float) -> None:
        """Tell the accept callback."""
        if self._accept is not None:
            self._accept(pid, time_started)

    def on_outcome(self, outcome: OutcomeLike) -> None:
        """Settle the result and tell the callback for it."""
        if outcome.kind == OK:
            self.result.settle(outcome.value, None)
            if self._callback is not None:
                self._callback(outcome.value)
        else:
            self._fail(outcome.value)

    def on_lost(self, exc: BaseException) -> None:
        """Settle the result with the reason of the loss."""
        self._fail(exception_info(exc))

    def on_limit(self, soft: bool, limit: float) -> None:
        """Tell the timeout callback; a hard limit also ends the call."""
        if self._timeout_callback is not None:
            self._timeout_callback(soft, limit)
        if not soft:
            self._fail(exception_info(TimeLimitExceeded(limit)))

    def _fail(self, info: Any) -> None:
        self.result.settle(None, original(info.exception))
        if self._error_callback is not None:
            self._error_callback(info)
        elif self._callback is None:
            logger.error("Call %r failed: %r", self, info.exception)


def escaped(exc: BaseException) -> BaseException:
    """Return what a job is told when the executor itself raised ``exc``.

    A task that calls ``sys.exit`` or is interrupted ends its worker process in spirit: that is
    a WorkerLostError, so that nobody takes the exception for their own.
    """
    if isinstance(exc, SystemExit):
        how = f"exitcode {exit_status(exc)}"
    elif isinstance(exc, KeyboardInterrupt):
        how = "KeyboardInterrupt"
    else:
        return exc
    lost: BaseException = WorkerLostError(f"Worker exited prematurely: {how}.")
    return lost.with_traceback(exc.__traceback__)


def exit_status(exc: SystemExit) -> int:
    """Return the exit status that ``exc`` gives a process."""
    if exc.code is None:
        return 0
    return exc.code if isinstance(exc.code, int) else 1


def original(exc: Any) -> BaseException:
    """Return the exception that an ExceptionInfo of this process wraps to make it picklable."""
    unwrapped: BaseException = exc.exc if isinstance(exc, ExceptionWithTraceback) else exc
    return unwrapped


def exception_info(exc: BaseException) -> Any:
    """Return ``exc`` as the ExceptionInfo that callbacks of billiard pools get."""
    try:
        raise exc
    except BaseException:
        return ExceptionInfo()
