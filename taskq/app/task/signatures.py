"""Signatures of a task, and handles on the results of its calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from taskq._state import get_current_worker_task
from taskq.app.context import Context
from taskq.app.task.running import RunningTask
from taskq.canvas import signature
from taskq.canvas.group import sending_batch
from taskq.utils.saferepr import is_repr_of
from taskq.utils.uuids import uuid

if TYPE_CHECKING:
    from taskq.result import AsyncResult, GroupResult

__all__ = ("TaskSignatures",)

P = ParamSpec("P")
R = TypeVar("R")


class TaskSignatures(RunningTask, Generic[P, R]):
    """A task that can be described: by signatures, and by the ids of its calls."""

    apply_async: Any

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

    def map_async(self, it: Iterable[Any], producer: Any = None, **options: Any) -> GroupResult:
        """Send a call for each element, many messages in one go; unlike `map`, each is a task.

        - producer: to publish with, from the app's pool by default.
        - options: of `apply_async`, the same for all.

        Returns the `GroupResult` of the calls. Raises as `apply_async`; nothing is sent then on
        brokers that take a batch.
        """
        return self.starmap_async(((element,) for element in it), producer, **options)

    def starmap_async(self, it: Iterable[Any], producer: Any = None, **options: Any) -> GroupResult:
        """Send a call for each tuple of arguments, many messages in one go; see `map_async`."""
        app = self._get_app()
        group_id = uuid()
        with sending_batch(app, producer) as pooled:
            results = [
                self.apply_async(
                    tuple(args),
                    producer=pooled,
                    group_id=group_id,
                    group_index=index,
                    add_to_parent=False,
                    **options,
                )
                for index, args in enumerate(it)
            ]
        result: GroupResult = app.GroupResult(group_id, results)
        parent = get_current_worker_task()
        if parent is not None:
            parent.add_trail(result)
        return result

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
        options = {**request.as_execution_options(), **self._given_reprs(request), **extra_options}
        delivery_info = request.delivery_info or {}
        priority = delivery_info.get("priority")
        if priority is not None and extra_options.get("priority") is None:
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

    def _given_reprs(self, request: Context) -> dict[str, str]:
        """Return the ``argsrepr`` and ``kwargsrepr`` that a call was sent with, if any.

        They stay with the call when it is sent again: what they hide must not come to light.
        """
        levels = self.app.conf.task_repr_maxlevels
        reprs = {"argsrepr": request.args, "kwargsrepr": request.kwargs}
        return {
            name: text
            for name, value in reprs.items()
            if (text := request.get(name)) and not is_repr_of(text, value, levels)
        }
