"""Keeping a task from running, or ending it while it runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from taskq import signals
from taskq.exceptions import Retry
from taskq.platforms import signals as _signals
from taskq.utils.functional import maybe_list
from taskq.utils.log import get_logger
from taskq.worker.request.settling import Settled
from taskq.worker.state import revoked as revoked_tasks
from taskq.worker.state import revoked_stamps, task_ready

__all__ = ("Revocable",)

logger = get_logger("celery.worker.request")

TERM_SIGNAME = "SIGTERM"


class Revocable(Settled):
    """A request that can be revoked, terminated or cancelled."""

    __slots__ = ()

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
            self._interrupt(pool, signum)
            self._announce_revoked("terminated", True, signum, False)
        else:
            self._terminate_on_ack = pool, signum

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """Kill the child that runs the task without revoking it: it will be run again.

        - emit_retry: tell everybody that the task is retried.
        """
        signum = _signals.signum(signal or TERM_SIGNAME)
        if self.time_start is not None and self.worker_pid is not None:
            self._interrupt(pool, signum)
            self._announce_cancelled(emit_retry=emit_retry)

    def _interrupt(self, pool: Any, signum: int) -> None:
        by_job = getattr(pool, "terminates_by_job", False)
        pool.terminate_job(self if by_job else self.worker_pid, signum)

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
