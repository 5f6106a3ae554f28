"""Workflows: signatures of calls, and chains, groups and chords made of them.

`Task.s` and the app's users make them; the tracer continues them from messages.
"""

from __future__ import annotations

from taskq.canvas.chain import _chain, chain
from taskq.canvas.chord import _chord, chord
from taskq.canvas.chunks import _basemap, chunks, xmap, xstarmap
from taskq.canvas.group import group
from taskq.canvas.kinds import maybe_unroll_group
from taskq.canvas.signature import (
    Signature,
    maybe_signature,
    maybe_subtask,
    plain,
    signature,
    subtask,
)
from taskq.canvas.stamping import GroupStampingVisitor, StampingVisitor
from taskq.canvas.stamping import merge_dictionaries as _merge_dictionaries
from taskq.utils import abstract

__all__ = (
    "GroupStampingVisitor",
    "Signature",
    "StampingVisitor",
    "_basemap",
    "_chain",
    "_chord",
    "_merge_dictionaries",
    "abstract",
    "chain",
    "chord",
    "chunks",
    "group",
    "maybe_signature",
    "maybe_subtask",
    "maybe_unroll_group",
    "plain",
    "signature",
    "subtask",
    "task_name_from",
    "xmap",
    "xstarmap",
)


def task_name_from(task: object) -> object:
    """Return the name of a task, or `task` if it is a name."""
    return getattr(task, "name", task)
