"""Chords: counting header tasks, sending the body, failing it.

Canvas calls `apply_chord` and `set_chord_size`, the tracer `on_chord_part_return`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from billiard.einfo import ExceptionInfo

from taskq import states
from taskq.backends.errbacks import make_request
from taskq.backends.marking import TaskMarking
from taskq.backends.once import sending_once, with_fixed_id
from taskq.backends.unreached import ends_of, request_of, steps_before_end
from taskq.exceptions import BackendGetMetaError, ChordError
from taskq.utils.imports import symbol_by_name

__all__ = ("ChordSupport", "chord_error")

logger = logging.getLogger(__name__)

#: Seconds for which a chord that never expires is sure to send its body once.
DAY = 24 * 3600


class ChordSupport(TaskMarking):
    """Chords by a task that polls the header (`celery.chord_unlock`), for any store.

    A store that can count overrides `apply_chord` and `on_chord_part_return`, and ends with
    `_finish_chord`.
    """

    def ensure_chords_allowed(self) -> None:
        """Raise NotImplementedError if chords cannot work with this backend."""

    def apply_chord(self, header_result_args: tuple[Any, ...], body: Any, **kwargs: Any) -> None:
        """Prepare a chord, before its header is sent.

        Parameters:
            header_result_args: arguments of the GroupResult of the header: id and results.
            body: signature of the body.
            kwargs: ``countdown``, ``interval`` and ``max_retries`` of the polling task.
        """
        self.ensure_chords_allowed()
        header_result = self.app.GroupResult(*header_result_args)
        self.fallback_chord_unlock(header_result, body, **kwargs)

    def fallback_chord_unlock(
        self, header_result: Any, body: Any, countdown: float = 1, **kwargs: Any
    ) -> None:
        """Send the task that polls the header and calls the body.

        Parameters:
            header_result: GroupResult of the header.
            body: signature of the body.
            countdown: seconds before the first poll.
            kwargs: ``interval`` (seconds between polls) and ``max_retries``.
        """
        kwargs["result"] = [result.as_tuple() for result in header_result]
        task = self._registered_task(body)
        queue = body.options.get("queue", getattr(task, "queue", None))
        priority = body.options.get("priority", getattr(task, "priority", 0))
        exchange_type = getattr(self._known_queue(queue).exchange, "type", "direct")
        kwargs["_chord_unlock_exchange_type"] = exchange_type
        self.app.tasks["celery.chord_unlock"].apply_async(
            (header_result.id, body),
            kwargs,
            countdown=countdown,
            queue=queue,
            priority=priority,
            exchange_type=exchange_type,
        )

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Take note of how many tasks the header of a chord has, nested ones included."""

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """Add a task to the header of a chord that is running."""
        raise NotImplementedError(
            f"The {type(self).__name__} result backend does not support add_to_chord"
        )

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """Count a task of a chord's header that is done; the last one sends the body.

        Parameters:
            request: request of the header task; its `group` is the id of the chord.
            state: state it ended in.
            result: its return value or exception.
        """

    # -- the end of a chord -----------------------------------------------------

    def _finish_chord(self, group_id: str, callback: Any, collect: Callable[[], Any]) -> None:
        """Send the body with what `collect` returns, or fail it with what `collect` raises.

        Parameters:
            group_id: id of the chord.
            callback: signature of the body.
            collect: returns the results of the header in its order.
        """
        try:
            results = collect()
        except Exception as exc:
            logger.exception("Chord %r raised: %r", callback.id, exc)
            self.chord_error_from_stack(callback, chord_error(exc))
        else:
            self.send_chord_body(group_id, callback, results)

    def join_header(self, header: Any) -> Any:
        """Return the results of a header that is done, in its order.

        Parameters:
            header: its GroupResult.

        Raises:
            taskq.exceptions.ChordError: a task failed, or the results did not come within
                `result_chord_join_timeout` seconds.
            Exception: the store is away.
        """
        join = header.join_native if header.supports_native_join else header.join
        allow_join_result = symbol_by_name("taskq.result:allow_join_result")
        try:
            with allow_join_result():
                return join(timeout=self.app.conf.result_chord_join_timeout, propagate=True)
        except Exception as exc:
            failed = next(iter(header._failed_join_report()), None)
            is_away = isinstance(exc, BackendGetMetaError) or self.exception_safe_to_retry(exc)
            if failed is None and is_away:
                raise
            reason = repr(exc) if failed is None else f"Dependency {failed.id} raised {exc!r}"
            raise ChordError(reason) from exc

    def send_chord_body(self, group_id: str, callback: Any, results: Any) -> None:
        """Send the body of a chord; it fails if that can't be done.

        May be called again with the same body, if it is not known whether that was done: see
        `taskq.backends.once`.

        Parameters:
            group_id: id of the chord.
            callback: signature of the body.
            results: those of the header.
        """
        try:
            if self.app.conf.task_always_eager:
                callback.delay(results)
                return
            with sending_once(self.app, self._chord_lifetime, group_id) as producer:
                callback.apply_async((results,), producer=producer)
        except Exception as exc:
            logger.exception("Chord %r: the body could not be sent: %r", callback.id, exc)
            self.chord_error_from_stack(callback, ChordError(f"Callback error: {exc!r}"))

    @property
    def _chord_lifetime(self) -> int:
        """Seconds for which a chord is kept, as far as that goes."""
        for seconds in (self.app.conf.result_chord_expires, self.expires):
            if isinstance(seconds, timedelta):
                seconds = seconds.total_seconds()
            if seconds:
                return max(1, int(seconds))
        return DAY

    def chord_error_from_stack(self, callback: Any, exc: BaseException | None = None) -> Any:
        """Fail the body of a chord and call its errbacks.

        Parameters:
            callback: signature of the body.
            exc: why; the exception being handled when None.
        """
        exc = sys.exc_info()[1] if exc is None else exc
        failed = None
        for end, errbacks in ends_of(callback):
            failed = self._fail_end(end, errbacks, exc)
        if failed is not None:
            unreached = [*steps_before_end(callback), *(callback.options.get("chain") or ())]
            self._fail_chain(unreached, failed.exception, failed.traceback)
        return failed

    def _fail_end(self, call: Any, errbacks: list[Any], exc: BaseException | None) -> Any:
        """Fail a task that a body ends in, count it in its chord, and call errbacks."""
        signature = self.app.signature(call)
        backend = self._backend_of(signature)
        request = request_of(call)
        failed = backend.fail_from_current_stack(request.id, exc=exc)
        backend._count_in_chord(request, states.FAILURE, failed.exception)
        fixed = [
            with_fixed_id(self.app, errback, request.id, position)
            for position, errback in enumerate(errbacks)
        ]
        request = make_request(request.id, signature, fixed)
        backend._call_task_errbacks(request, exc, None, once=self._chord_lifetime)
        return failed

    def fail_from_current_stack(self, task_id: str, exc: BaseException | None = None) -> Any:
        """Store that a task failed, with the traceback of the exception being handled.

        Parameters:
            task_id: the task.
            exc: what to store; the exception being handled when None.
        """
        kind, current, trace = sys.exc_info()
        exc = current if exc is None else exc
        if exc is None:
            raise RuntimeError(f"Task {task_id} cannot be failed: no exception is being handled")
        info = ExceptionInfo((kind or type(exc), exc, trace or exc.__traceback__))
        self.mark_as_failure(task_id, exc, info.traceback)
        return info

    def _registered_task(self, signature: Any) -> Any:
        """Return the task of a signature, None where only its name is known here."""
        return self.app.tasks.get(signature.task)

    def _backend_of(self, signature: Any) -> Any:
        return getattr(self._registered_task(signature), "backend", None) or self

    def _known_queue(self, name: str | None) -> Any:
        queues = self.app.amqp.queues
        if name and name in queues:
            return queues[name]
        return self.app.amqp.default_queue


def chord_error(exc: BaseException) -> ChordError:
    """Return a ChordError that says and keeps why the header failed."""
    if isinstance(exc, ChordError):
        return exc
    error = ChordError(repr(exc))
    error.__cause__ = exc
    return error
