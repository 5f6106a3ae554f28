"""Signatures of a task, and handles on the results of its calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from taskq.app.context import Context
from taskq.app.task.running import RunningTask
from taskq.canvas import signature
from taskq.utils.saferepr import is_repr_of

if TYPE_CHECKING:
    from taskq.result import AsyncResult

__all__ = ("TaskSignatures",)

P = ParamSpec("P")
R = TypeVar("R")


class TaskSignatures(RunningTask, Generic[P, R]):
    """A task that can be described: by signatures, and by the ids of its calls."""

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AsyncResult[R]:  # noqa: N802
        """Return the result handle of the call with this id."""
        result: AsyncResult[R] = self._get_app().AsyncResult(
            task_id, backend=self.backend, task_name=self.name, **kwargs
        )
        return result

    def signature(self, args: Any = None, *starargs: Any, **starkwargs: Any) -> Any:
        """Return a signature of this task: arguments and options of a call to be made."""
        starkwargs.setdefault("app", self.app)
        return signature(self, args, *starargs, **starkwargs)

    subtask = signature

    def s(self, *args: Any, **kwargs: Any) -> Any:
        """Return a signature with these arguments."""
        return self.signature(args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Any:
        """Return an immutable signature with these arguments: results are not added to them."""
        return self.signature(args, kwargs, immutable=True)

    def chunks(self, it: Iterable[Any], n: int) -> Any:
        """Return a signature that calls the task with ``n`` argument tuples per message."""
        return self._get_app()._canvas.chunks(self.s(), it, n, app=self.app)

    def map(self, it: Iterable[Any]) -> Any:
        """Return a signature that calls the task with each element, in one message."""
        return self._get_app()._canvas.xmap(self.s(), it, app=self.app)

    def starmap(self, it: Iterable[Any]) -> Any:
        """Return a signature that calls the task with each argument tuple, in one message."""
        return self._get_app()._canvas.xstarmap(self.s(), it, app=self.app)

    def signature_from_request(
        self,
        request: Context | None = None,
        args: Any = None,
        kwargs: Any = None,
        queue: Any = None,
        **extra_options: Any,
    ) -> Any:
        """Return a signature that calls this task as the given request was called.

        - request: the current one by default.
        - args, kwargs: the request's by default.
        - queue: queue to send it to; by default where the request came from.
        - extra_options: override the request's.
        """
        request = self.request if request is None else request
        args = request.args if args is None else args
        kwargs = request.kwargs if kwargs is None else kwargs
        options = {**request.as_execution_options(), **given_reprs(request), **extra_options}
        delivery_info = request.delivery_info or {}
        priority = delivery_info.get("priority")
        if priority is not None:
            options["priority"] = priority
        if queue:
            options["queue"] = queue
        else:
            exchange = delivery_info.get("exchange")
            routing_key = delivery_info.get("routing_key")
            if exchange == "" and routing_key:
                options["queue"] = routing_key
            else:
                options.update(exchange=exchange, routing_key=routing_key)
        options["ignore_result"] = extra_options.get("ignore_result", request.ignore_result)
        return self.signature(args, kwargs, **options)

    subtask_from_request = signature_from_request


def given_reprs(request: Context) -> dict[str, str]:
    """Return the ``argsrepr`` and ``kwargsrepr`` that a call was sent with, if any.

    They stay with the call when it is sent again: what they hide must not come to light.
    """
    reprs = {"argsrepr": request.args, "kwargsrepr": request.kwargs}
    return {
        name: text
        for name, value in reprs.items()
        if (text := request.get(name)) and not is_repr_of(text, value)
    }
