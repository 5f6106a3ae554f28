"""A request: one task message from its reception until it is acknowledged.

The life of one, in order: made by the strategy, checked (revoked, expired), handed to the pool,
acknowledged (early), started, then succeeded, retried, failed, rejected, timed out or lost with
its child, and acknowledged (late). It lives in the main process and never decodes the body
unless somebody asks for the arguments.
"""

from __future__ import annotations

from typing import Any

from billiard.einfo import ExceptionInfo

from taskq.app.trace import OK, Outcome
from taskq.exceptions import TaskRevokedError, TimeLimitExceeded
from taskq.utils.log import get_logger
from taskq.worker import poison
from taskq.worker.chordparts import leave_loss
from taskq.worker.request.outcomes import Outcomes
from taskq.worker.state import revoked as revoked_tasks
from taskq.worker.state import task_ready

__all__ = ("Request", "create_request_cls")

logger = get_logger("celery.worker.request")


class Request(Outcomes):
    """One task message in the hands of the worker.

    - message: the broker's message.
    - on_ack, on_reject: functions that acknowledge and reject it: ``f(logger, errors[, requeue])``.
    - hostname: node name of the worker; eventer: its event dispatcher.
    - task: the registered task; connection_errors: what a broken connection raises.
    - body, headers: of the message, converted from another protocol when ``decoded`` is true.
    - utc: whether naive times in the message are UTC.

    Subclasses may override the ``on_*`` methods; they run in the main process.
    """

    __slots__ = ()

    # -- what the pool asks and tells (taskq.concurrency.base.Job)

    @property
    def payload(self) -> tuple[Any, ...]:
        """What the child needs to run the task."""
        message = self._message
        headers, properties = self._request_dict, message.properties
        if properties.get("application_headers") is headers:
            # AMQP's messages have them in both places: the child puts them back.
            properties = {**properties, "application_headers": None}
        return (
            headers["task"],
            self.id,
            headers,
            self._body,
            self._content_type,
            self._content_encoding,
            self.delivery_info,
            properties,
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
            if self._request_dict.get("group") is not None and leave_loss(self):
                self.acknowledged = self.leaves_loss = True
            else:
                self.acknowledge()
        elif self.counts_delivery:
            poison.count_delivery(self)

    def on_started(self, pid: int, time_started: float) -> None:
        """A child has it."""
        self.on_accepted(pid, time_started)

    def on_outcome(self, outcome: Outcome) -> None:
        """The child is done with it."""
        if outcome.kind == OK:
            self.on_success((False, outcome.value, outcome.runtime))
        else:
            self.on_success((True, outcome.value, outcome.runtime))
        if self.leaves_loss:
            self._take_loss_back()

    def on_lost(self, exc: BaseException) -> None:
        """The child died while running it."""
        try:
            raise exc
        except BaseException:
            einfo = ExceptionInfo()
        einfo.exception = exc
        self.on_failure(einfo)
        if self.leaves_loss:
            self._take_loss_back()

    def on_limit(self, soft: bool, limit: float) -> None:
        """A time limit was hit."""
        self.on_timeout(soft, limit)
        if not soft:
            self._limit_hit = True
            self.on_lost(TimeLimitExceeded(limit))

    def _take_loss_back(self) -> None:
        """The task has ended, and everybody knows who has to."""
        self.leaves_loss = False
        self._on_ack(logger, self._connection_errors)

    # -- running it

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
