"""Running workflows drawn: which tasks there are, what led to what, and their states.

From what the result backend keeps: the states of the tasks, the tasks they sent, and by whom they
were sent. What has not been sent yet is drawn if the handle knows of it.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from taskq import states
from taskq.result.asyncresult import read_together
from taskq.result.resultset import ResultSet
from taskq.utils.drawing import Box, Drawing, Node

__all__ = ("draw_result",)

#: Characters of an id that are shown.
ID_LENGTH = 8

#: Ids of the tasks that a part begins with, and of those that it ends with.
Ends = tuple[list[str], list[str]]


def draw_result(handle: Any, *, most: int = 20) -> Drawing:
    """Return a drawing of a workflow that was sent.

    Parameters:
        handle: what sending it returned, an AsyncResult or GroupResult; or one made from its id,
            which knows of nothing that has not run yet.
        most: tasks of one group that are drawn; the others are counted.

    Raises:
        LookupError: nothing is known of it.
    """
    return _Artist(most).draw(handle)


class _Artist:
    def __init__(self, most: int) -> None:
        self._most = most
        self._drawing = Drawing()
        self._tasks: dict[str, Any] = {}
        self._metas: dict[str, Any] = {}
        self._unread: deque[Any] = deque()
        #: Id of a task that a member of a group ends with -> those that all of them end with.
        self._ends: dict[str, list[str]] = {}

    def draw(self, handle: Any) -> Drawing:
        self._add_line(handle, None)
        while self._unread:
            self._read_unread()
        led_to = {after for _, after in self._drawing.arrows}
        for task_id, meta in self._metas.items():
            if task_id not in led_to:
                self._connect_to_parent(task_id, meta)
        for task_id, node in self._drawing.nodes.items():
            if task_id in self._tasks:
                self._drawing.nodes[task_id] = self._labelled(task_id, node)
        if all(meta["status"] == states.PENDING for meta in self._metas.values()) and not (
            self._drawing.arrows or self._drawing.boxes
        ):
            raise LookupError(
                f"Nothing is stored about {handle.id!r}: it has not run yet, or its result has "
                "expired"
            )
        return self._drawing

    def _add_line(self, handle: Any, box: str | None) -> Ends:
        """Add a handle and those before it, which it is the end of."""
        line = [handle]
        while line[-1].parent is not None:
            line.append(line[-1].parent)
        first: list[str] = []
        last: list[str] = []
        for each in reversed(line):
            starts, ends = self._add(each, box)
            self._drawing.connect(last, starts)
            first, last = first or starts, ends
        return first, last

    def _add(self, handle: Any, box: str | None) -> Ends:
        if isinstance(handle, ResultSet):
            return self._add_group(handle, box)
        if handle.id not in self._tasks:
            self._tasks[handle.id] = handle
            self._drawing.nodes[handle.id] = Node(handle.id[:ID_LENGTH], box=box)
            self._unread.append(handle)
        elif box is not None and self._drawing.nodes[handle.id].box is None:
            self._drawing.nodes[handle.id] = Node(handle.id[:ID_LENGTH], box=box)
        return [handle.id], [handle.id]

    def _add_group(self, group: Any, box: str | None) -> Ends:
        first: list[str] = []
        last: list[str] = []
        key = f"group {group.id}"
        self._drawing.boxes.setdefault(key, Box(f"group {group.id[:ID_LENGTH]}", box))
        for member in group.results[: self._most]:
            starts, ends = self._add_line(member, key)
            first += starts
            last += ends
        left = len(group.results) - self._most
        if left > 0:
            rest = f"rest of {group.id}"
            self._drawing.nodes[rest] = Node(f"… {left} more", box=key)
            first.append(rest)
            last.append(rest)
        self._ends.update(dict.fromkeys(last, last))
        return first, last

    def _read_unread(self) -> None:
        """Read what is stored of the tasks that were found, and find what they led to."""
        found = list(self._unread)
        self._unread.clear()
        read_together(found)
        for handle in found:
            meta = self._metas[handle.id] = handle._get_task_meta()
            for child in meta.get("children") or ():
                starts, _ = self._add_line(child, None)
                self._drawing.connect([handle.id], starts)
            parent_id = meta.get("parent_id")
            if parent_id and parent_id not in self._tasks:
                self._add(handle.app.AsyncResult(parent_id), None)

    def _connect_to_parent(self, task_id: str, meta: Any) -> None:
        """Draw an arrow from who sent the task.

        A task of a group that is not known to have called it has sent it as the body of a chord,
        whose header is all of the group.
        """
        parent_id = meta.get("parent_id")
        if parent_id:
            self._drawing.connect(self._ends.get(parent_id, [parent_id]), [task_id])

    def _labelled(self, task_id: str, node: Node) -> Node:
        meta = self._metas[task_id]
        name = meta.get("name")
        label = f"{name}\n{node.label}" if name else node.label
        return Node(label, meta["status"], node.box)
