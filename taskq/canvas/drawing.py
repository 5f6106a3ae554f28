"""Signatures drawn: what will run, after what, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

from taskq.canvas.kinds import is_chain, is_chord, is_group
from taskq.canvas.signature import maybe_signature
from taskq.utils.drawing import Box, Drawing, Node
from taskq.utils.functional import maybe_list
from taskq.utils.text import truncate

__all__ = ("draw_signature",)

#: Longest text in a node, in characters.
LABEL_LENGTH = 40
#: Tasks that call another one with each of a list of items.
MAPS = frozenset(("celery.map", "celery.starmap", "celery.chunks"))
#: Words on the arrows to what is linked to a task.
LINKS = {"link": "link", "link_error": "on error"}

#: Keys of the nodes that a part begins with, and of those that it ends with.
Ends = tuple[list[str], list[str]]


def draw_signature(sig: Any, *, most: int = 20) -> Drawing:
    """Return a drawing of a signature of any kind.

    Parameters:
        sig: the signature, or a dict that describes one.
        most: tasks of one group that are drawn; the others are counted.
    """
    return _Artist(most).draw(sig)


class _Artist:
    def __init__(self, most: int) -> None:
        self._most = most
        self._drawing = Drawing()
        self._numbers = count()

    def draw(self, sig: Any) -> Drawing:
        self._add(sig, None)
        return self._drawing

    def _add(self, sig: Any, box: str | None) -> Ends:
        sig = maybe_signature(sig)
        if is_chain(sig):
            ends = self._add_steps(sig.tasks, box)
        elif is_group(sig):
            ends = self._add_members(sig.tasks, "group", box)
        elif is_chord(sig):
            header = sig.tasks.tasks if is_group(sig.tasks) else sig.tasks
            ends = self._add_members(header, "chord header", box)
            if sig.body is not None:
                starts, last = self._add(sig.body, box)
                self._drawing.connect(ends[1], starts)
                ends = ends[0] or starts, last
        else:
            key = self._node(_call(sig), box)
            ends = [key], [key]
        self._add_links(sig, ends[1], box)
        return ends

    def _add_steps(self, steps: Iterable[Any], box: str | None) -> Ends:
        first: list[str] = []
        last: list[str] = []
        for step in steps:
            starts, ends = self._add(step, box)
            if not starts:
                continue
            self._drawing.connect(last, starts)
            first, last = first or starts, ends
        return first, last

    def _add_members(self, tasks: Iterable[Any], label: str, box: str | None) -> Ends:
        members: Sequence[Any] = list(tasks)
        if not members:
            return [], []
        key = f"box {next(self._numbers)}"
        self._drawing.boxes[key] = Box(label, box)
        first: list[str] = []
        last: list[str] = []
        for member in members[: self._most]:
            starts, ends = self._add(member, key)
            first += starts
            last += ends
        left = len(members) - self._most
        if left > 0:
            rest = self._node(f"… {left} more", key)
            first.append(rest)
            last.append(rest)
        return first, last

    def _add_links(self, sig: Any, ends: list[str], box: str | None) -> None:
        for option, label in LINKS.items():
            for linked in maybe_list(sig.options.get(option)) or ():
                starts, _ = self._add(linked, box)
                self._drawing.connect(ends, starts, label)

    def _node(self, label: str, box: str | None) -> str:
        key = f"node {next(self._numbers)}"
        self._drawing.nodes[key] = Node(label, box=box)
        return key


def _call(sig: Any) -> str:
    """Return what is written in the node of a single call."""
    if sig.task not in MAPS:
        return str(truncate(sig.reprcall(), LABEL_LENGTH))
    name = maybe_signature(sig.kwargs["task"]).task
    return f"{name}, {len(sig.kwargs['it'])} items in {sig.task}"
