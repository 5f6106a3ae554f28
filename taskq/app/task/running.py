"""What a running task knows and can say: its request, its states, events and children."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskq.app.context import Context
from taskq.app.task.binding import BoundTask
from taskq.utils.inthread import finish_in_thread

__all__ = ("RunningTask",)


class RunningTask(BoundTask):
    """A task whose calls have requests, one stack of them in each thread."""

    def push_request(self, *args: Any, **kwargs: Any) -> None:
        """Make a new request the current one of this thread."""
        self.request_stack.push(Context(*args, **kwargs))

    def pop_request(self) -> None:
        """Drop the current request of this thread."""
        self.request_stack.pop()

    def _get_request(self) -> Context:
        stack = self.request_stack
        request = stack.top if stack is not None else None
        if request is None:
            # Task outside of any call: keep one empty request, so that it can be written to.
            if self._default_request is None:
                self._default_request = Context()
            return self._default_request
        return request  # type: ignore[no-any-return]

    @property
    def request(self) -> Context:
        """The request of the call that runs in this thread."""
        return self._get_request()

    def send_event(
        self,
        type_: str,
        retry: bool = True,
        retry_policy: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Any:
        """Send an event about this call to whoever watches the worker's events."""
        request = self.request
        policy = dict(
            self.app.conf.task_publish_retry_policy if retry_policy is None else retry_policy
        )
        with self.app.events.default_dispatcher(hostname=request.hostname) as dispatcher:
            return dispatcher.send(
                type_, uuid=request.id, retry=retry, retry_policy=policy, **fields
            )

    def update_state(
        self,
        task_id: str | None = None,
        state: str | None = None,
        meta: Any = None,
        **kwargs: Any,
    ) -> None:
        """Store a state of this call, one of your own or a built-in one.

        - task_id: this call by default.
        - meta: what `AsyncResult.info` shows with it.
        """
        if task_id is None:
            task_id = self.request.id
        self.backend.store_result(task_id, meta, state, request=self.request, **kwargs)

    async def aupdate_state(
        self, state: str | None = None, meta: Any = None, task_id: str | None = None
    ) -> None:
        """Store a state of this call as `update_state` does, without blocking the event loop.

        A call that is cancelled meanwhile ends when the state is stored, so that nothing comes
        after its final one.
        """
        await finish_in_thread(self.update_state, task_id or self.request.id, state, meta)

    def add_trail(self, result: Any) -> Any:
        """Remember a result as a child of this call, and return it."""
        if self.trail:
            self.request.children.append(result)
        return result
