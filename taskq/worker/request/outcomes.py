"""What becomes of a task that was started, and what that means for its message."""

from __future__ import annotations

import logging
from typing import Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from kombu.utils.encoding import safe_repr, safe_str

from taskq import signals, states
from taskq.app.dead import Reason
from taskq.exceptions import (
    DeliveryLimitExceeded,
    Ignore,
    Reject,
    Retry,
    TaskRevokedError,
    Terminated,
    TimeLimitExceeded,
    WorkerLostError,
)
from taskq.states import FAILURE
from taskq.utils.coroutines import finished
from taskq.utils.log import get_logger
from taskq.utils.serialization import get_pickled_exception
from taskq.worker.request.revoking import Revocable
from taskq.worker.state import task_accepted, task_ready

__all__ = ("Outcomes",)

logger = get_logger("celery.worker.request")


class Outcomes(Revocable):
    """A request that has been started; users may override the ``on_*`` methods."""

    __slots__ = ()

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """A child has begun with the task.

        - time_accepted: when, as ``time.time()``.
        """
        # Pools may take it back from a child that has not read it, and give it to another.
        first = self.time_start is None
        self.worker_pid = pid
        self.time_start = time_accepted
        if first:
            task_accepted(self)
            if self.sends_events:
                self.send_event("task-started")
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("Task accepted: %s[%s] pid:%r", self.name, self.id, pid)
        if self._terminate_on_ack is not None:
            pool, signum = self._terminate_on_ack
            self._terminate_on_ack = None
            self.terminate(pool, signum)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """A time limit of ``timeout`` seconds was hit."""
        if soft:
            logger.warning("Soft time limit (%ss) exceeded for %s[%s]", timeout, self.name, self.id)
            return
        task_ready(self)
        logger.error("Hard time limit (%ss) exceeded for %s[%s]", timeout, self.name, self.id)
        exc = TimeLimitExceeded(timeout)
        runs_again = self._task.acks_late and not self._acks_on("timeout")
        if not runs_again:
            self._keep_dead(Reason.FAILED, exc)
        self._task.backend.mark_as_failure(
            self.id, exc, request=self._context, store_result=self.store_errors
        )
        self.send_event("task-failed", exception=safe_repr(exc), traceback="")
        if runs_again:
            self.reject(requeue=True)
        elif self._task.acks_late:
            self.acknowledge()

    def _acks_on(self, what: str) -> bool:
        """Return whether a late acknowledged task is acknowledged on failure or timeout."""
        specific = getattr(self._task, f"acks_on_{what}")
        return bool(self._task.acks_on_failure_or_timeout if specific is None else specific)

    def on_success(self, failed__retval__runtime: tuple[bool, Any, float], **kwargs: Any) -> None:
        """The child has run the task.

        - failed__retval__runtime: whether it did not succeed, ExceptionInfo or representation of
          the return value, seconds.
        """
        failed, retval, runtime = failed__retval__runtime
        if failed:
            exc = _original(retval.exception)
            if isinstance(exc, SystemExit | KeyboardInterrupt):
                raise exc
            self.on_failure(retval, return_ok=True)
            return
        task_ready(self, successful=True)
        if not self.early_ack:
            self.acknowledge()
        if self.sends_events:
            self.send_event("task-succeeded", result=retval, runtime=runtime)

    def on_retry(self, exc_info: Any) -> None:
        """The task is to be run again; its new message was sent already."""
        if not self.early_ack:
            self.acknowledge()
        self.send_event(
            "task-retried",
            exception=safe_repr(_original(exc_info.exception).exc),
            traceback=safe_str(exc_info.traceback),
        )

    def on_failure(
        self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False
    ) -> None:
        """The task did not succeed, or its child died.

        - exc_info: ExceptionInfo.
        - send_failed_event: send ``task-failed``.
        - return_ok: the child has stored the failure.
        """
        if not self._limit_hit:
            task_ready(self)
        exc = _original(exc_info.exception)
        if isinstance(exc, Reject):
            if not exc.requeue:
                self._keep_dead(Reason.REJECTED, exc, exc_info)
                # Nobody else will ever finish it, so it ends here for those who wait.
                self._store_failure(exc, exc_info)
                self._send_failed(exc, exc_info)
            self.reject(requeue=exc.requeue)
            return
        if isinstance(exc, Ignore):
            self.acknowledge()
            return
        if isinstance(exc, Retry):
            self.on_retry(exc_info)
            return
        # What the main process finds out by itself nobody has stored.
        is_worker_lost = isinstance(exc, WorkerLostError)
        if self._already_revoked or self._already_cancelled:
            if self._already_revoked and isinstance(exc, Terminated) and self.store_errors:
                # It may have stored a state between the signal and its end.
                self._task.backend.store_result(
                    self.id, TaskRevokedError("terminated"), states.REVOKED, request=self._context
                )
            return
        if self._limit_hit:
            # on_timeout has stored, announced and acknowledged it.
            self._signal_failure(exc, exc_info)
            self._call_handlers(exc, exc_info)
            self._log_failure(exc)
            return
        if is_worker_lost or isinstance(exc, Terminated):
            if self._runs_again_after_loss(exc, is_worker_lost=is_worker_lost):
                return
            send_failed_event = True
        # Before it is settled: the message is the broker's until then.
        self._keep_dead(Reason.FAILED, exc, exc_info)
        if self._task.acks_late:
            if self._acks_on("failure"):
                self.acknowledge()
            else:
                self.reject(requeue=False)
        if (is_worker_lost or not return_ok) and not isinstance(exc, Terminated):
            self._store_failure(exc, exc_info)
        if send_failed_event:
            self._send_failed(exc, exc_info)
        if not return_ok:
            self._log_failure(exc)

    def _store_failure(self, exc: BaseException, exc_info: Any) -> None:
        """Store a failure that no child has stored, and tell the receivers of the signal."""
        self._task.backend.mark_as_failure(
            self.id, exc, request=self._context, store_result=self.store_errors
        )
        self._signal_failure(exc, exc_info)

    def _signal_failure(self, exc: BaseException, exc_info: Any) -> None:
        signals.task_failure.send(
            sender=self._task,
            task_id=self.id,
            exception=exc,
            args=self.args,
            kwargs=self.kwargs,
            traceback=exc_info.traceback,
            einfo=exc_info,
        )

    def _call_handlers(self, exc: BaseException, exc_info: Any) -> None:
        """Call the task's handlers for a failure that its process did not live to see."""
        task, args, kwargs = self._task, self.args, self.kwargs
        task.request_stack.push(self._context)
        try:
            finished(task.on_failure(exc, self.id, args, kwargs, exc_info))
            finished(task.after_return(FAILURE, exc, self.id, args, kwargs, exc_info))
        except Exception as error:
            logger.error("A handler of %s[%s] raised: %r", self.name, self.id, error, exc_info=True)
        finally:
            task.request_stack.pop()

    def _log_failure(self, exc: BaseException) -> None:
        logger.error(
            "Task handler raised error: %r", exc, exc_info=(type(exc), exc, exc.__traceback__)
        )

    def _send_failed(self, exc: BaseException, exc_info: Any) -> None:
        self.send_event(
            "task-failed",
            exception=safe_repr(get_pickled_exception(exc)),
            traceback=safe_str(exc_info.traceback),
        )

    def _runs_again_after_loss(self, exc: BaseException, *, is_worker_lost: bool) -> bool:
        """Tell whether nothing is left to do for a task whose child died: it runs again, or it
        was killed on purpose.
        """
        task = self._task
        if not is_worker_lost:
            # Killed on purpose, by somebody other than a revoke.
            self._announce_revoked("terminated", True, str(exc), False)
            return True
        if self._terminate_on_ack is not None or self._already_revoked:
            return True
        if not task.acks_late:
            return False
        redelivered = self.delivery_info.get("redelivered")
        if task.reject_on_worker_lost and (not redelivered or task.reject_on_worker_lost):
            self.reject(requeue=True)
            self.send_event("task-retried", exception=safe_repr(exc), traceback="")
            return True
        return False

    def on_delivery_limit(self, deliveries: int, limit: int) -> None:
        """The message was delivered ``deliveries`` times: it is not run once more."""
        exc = DeliveryLimitExceeded(
            f"{self} was delivered {deliveries} times and did not end; task_delivery_limit is "
            f"{limit}"
        )
        try:
            raise exc
        except DeliveryLimitExceeded:
            exc_info = ExceptionInfo()
        kept = self._keep_dead(Reason.DELIVERY_LIMIT, exc, exc_info, deliveries=deliveries)
        self._store_failure(exc, exc_info)
        self._send_failed(exc, exc_info)
        logger.error("%s", exc)
        if kept:
            self.acknowledge()
        else:
            self.reject(requeue=False)

    def _keep_dead(
        self, reason: Reason, exc: BaseException, exc_info: Any = None, *, deliveries: int = 0
    ) -> bool:
        """Keep the message as a dead letter, if such ones are kept. Returns whether it is."""
        kept: bool = self._app.dead_letters.keep(
            self._message,
            reason,
            exc,
            exc_info.traceback if exc_info is not None else None,
            hostname=self.hostname,
            deliveries=deliveries,
        )
        return kept


def _original(exc: Any) -> Any:
    return exc.exc if isinstance(exc, ExceptionWithTraceback) else exc
