"""Calling a task: here, by a message, or eagerly in place of a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from taskq import exceptions
from taskq._state import _task_stack
from taskq.app.task.eager import EagerCalls
from taskq.result import denied_join_result
from taskq.utils.functional import mattrgetter
from taskq.utils.uuids import uuid

if TYPE_CHECKING:
    from taskq.result import AsyncResult, EagerResult

__all__ = ("TaskCalls",)

P = ParamSpec("P")
R = TypeVar("R")

#: Task attributes that are options of every call.
_EXEC_OPTIONS = (
    "queue",
    "routing_key",
    "exchange",
    "priority",
    "expires",
    "serializer",
    "delivery_mode",
    "compression",
    "time_limit",
    "soft_time_limit",
    "immediate",
    "mandatory",
)
_extract_exec_options = mattrgetter(*_EXEC_OPTIONS)
#: Options that say where in a workflow a call is, and nothing else about its message.
_PLACE_OPTIONS = frozenset(
    ("group_id", "group_index", "root_id", "parent_id", "chord", "reply_to", "add_to_parent")
)


class TaskCalls(EagerCalls[P, R], Generic[P, R]):
    """A task that can be called."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the task here and now, without a message. Returns what `run` returns."""
        request = self.request_stack.top if self.request_stack is not None else None
        if request is not None and request._protected == 1:
            # The tracer calls a task that overrides __call__, which calls us in turn: the
            # request of the execution is in place already.
            request._protected = 2
            return self.run(*args, **kwargs)  # type: ignore[no-any-return]
        if self.is_coroutine:
            return self._call_coroutine(args, kwargs)  # type: ignore[return-value]
        _task_stack.push(self)
        self.push_request(args=args, kwargs=kwargs)
        try:
            return self.run(*args, **kwargs)  # type: ignore[no-any-return]
        finally:
            self.pop_request()
            _task_stack.pop()

    async def _call_coroutine(self, args: Any, kwargs: Any) -> Any:
        """Await `run` with a request of its own in place, in the context of whoever awaits it."""
        _task_stack.push(self)
        self.push_request(args=args, kwargs=kwargs)
        try:
            return await self.run(*args, **kwargs)
        finally:
            self.pop_request()
            _task_stack.pop()

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The body of the task; overridden by every task.

        Raises NotImplementedError when it is not.
        """
        raise NotImplementedError("Tasks must define the run method.")

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send the task with these arguments. Shortcut to `apply_async` without options."""
        return self.apply_async(args, kwargs)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send the task with these arguments, without blocking the event loop.

        Raises what `apply_async` raises; RuntimeError outside asyncio.
        """
        return await self.aapply_async(args, kwargs)

    async def aapply_async(
        self, args: Any = None, kwargs: Any = None, **options: Any
    ) -> AsyncResult[R]:
        """Send the task as `apply_async` does, without blocking the event loop."""
        publisher = await self._get_app()._loop_publisher()
        sent: AsyncResult[R] = await publisher.call(
            (self,), self.apply_async, args, kwargs, **options
        )
        return sent

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> AsyncResult[R]:
        """Send the task.

        - args, kwargs: arguments of the call.
        - task_id: id of the call; a new one by default.
        - producer: producer to publish with, from the app's pool by default.
        - link, link_error: signature, or list of them, called on success and on failure.
        - shadow: name shown in logs instead of the task's.
        - countdown: seconds until the task may start.
        - eta: datetime before which the task may not start.
        - expires: seconds or datetime after which the task is not run any more.
        - retry, retry_policy: of publishing.
        - queue, exchange, routing_key, priority, serializer, compression, headers: of the message.
        - time_limit, soft_time_limit: in seconds.
        - ignore_result, add_to_parent, connection, router, and the options of `TaskQ.send_task`.

        Returns the `AsyncResult` of the call. Raises TypeError when the arguments don't fit the
        signature, kombu's EncodeError when they can't be serialised, OperationalError when the
        broker can't be reached.
        """
        if self.typing:
            check_arguments = self.__header__
            if check_arguments is not None:
                check_arguments(*(args or ()), **(kwargs or {}))
        if self._dump_pydantic_arguments is not None:
            args, kwargs = self._dump_pydantic_arguments(args, kwargs)
        if (
            link is None
            and link_error is None
            and not shadow
            and (not options or options.keys() <= _PLACE_OPTIONS)
        ):
            result = self._send_plain(args, kwargs, task_id, producer, options)
            if result is not None:
                return result
        shadow = shadow or self.shadow_name(args, kwargs, options)
        defaults = self._get_exec_options()
        options = {**defaults, **options} if options else dict(defaults)
        options.setdefault("ignore_result", self.ignore_result)
        app = self._get_app()
        if app.conf.task_always_eager:
            return self._apply_eagerly(args, kwargs, task_id, link, link_error, options)
        sent: AsyncResult[R] = app.send_task(
            self.name,
            args,
            kwargs,
            task_id=task_id,
            producer=producer,
            link=link,
            link_error=link_error,
            result_cls=self.AsyncResult,
            shadow=shadow,
            task_type=self,
            **options,
        )
        return sent

    def _send_plain(
        self, args: Any, kwargs: Any, task_id: Any, producer: Any, place: dict[str, Any]
    ) -> AsyncResult[R] | None:
        """Send a call without options the short way; None, with nothing sent, if it can't be."""
        shortcut = self._shortcut
        if shortcut is None or not shortcut.current:
            shortcut = self._get_app().amqp.shortcut(self)
            # Of the instance: classes of tasks share what they inherit.
            self._shortcut = shortcut
        if not shortcut.takes(producer):
            return None
        try:
            result: AsyncResult[R] = shortcut.send(args, kwargs, task_id, producer, place)
        except exceptions.EncodeError:
            return None  # the long way explains what can't be serialised
        return result

    def _apply_eagerly(
        self, args: Any, kwargs: Any, task_id: Any, link: Any, link_error: Any, options: Any
    ) -> EagerResult[R]:
        """Run the call here, as ``task_always_eager`` wants it.

        Arguments go through the serializer, so that what would fail on the wire fails here too.
        """
        # Imported when it is needed: it brings every serializer along.
        from kombu import serialization

        serializer = options.get("serializer") or self.app.conf.task_serializer
        try:
            content_type, encoding, data = serialization.dumps((args, kwargs), serializer)
        except exceptions.EncodeError as exc:
            from taskq.app.unserialisable import explained

            raise explained(exc, self.name, args, kwargs, serializer, self) from exc
        args, kwargs = serialization.loads(data, content_type, encoding, accept=[content_type])
        with denied_join_result():
            return self.apply(
                args,
                kwargs,
                task_id=task_id or uuid(),
                link=link,
                link_error=link_error,
                **options,
            )

    def shadow_name(self, args: Any, kwargs: Any, options: dict[str, Any]) -> str | None:
        """Return the name to show for a call instead of the task's, None for the task's."""
        return None

    def _get_exec_options(self) -> dict[str, Any]:
        if self._exec_options is None:
            self._exec_options = _extract_exec_options(self)
        return self._exec_options
