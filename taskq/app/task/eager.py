"""Eager calls: a task run by its caller, with everything a worker does around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, ParamSpec, TypeVar

from taskq import states
from taskq.app.links import links_of
from taskq.app.task.signatures import TaskSignatures
from taskq.exceptions import Retry
from taskq.result import EagerResult
from taskq.utils.functional import maybe_list
from taskq.utils.inthread import call_in_thread
from taskq.utils.nodenames import gethostname
from taskq.utils.uuids import uuid

__all__ = ("EagerCalls",)

P = ParamSpec("P")
R = TypeVar("R")


class EagerCalls(TaskSignatures[P, R], Generic[P, R]):
    """A task that can be run here and now."""

    def apply(
        self,
        args: Any = None,
        kwargs: Any = None,
        link: Any = None,
        link_error: Any = None,
        task_id: str | None = None,
        retries: int | None = None,
        throw: bool | None = None,
        logfile: str | None = None,
        loglevel: Any = None,
        headers: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> EagerResult[R]:
        """Run the call here and now with everything a worker does around it.

        - throw: raise the task's exception, ``task_eager_propagates`` by default.
        - retries: how many times it has been retried so far.

        Other parameters are those of `apply_async`. Returns an `EagerResult`.
        """
        app = self._get_app()
        task_id = task_id or uuid()
        retries = retries or 0
        request = self._eager_request(options, headers, link, link_error)
        request |= {
            "id": task_id,
            "root_id": options.get("root_id", task_id),
            "retries": retries,
            "logfile": logfile,
            "loglevel": loglevel or 0,
        }
        # The tracer imports this package, so it is reached through the app.
        tracer = app._build_tracer(
            self.name,
            app.tasks[self.name],
            eager=True,
            propagate=app.either("task_eager_propagates", throw),
            app=app,
        )
        returned = tracer(task_id, args or (), kwargs or {}, request)
        value, traceback = _value_and_traceback(returned.retval)
        if isinstance(value, Retry) and value.sig is not None:
            retried: EagerResult[R] = value.sig.apply(retries=retries + 1)
            return retried
        state = states.SUCCESS if returned.info is None else returned.info.state
        return EagerResult(task_id, value, state, traceback=traceback, name=self.name)

    async def aapply(self, args: Any = None, kwargs: Any = None, **options: Any) -> EagerResult[R]:
        """Run the call as `apply` does, in a thread: the caller's event loop goes on meanwhile."""
        applied: EagerResult[R] = await call_in_thread(self.apply, args, kwargs, **options)
        return applied

    def _eager_request(
        self,
        options: Mapping[str, Any],
        headers: Mapping[str, Any] | None,
        link: Any,
        link_error: Any,
    ) -> dict[str, Any]:
        """Return what the request of an eager call knows from the call's options."""
        limits = options.get("time_limit"), options.get("soft_time_limit")
        request = {
            "task": self.name,
            "parent_id": options.get("parent_id"),
            "is_eager": True,
            "hostname": gethostname(),
            "callbacks": links_of("link", link),
            "errbacks": links_of("link_error", link_error),
            "headers": headers,
            "timelimit": limits if limits != (None, None) else None,
            "time_limit": limits[0],
            "soft_time_limit": limits[1],
            "ignore_result": options.get("ignore_result", False),
            "group": options.get("group_id"),
            "group_index": options.get("group_index"),
            "shadow": options.get("shadow"),
            "replaced_task_nesting": options.get("replaced_task_nesting", 0),
            "delivery_info": {
                "is_eager": True,
                "exchange": options.get("exchange"),
                "routing_key": options.get("routing_key"),
                "priority": options.get("priority"),
            },
        }
        for name in ("expires", "argsrepr", "kwargsrepr"):
            if options.get(name) is not None:
                request[name] = options[name]
        for source in (options, headers or {}):
            stamped = source.get("stamped_headers")
            if stamped:
                request["stamped_headers"] = stamped
                request["stamps"] = {name: maybe_list(source.get(name)) for name in stamped}
        return request


def _value_and_traceback(returned: Any) -> tuple[Any, Any]:
    """Return what a tracer returned as value or exception, and the traceback's text if any."""
    # Imported when a task runs: clients do without it, and it is slow to import.
    from billiard.einfo import ExceptionInfo, ExceptionWithTraceback

    if not isinstance(returned, ExceptionInfo):
        return returned, None
    exc = returned.exception
    return (exc.exc if isinstance(exc, ExceptionWithTraceback) else exc), returned.traceback
