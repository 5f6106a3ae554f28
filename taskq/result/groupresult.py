"""The handle on a group: a set of results with an id, which can be saved and restored."""

from __future__ import annotations

from typing import Any

from vine import Thenable

from taskq._state import app_or_default
from taskq.result.resultset import ResultSet

__all__ = ("GroupResult",)


class GroupResult(ResultSet):
    """Handle on the tasks of a group.

    Parameters:
        id: id of the group.
        results: handles of its tasks, in order.
        parent: handle of the step before the group in a chain.
    """

    #: Id of the group.
    id: str = None  # type: ignore[assignment]

    def __init__(
        self,
        id: str | None = None,
        results: Any = None,
        parent: Any = None,
        **kwargs: Any,
    ) -> None:
        self.id = id  # type: ignore[assignment]
        self.parent = parent
        super().__init__([] if results is None else results, **kwargs)

    def save(self, backend: Any = None) -> Any:
        """Store which tasks are in the group, for `restore`."""
        return (backend or self.app.backend).save_group(self.id, self)

    def delete(self, backend: Any = None) -> None:
        """Remove what `save` stored."""
        (backend or self.app.backend).delete_group(self.id)

    @classmethod
    def restore(cls, id: str, backend: Any = None, app: Any = None) -> Any:
        """Return the handle of a saved group, None if there is none of this id."""
        own_app: Any = cls.app
        app = app or (None if isinstance(own_app, property) else own_app)
        backend = backend or app_or_default(app).backend
        return backend.restore_group(id)

    @property
    def children(self) -> list[Any]:
        """The handles of the tasks in the group."""
        return self.results

    def as_tuple(self) -> tuple[Any, list[Any]]:
        """Return the handle, its parents and its tasks as nested tuples."""
        parent = self.parent and self.parent.as_tuple()
        return (self.id, parent), [each.as_tuple() for each in self.results]

    def __bool__(self) -> bool:
        return bool(self.id or self.results)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return (
                other.id == self.id
                and other.results == self.results
                and other.parent == self.parent
            )
        if isinstance(other, str):
            return other == self.id
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __reduce__(self) -> Any:
        return self.__class__, self.__reduce_args__()

    def __reduce_args__(self) -> tuple[Any, ...]:
        return self.id, self.results, self.parent

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id} [{', '.join(map(str, self.results))}]>"


Thenable.register(GroupResult)
