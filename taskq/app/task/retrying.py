"""Retrying: sending the current call again."""

from __future__ import annotations

from typing import Any, Generic, ParamSpec, TypeVar

from taskq.app.task.signatures import TaskSignatures
from taskq.exceptions import Reject, Retry
from taskq.utils.serialization import raise_with_context

__all__ = ("RetryingTask", "send_retries")

P = ParamSpec("P")
R = TypeVar("R")


class RetryingTask(TaskSignatures[P, R], Generic[P, R]):
    """A task that can send its current call again."""

    override_max_retries: Any

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: Any = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Send the current call again, to the same queue and with the same id.

        - args, kwargs: new arguments, the request's by default. An exception as ``args`` is
          taken for ``exc``.
        - exc: the reason; raised when no retries are left.
        - throw: raise `Retry` (it never returns then), else return it.
        - eta, countdown: when; `default_retry_delay` seconds from now by default.
        - max_retries: overrides the task's for this call.
        - options: of `apply_async`.

        Raises Retry; ``exc`` or MaxRetriesExceededError when no retries are left; when the task
        was called directly ``exc`` or the current exception; Reject when it can't be sent.
        """
        if isinstance(args, BaseException):
            # Written by many as ``self.retry(exc)``.
            args, exc = None, exc or args
        request = self.request
        retries = request.retries + 1
        if max_retries is not None:
            self.override_max_retries = max_retries
        limit = self.max_retries if max_retries is None else max_retries
        if request.called_directly:
            # There is no message to send again: let the caller see the reason.
            raise_with_context(exc or Retry("Task can be retried", None))
        if not eta and countdown is None:
            countdown = self.default_retry_delay
        is_eager = request.is_eager
        sig = self.signature_from_request(
            request, args, kwargs, countdown=countdown, eta=eta, retries=retries, **options
        )
        if limit is not None and retries > limit:
            if exc is not None:
                # Raises the exception being handled when there is one, else ``exc``.
                raise_with_context(exc)
            shown_args = sig.options.get("argsrepr", sig.args)
            shown_kwargs = sig.options.get("kwargsrepr", sig.kwargs)
            raise self.MaxRetriesExceededError(
                f"Can't retry {self.name}[{request.id}] args:{shown_args} kwargs:{shown_kwargs}",
                task_args=sig.args,
                task_kwargs=sig.kwargs,
            )
        ret = Retry(exc=exc, when=eta or countdown, is_eager=is_eager, sig=sig)
        if is_eager:
            # `apply` runs the signature.
            if throw:
                raise ret
            return ret
        if request._shares_loop or (throw and request._traced):
            # Sent by the tracer, after state RETRY: what ends the retry is stored later then.
            request._unsent_retries = (*request._unsent_retries, ret)
        else:
            _send(ret)
        if throw:
            raise ret
        return ret


def send_retries(request: Any) -> None:
    """Send the retries that were left to the tracer of this request. Raises Reject if it can't."""
    retries, request._unsent_retries = request._unsent_retries, ()
    for retry in retries:
        _send(retry)


def _send(retry: Retry) -> None:
    try:
        retry.sig.apply_async()
    except Exception as exc:
        raise Reject(exc, requeue=False) from exc
