"""Maps and chunks: one task called with many arguments in one message, or a few.

The tasks that run them are `celery.map`, `celery.starmap` and `celery.chunks`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from taskq.canvas.group import group
from taskq.canvas.kinds import register_type
from taskq.canvas.signature import Signature, plain
from taskq.utils.functional import chunks as _chunks
from taskq.utils.functional import regen

__all__ = ("_basemap", "chunks", "xmap", "xstarmap")


class _basemap(Signature):
    """A call of a task with each item of an iterable, in one message.

    Parameters:
        task: signature of the task.
        it: the items.
        options: of the call.
    """

    _task_name: ClassVar[str | None] = None

    @classmethod
    def from_dict(cls, d: Any, app: Any = None) -> Any:
        """Return the signature that a dict describes."""
        return cls(d["kwargs"]["task"], d["kwargs"]["it"], app=app, **d["options"])

    def __init__(self, task: Any, it: Any, **options: Any) -> None:
        super().__init__(
            self._task_name, (), {"task": task, "it": regen(it)}, immutable=True, **options
        )

    def apply_async(  # type: ignore[override]
        self, args: Any = None, kwargs: Any = None, **opts: Any
    ) -> Any:
        """Send the call. There are no further arguments: `args` and `kwargs` are left out."""
        given = self["kwargs"]
        return self.type.apply_async(
            (),
            {"task": plain(given["task"]), "it": list(given["it"])},
            **{"route_name": _name_of(given["task"]), **self["options"], **opts},
        )


@register_type("xmap")
class xmap(_basemap):  # noqa: N801 - the public name
    """A call of a task with each item of an iterable as its argument, in one message."""

    _task_name = "celery.map"

    def __repr__(self) -> str:
        given = self["kwargs"]
        return f"[{_name_of(given['task'])}(x) for x in {given['it']!r}]"


@register_type("xstarmap")
class xstarmap(_basemap):  # noqa: N801 - the public name
    """A call of a task with each item of an iterable as its arguments, in one message."""

    _task_name = "celery.starmap"

    def __repr__(self) -> str:
        given = self["kwargs"]
        return f"[{_name_of(given['task'])}(*x) for x in {given['it']!r}]"


@register_type("chunks")
class chunks(Signature):  # noqa: N801 - the public name
    """Calls of a task with each item of an iterable as its arguments, `n` items per message.

    Parameters:
        task: signature of the task.
        it: the items: tuples of arguments.
        n: how many items a message has.
        options: of the calls.
    """

    @classmethod
    def from_dict(cls, d: Any, app: Any = None) -> Any:
        """Return the signature that a dict describes."""
        given = d["kwargs"]
        return cls(given["task"], given["it"], given["n"], app=app, **d["options"])

    def __init__(self, task: Any, it: Any, n: int, **options: Any) -> None:
        super().__init__(
            "celery.chunks", (), {"task": task, "it": regen(it), "n": n}, immutable=True, **options
        )

    def __call__(self, **options: Any) -> Any:
        """Send the messages."""
        return self.apply_async(**options)

    def apply_async(  # type: ignore[override]
        self, args: Any = None, kwargs: Any = None, **opts: Any
    ) -> Any:
        """Send the messages. There are no further arguments: `args` and `kwargs` are left out.

        Returns a `GroupResult` with a list of results per message.
        """
        name = _name_of(self["kwargs"]["task"])
        return self.group().apply_async(route_name=name, **{**self["options"], **opts})

    def group(self) -> Any:
        """Return a group with a task for each message."""
        given = self["kwargs"]
        parts = _chunks(iter(given["it"]), given["n"])
        return group(
            (xstarmap(given["task"], part, app=self._app) for part in parts), app=self._app
        )

    @classmethod
    def apply_chunks(cls, task: Any, it: Any, n: int, app: Any = None) -> Any:
        """Send the messages for these items at once. Returns a `GroupResult`."""
        return cls(task, it, n, app=app)()


def _name_of(task: Any) -> str:
    """Return the name of a task, its signature or the dict of one."""
    if isinstance(task, dict):
        return task["task"]  # type: ignore[no-any-return]
    return getattr(task, "name", task)  # type: ignore[no-any-return]
