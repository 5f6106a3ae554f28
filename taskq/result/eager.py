"""The handle on a task that was run in this process, by `apply` or in eager mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from vine import Thenable

from taskq import states
from taskq.exceptions import TaskRevokedError
from taskq.result.asyncresult import AsyncResult
from taskq.result.guards import assert_will_not_block

__all__ = ("EagerResult",)

R = TypeVar("R")


class EagerResult(AsyncResult[R]):
    """Handle on a task that has run already; knows its result without a backend.

    Parameters:
        id: id of the task.
        ret_value: its return value or exception.
        state: its state.
        traceback: text, for failures.
        name: name of the task.
    """

    def __init__(
        self,
        id: str,
        ret_value: Any,
        state: str,
        traceback: str | None = None,
        name: str | None = None,
    ) -> None:
        self.id = id
        self._result = ret_value
        self._state = state
        self._traceback = traceback
        self._name = name

    def then(
        self,
        callback: Callable[[Any], Any],
        on_error: Callable[[BaseException], Any] | None = None,
        weak: bool = False,
    ) -> Any:
        """Call `callback` with this handle, now."""
        return self.on_ready.then(callback, on_error)  # the promise is kept already

    @property
    def _cache(self) -> dict[str, Any]:  # type: ignore[override]
        return {
            "task_id": self.id,
            "result": self._result,
            "status": self._state,
            "traceback": self._traceback,
            "name": self._name,
        }

    def _get_task_meta(self) -> dict[str, Any]:
        return self._cache

    def get(  # type: ignore[override]
        self,
        timeout: float | None = None,
        propagate: bool = True,
        disable_sync_subtasks: bool = True,
        **kwargs: Any,
    ) -> R:
        """Return the value, or raise the exception if `propagate` is true.

        Raises:
            RuntimeError: called inside a task, unless `disable_sync_subtasks` is false.
        """
        if disable_sync_subtasks:
            assert_will_not_block()
        if self._state in states.PROPAGATE_STATES:
            error = self._result
            if not propagate:
                return error  # type: ignore[no-any-return]
            raise error if isinstance(error, BaseException) else Exception(error)
        return self._result if self._state == states.SUCCESS else None  # type: ignore[return-value]

    wait = get  # type: ignore[assignment]

    def ready(self) -> bool:
        """Return True: it has run."""
        return True

    def exists(self) -> bool:
        """Return True: it is here."""
        return True

    def forget(self) -> None:
        """Do nothing: no backend has it."""

    def revoke(self, *args: Any, **kwargs: Any) -> None:
        """Say that it was revoked, though it has run all the same."""
        self._state = states.REVOKED
        self._result = TaskRevokedError("revoked")

    def _maybe_set_cache(self, meta: dict[str, Any]) -> dict[str, Any]:
        return meta

    @property
    def supports_native_join(self) -> bool:
        """Return False: there is nothing to wait for."""
        return False

    def __reduce__(self) -> Any:
        return self.__class__, self.__reduce_args__()

    def __reduce_args__(self) -> tuple[Any, ...]:
        return self.id, self._result, self._state, self._traceback, self._name

    def __copy__(self) -> EagerResult[R]:
        cls, args = self.__reduce__()
        return cls(*args)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<EagerResult: {self.id}>"


Thenable.register(EagerResult)
