"""A result source for stores that cannot notify: reads again and again, quickly at first.

The default of ``Backend.create_result_source``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from taskq.backends.unreadable import unreadable
from taskq.backends.waiting import Meta, ResultSource, Wakeup

if TYPE_CHECKING:
    from taskq.backends.core import BackendCore

#: First pause between two reads, in seconds.
FIRST_PAUSE = 0.002
#: Each pause is this many times the one before: a result is seen at most this much late.
PAUSE_GROWTH = 1.3
#: Longest pause in seconds for backends that do not set `subpolling_interval`.
LONGEST_PAUSE = 0.5


class PollingSource(ResultSource):
    """Reads the watched ids in bulk, pausing 2 ms at first and up to `subpolling_interval`."""

    def __init__(self, backend: BackendCore) -> None:
        self._backend = backend
        self._seen: dict[str, tuple[str, str] | None] = {}
        self._pause = FIRST_PAUSE

    def begin(self, task_ids: Sequence[str]) -> Iterable[Meta]:
        self._pause = FIRST_PAUSE
        self._seen.update(dict.fromkeys(task_ids))
        return self._read(task_ids)

    def end(self, task_ids: Sequence[str]) -> None:
        for task_id in task_ids:
            self._seen.pop(task_id, None)

    def drain(self, timeout: float, wakeup: Wakeup) -> Iterable[Meta]:
        if wakeup.wait(min(self._pause, timeout)):
            return []
        longest = self._backend.subpolling_interval or LONGEST_PAUSE
        self._pause = min(self._pause * PAUSE_GROWTH, longest)
        changed = self._read(list(self._seen))
        if changed:
            self._pause = FIRST_PAUSE
        return changed

    def disconnect(self) -> None:
        self._seen.clear()

    def after_fork(self) -> None:
        self._seen.clear()

    def _read(self, task_ids: Sequence[str]) -> list[Meta]:
        """Return the stored metas that differ from what was seen before."""
        changed = []
        for meta in self._stored(task_ids):
            # repr: exceptions are decoded anew at each read and never equal
            state = (meta["status"], repr(meta["result"]))
            if self._seen.get(meta["task_id"]) != state:
                self._seen[meta["task_id"]] = state
                changed.append(meta)
        return changed

    def _stored(self, task_ids: Sequence[str]) -> list[Meta]:
        """Return the metas of the tasks that are stored; one that can't be read hides no other."""
        try:
            return list(self._backend.read_metas(task_ids))
        except Exception as exc:
            if isinstance(exc, OSError) or self._backend.exception_safe_to_retry(exc):
                raise  # the store is away: that is nobody's in particular
            if len(task_ids) == 1:
                return [unreadable(task_ids[0], exc)]
        return [meta for task_id in task_ids for meta in self._stored([task_id])]
