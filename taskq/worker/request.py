"""A request: one task message from its reception until it is acknowledged.

The life of one, in order: made by the strategy, checked (revoked, expired), handed to the pool,
acknowledged (early), started, then succeeded, retried, failed, rejected, timed out or lost with
its child, and acknowledged (late). It lives in the main process and never decodes the body
unless somebody asks for the arguments.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from kombu.utils.encoding import safe_repr, safe_str

from taskq import signals
from taskq.app.task import Context
from taskq.app.trace import OK, Outcome, decode_body
from taskq.exceptions import (
    Ignore,
    InvalidTaskError,
    Reject,
    Retry,
    TaskRevokedError,
    Terminated,
    TimeLimitExceeded,
    WorkerLostError,
)
from taskq.platforms import signals as _signals
from taskq.utils.functional import maybe_list, noop
from taskq.utils.log import get_logger
from taskq.utils.nodenames import gethostname
from taskq.utils.serialization import get_pickled_exception
from taskq.utils.time import maybe_iso8601, maybe_make_aware
from taskq.worker.state import (
    revoked as revoked_tasks,
)
from taskq.worker.state import (
    revoked_stamps,
    task_accepted,
    task_ready,
)

__all__ = ("Request", "create_request_cls")

logger = get_logger("celery.worker.request")

TERM_SIGNAME = "SIGTERM"


class Request:
    """One task message in the hands of the worker.

    - message: the broker's message.
    - on_ack, on_reject: functions that acknowledge and reject it: ``f(logger, errors[, requeue])``.
    - hostname: node name of the worker; eventer: its event dispatcher.
    - task: the registered task; connection_errors: what a broken connection raises.
    - body, headers: of the message, converted from another protocol when ``decoded`` is true.
    - utc: whether naive times in the message are UTC.

    Subclasses may override the ``on_*`` methods; they run in the main process.
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_app",
        "_body",
        "_connection_errors",
        "_content_encoding",
        "_content_type",
        "_decoded",
        "_eventer",
        "_hostname",
        "_message",
        "_on_ack",
        "_on_reject",
        "_request_dict",
        "_task",
        "_utc",
        "acknowledged",
        "early_ack",
        "id",
        "name",
        "time_start",
        "worker_pid",
    )

    #: (hard, soft) limits as the pool knows them.
    time_limits: tuple[float | None, float | None] = (None, None)
    _already_revoked = False
    _already_cancelled = False
    #: (pool, signal) when the task is to be terminated as soon as it starts.
    _terminate_on_ack: Any = None
    _eta_timer_entry: Any = None
    #: Whether one more message is prefetched for this one, which waits for its ETA.
    _widened_prefetch = True
    _limit_hit = False

    def __init__(
        self,
        message: Any,
        on_ack: Callable[..., Any] = noop,
        hostname: str | None = None,
        eventer: Any = None,
        app: Any = None,
        connection_errors: Any = None,
        request_dict: dict[str, Any] | None = None,
        task: Any = None,
        on_reject: Callable[..., Any] = noop,
        body: Any = None,
        headers: Mapping[str, Any] | None = None,
        decoded: bool = False,
        utc: bool = True,
        maybe_make_aware: Any = maybe_make_aware,
        maybe_iso8601: Any = maybe_iso8601,
        **opts: Any,
    ) -> None:
        if headers is None:
            headers = request_dict if request_dict is not None else message.headers
        self._message = message
        self._request_dict: dict[str, Any] = headers  # type: ignore[assignment]
        self._body = message.body if body is None else body
        self._content_type = "application/x-taskq-decoded" if decoded else message.content_type
        self._content_encoding = message.content_encoding
        self._decoded = decoded
        self._app = app
        self._utc = utc
        self._on_ack = on_ack
        self._on_reject = on_reject
        self._hostname = hostname
        self._eventer = eventer
        self._connection_errors = connection_errors or ()
        self._task = task
        self.id: str = headers["id"]
        self.name: str = headers.get("shadow") or headers["task"]
        self.acknowledged = False
        self.time_start: float | None = None
        self.worker_pid: int | None = None
        #: Acknowledged before it runs; what the pool asks.
        self.early_ack = not task.acks_late if task is not None else True

    # -- what the message says

    @property
    def delivery_info(self) -> dict[str, Any]:
        """How the message came here."""
        info = self._message.delivery_info or {}
        properties = self._message.properties
        return {
            "exchange": info.get("exchange"),
            "routing_key": info.get("routing_key"),
            "priority": properties.get("priority") if properties else None,
            "redelivered": bool(info.get("redelivered", False)),
        }

    @property
    def message(self) -> Any:
        """The broker's message."""
        return self._message

    @property
    def request_dict(self) -> dict[str, Any]:
        """The headers of the message."""
        return self._request_dict

    @property
    def body(self) -> Any:
        """The body of the message, as it came."""
        return self._body

    @property
    def app(self) -> Any:
        """The app of the worker."""
        return self._app

    @property
    def utc(self) -> bool:
        """Whether naive times in the message are UTC."""
        return self._utc

    @property
    def content_type(self) -> str:
        """Content type of the body."""
        return self._content_type

    @property
    def content_encoding(self) -> str:
        """Content encoding of the body."""
        return self._content_encoding  # type: ignore[no-any-return]

    @property
    def type(self) -> str:
        """Name of the task."""
        return self._request_dict["task"]  # type: ignore[no-any-return]

    @property
    def root_id(self) -> str | None:
        """Id of the first task of the workflow."""
        return self._request_dict.get("root_id")

    @property
    def parent_id(self) -> str | None:
        """Id of the task that sent this one."""
        return self._request_dict.get("parent_id")

    @property
    def argsrepr(self) -> str:
        """Representation of the positional arguments."""
        return self._request_dict.get("argsrepr") or ""

    @property
    def kwargsrepr(self) -> str:
        """Representation of the keyword arguments."""
        return self._request_dict.get("kwargsrepr") or ""

    @property
    def args(self) -> Any:
        """Positional arguments; decodes the body."""
        return self._payload[0]

    @property
    def kwargs(self) -> Any:
        """Keyword arguments; decodes the body."""
        return self._payload[1]

    @property
    def _payload(self) -> tuple[Any, Any, Any]:
        if self._decoded:
            return self._body  # type: ignore[no-any-return]
        return decode_body(self._body, self._content_type, self._content_encoding, None)

    @property
    def _embed(self) -> dict[str, Any]:
        return self._payload[2] or {}

    @property
    def chord(self) -> Any:
        """Body of the chord that the task is in."""
        return self._embed.get("chord")

    @property
    def errbacks(self) -> Any:
        """Signatures called when the task fails."""
        return self._embed.get("errbacks")

    @property
    def group(self) -> str | None:
        """Id of the group that the task is in."""
        return self._request_dict.get("group")

    @property
    def groups(self) -> Any:
        """Ids of the groups that the task is in."""
        return self._request_dict.get("groups")

    @property
    def group_index(self) -> int | None:
        """Position in the group."""
        return self._request_dict.get("group_index")

    @property
    def on_ack(self) -> Callable[..., Any]:
        """Function that acknowledges the message."""
        return self._on_ack

    @property
    def on_reject(self) -> Callable[..., Any]:
        """Function that rejects the message."""
        return self._on_reject

    @on_reject.setter
    def on_reject(self, value: Callable[..., Any]) -> None:
        self._on_reject = value

    @property
    def hostname(self) -> str:
        """Node name of the worker."""
        return self._hostname or gethostname()

    @property
    def ignore_result(self) -> bool:
        """Whether the call wants no result stored."""
        return bool(self._request_dict.get("ignore_result", False))

    @property
    def eventer(self) -> Any:
        """The worker's event dispatcher."""
        return self._eventer

    @eventer.setter
    def eventer(self, eventer: Any) -> None:
        self._eventer = eventer

    @property
    def connection_errors(self) -> Any:
        """What a broken connection raises."""
        return self._connection_errors

    @property
    def task(self) -> Any:
        """The registered task."""
        return self._task

    @property
    def eta(self) -> datetime | None:
        """When the task may start."""
        return self._time("eta")

    @property
    def expires(self) -> datetime | None:
        """After when the task must not start."""
        return self._time("expires")

    def _time(self, header: str) -> datetime | None:
        value = self._request_dict.get(header)
        if value is None:
            return None
        try:
            parsed = maybe_iso8601(value)
        except (AttributeError, ValueError, TypeError) as exc:
            raise InvalidTaskError(f"invalid {header} value {value!r}: {exc}") from exc
        if parsed is None:
            return None
        return maybe_make_aware(parsed, UTC if self._utc else self.tzlocal)

    @property
    def tzlocal(self) -> Any:
        """The app's time zone."""
        return self._app.timezone

    @property
    def store_errors(self) -> bool:
        """Whether failures of this task are stored."""
        task = self._task
        return not task.ignore_result or bool(task.store_errors_even_if_ignored)

    @property
    def task_id(self) -> str:
        """Id of the call."""
        return self.id

    @property
    def task_name(self) -> str:
        """Name of the call, its shadow or the task's."""
        return self.name

    @property
    def reply_to(self) -> str | None:
        """Where results are sent to by reply."""
        return self._message.properties.get("reply_to")  # type: ignore[no-any-return]

    @property
    def replaced_task_nesting(self) -> int:
        """How often the task has been replaced."""
        return self._request_dict.get("replaced_task_nesting", 0)  # type: ignore[no-any-return]

    @property
    def correlation_id(self) -> str | None:
        """Correlation id of the message."""
        return self._message.properties.get("correlation_id")  # type: ignore[no-any-return]

    @property
    def stamped_headers(self) -> list[str]:
        """Names of the headers that are stamps."""
        return self._request_dict.get("stamped_headers") or []

    @property
    def stamps(self) -> dict[str, Any]:
        """The stamps: header -> values."""
        stamps = self._request_dict.get("stamps") or {}
        return {header: stamps.get(header) for header in self.stamped_headers}

    @property
    def _context(self) -> Context:
        """The request as backends and errbacks know it."""
        args, kwargs, embed = self._payload
        return Context(
            {
                **self._request_dict,
                **(embed or {}),
                "args": args,
                "kwargs": kwargs,
                "hostname": self.hostname,
                "delivery_info": self.delivery_info,
                "properties": self._message.properties,
                "reply_to": self.reply_to,
                "correlation_id": self.correlation_id,
                "called_directly": False,
            }
        )

    # -- what the pool asks and tells (taskq.concurrency.base.Job)

    @property
    def payload(self) -> tuple[Any, ...]:
        """What the child needs to run the task."""
        message = self._message
        headers = self._request_dict
        return (
            headers["task"],
            self.id,
            headers,
            self._body,
            self._content_type,
            self._content_encoding,
            self.delivery_info,
            message.properties,
        )

    @property
    def soft_limit(self) -> float | None:
        """Soft time limit in seconds: the call's, else the task's."""
        limits = self._request_dict.get("timelimit")
        limit = limits[1] if limits else None
        return self._task.soft_time_limit if limit is None else limit  # type: ignore[no-any-return]

    @property
    def hard_limit(self) -> float | None:
        """Hard time limit in seconds: the call's, else the task's."""
        limits = self._request_dict.get("timelimit")
        limit = limits[0] if limits else None
        return self._task.time_limit if limit is None else limit  # type: ignore[no-any-return]

    def on_dispatched(self) -> None:
        """About to be handed to a child: acknowledge early ones now, never after they start."""
        if self.early_ack:
            self.acknowledge()

    def on_started(self, pid: int, time_started: float) -> None:
        """A child has it."""
        self.on_accepted(pid, time_started)

    def on_outcome(self, outcome: Outcome) -> None:
        """The child is done with it."""
        if outcome.kind == OK:
            self.on_success((False, outcome.value, outcome.runtime))
        else:
            self.on_success((True, outcome.value, outcome.runtime))

    def on_lost(self, exc: BaseException) -> None:
        """The child died while running it."""
        try:
            raise exc
        except BaseException:
            einfo = ExceptionInfo()
        einfo.exception = exc
        self.on_failure(einfo)

    def on_limit(self, soft: bool, limit: float) -> None:
        """A time limit was hit."""
        self.on_timeout(soft, limit)
        if not soft:
            self._limit_hit = True
            self.on_lost(TimeLimitExceeded(limit))

    # -- the life of a request

    def execute_using_pool(self, pool: Any, **kwargs: Any) -> None:
        """Hand the task to the pool.

        Raises TaskRevokedError when it must not run any more.
        """
        if self.revoked():
            raise TaskRevokedError(self.id)
        pool.submit(self)

    def execute(self, loglevel: Any = None, logfile: Any = None) -> Any:
        """Run the task here and now, for debugging. Returns what the tracer returns."""
        if self.revoked():
            return None
        if not self._task.acks_late:
            self.acknowledge()
        request = {**vars(self._context), "loglevel": loglevel, "logfile": logfile}
        tracer = self._app._build_tracer(
            self._task.name, self._task, hostname=self.hostname, app=self._app
        )
        returned = tracer(self.id, self.args, self.kwargs, request)
        self.acknowledge()
        return returned.retval

    def maybe_expire(self) -> bool | None:
        """Mark the task revoked when it has expired; return True then."""
        expires = self.expires
        if expires is not None and datetime.now(expires.tzinfo) > expires:
            revoked_tasks.add(self.id)
            return True
        return None

    def revoked(self) -> bool:
        """Return whether the task must not run; if so say so to everybody and acknowledge."""
        if self._already_revoked:
            return True
        expired = False
        if self._request_dict.get("expires") is not None:
            expired = bool(self.maybe_expire())
        revoked_by_id = bool(revoked_tasks) and self.id in revoked_tasks
        revoked_by_stamp: Any = None
        if not revoked_by_id and revoked_stamps and self.stamps:
            revoked_by_stamp = self._revoking_stamp()
        if not (expired or revoked_by_id or revoked_by_stamp):
            return False
        if revoked_by_stamp:
            logger.info(
                "Discarding revoked task: %s[%s] (revoked by header: %s)",
                self.name,
                self.id,
                revoked_by_stamp,
            )
        else:
            logger.info("Discarding revoked task: %s[%s]", self.name, self.id)
        self._announce_revoked("expired" if expired else "revoked", False, None, expired)
        return True

    def _revoking_stamp(self) -> Any:
        for header, values in self.stamps.items():
            banned = revoked_stamps.get(header)
            if banned is None or values is None:
                continue
            mine = set(maybe_list(values) or ())
            hit = mine & set(maybe_list(banned) or ())
            if hit:
                return {header: sorted(hit, key=str)[0]}
        return None

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Kill the child that runs the task; if it doesn't run yet, once it starts.

        - signal: SIGTERM by default, number or name.
        """
        signum = _signals.signum(signal or TERM_SIGNAME)
        if self.time_start is not None and self.worker_pid is not None:
            pool.terminate_job(self.worker_pid, signum)
            self._announce_revoked("terminated", True, signum, False)
        else:
            self._terminate_on_ack = pool, signum

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """Kill the child that runs the task without revoking it: it will be run again.

        - emit_retry: tell everybody that the task is retried.
        """
        signum = _signals.signum(signal or TERM_SIGNAME)
        if self.time_start is not None and self.worker_pid is not None:
            pool.terminate_job(self.worker_pid, signum)
            self._announce_cancelled(emit_retry=emit_retry)

    def _announce_cancelled(self, *, emit_retry: bool = True) -> None:
        task_ready(self)
        self.send_event("task-cancelled")
        self._already_cancelled = True
        if not emit_retry:
            return
        reason = Retry(message="Cancelled by Celery")
        self._task.backend.mark_as_retry(self.id, reason, request=self._context)
        self._task.on_retry(reason, self.id, self.args, self.kwargs, None)
        signals.task_retry.send(sender=self._task, request=self._context, reason=reason, einfo=None)

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        task_ready(self)
        self.send_event("task-revoked", terminated=terminated, signum=signum, expired=expired)
        self._task.backend.mark_as_revoked(
            self.id, reason, request=self._context, store_result=self.store_errors
        )
        self.acknowledge()
        self._already_revoked = True
        if signals.task_revoked.receivers:
            signals.task_revoked.send(
                sender=self._task,
                request=self._context,
                terminated=terminated,
                signum=signum,
                expired=expired,
            )

    def send_event(self, type: str, **fields: Any) -> None:
        """Send an event about this task, when events are on."""
        eventer = self._eventer
        if eventer is not None and eventer.enabled and self._task.send_events:
            eventer.send(type, uuid=self.id, **fields)

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """A child has begun with the task.

        - time_accepted: when, as ``time.time()``.
        """
        self.worker_pid = pid
        self.time_start = time_accepted
        task_accepted(self)
        if self._eventer is not None and self._eventer.enabled:
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
        self._task.backend.mark_as_failure(
            self.id, exc, request=self._context, store_result=self.store_errors
        )
        self.send_event("task-failed", exception=safe_repr(exc), traceback="")
        if self._task.acks_late and self._acks_on("timeout"):
            self.acknowledge()
        elif self._task.acks_late:
            self.reject(requeue=False)

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
        if self._eventer is not None and self._eventer.enabled:
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
        if isinstance(exc, MemoryError):
            raise MemoryError(f"Process got: {exc}")
        if isinstance(exc, Reject):
            if not exc.requeue:
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
            return
        if self._limit_hit:
            # on_timeout has stored, announced and acknowledged it.
            self._signal_failure(exc, exc_info)
            self._log_failure(exc)
            return
        requeued = False
        if is_worker_lost or isinstance(exc, Terminated):
            requeued = self._after_loss(exc, is_worker_lost=is_worker_lost)
            if requeued:
                return
            send_failed_event = True
        elif self._task.acks_late:
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

    def _after_loss(self, exc: BaseException, *, is_worker_lost: bool) -> bool:
        """Settle the message of a task whose child died. Returns whether it is run again."""
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
        self.acknowledge()
        return False

    def acknowledge(self) -> None:
        """Acknowledge the message, once."""
        if not self.acknowledged:
            self._on_ack(logger, self._connection_errors)
            self.acknowledged = True

    def reject(self, requeue: bool = False) -> None:
        """Reject the message, once.

        - requeue: give it back to the queue instead of dropping or dead-lettering it.
        """
        if not self.acknowledged:
            self._on_reject(logger, self._connection_errors, requeue)
            self.acknowledged = True
            self.send_event("task-rejected", requeue=requeue)

    # -- descriptions

    def info(self, safe: bool = False) -> dict[str, Any]:
        """Return what remote control tells about the request.

        - safe: arguments as representations.
        """
        return {
            "id": self.id,
            "name": self.name,
            "args": self.argsrepr if safe else self.args,
            "kwargs": self.kwargsrepr if safe else self.kwargs,
            "type": self.type,
            "hostname": self.hostname,
            "time_start": self.time_start,
            "acknowledged": self.acknowledged,
            "delivery_info": self.delivery_info,
            "worker_pid": self.worker_pid,
        }

    def humaninfo(self) -> str:
        """Return name and id."""
        return f"{self.name}[{self.id}]"

    def __str__(self) -> str:
        parts = [self.humaninfo()]
        if self._request_dict.get("eta"):
            parts.append(f"ETA:[{self.eta}]")
        if self._request_dict.get("expires"):
            parts.append(f"expires:[{self.expires}]")
        return " ".join(parts)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.humaninfo()} {self.argsrepr} {self.kwargsrepr}>"


def _original(exc: Any) -> Any:
    return exc.exc if isinstance(exc, ExceptionWithTraceback) else exc


def create_request_cls(
    base: type[Request],
    task: Any,
    pool: Any,
    hostname: str | None,
    eventer: Any,
    ref: Any = None,
    revoked_tasks: Any = revoked_tasks,
    task_ready: Any = task_ready,
    trace: Any = None,
    app: Any = None,
) -> type[Request]:
    """Return the request class for a task.

    Requests are lean as they are, so it is ``base`` itself; extensions subclass the result.
    """
    return base
