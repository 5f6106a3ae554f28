"""Learns how long tasks take, and says how many may queue behind a running one.

The prefork dispatcher asks it for every job, so both methods are as short as they can be.
"""

from __future__ import annotations

#: Tasks that take longer than this many seconds never queue behind another.
SHORT_TASK = 0.005
#: Seconds of work that may queue in a child behind the running task.
QUEUED_WORK = 0.002
#: Most tasks that queue in a child behind the running one.
MAX_WINDOW = 8
#: Weight of the newest run time in the moving average.
NEWEST_WEIGHT = 0.2
#: Task names remembered; names come from registered tasks, the bound is for odd callers.
MAX_NAMES = 20_000


class Runtimes:
    """Moving averages of run times per task name, as queueing windows."""

    def __init__(self) -> None:
        self._averages: dict[str, float] = {}
        self._windows: dict[str, int] = {}
        self._overall: float | None = None
        self._default_window = 0

    def window(self, name: str) -> int:
        """Return how many tasks like ``name`` may wait in a child behind the running one.

        A name that was never seen gets the window of all tasks together; the first of all gets 0.
        """
        window = self._windows.get(name)
        return self._default_window if window is None else window

    def observe(self, name: str, runtime: float) -> None:
        """Record that ``name`` took ``runtime`` seconds."""
        overall = self._overall
        overall = runtime if overall is None else overall + NEWEST_WEIGHT * (runtime - overall)
        self._overall = overall
        average = self._averages.get(name)
        if average is None:
            if len(self._averages) >= MAX_NAMES:
                self._averages.clear()
                self._windows.clear()
            average = runtime
        else:
            average += NEWEST_WEIGHT * (runtime - average)
        self._averages[name] = average
        self._windows[name] = window_for(average)
        self._default_window = window_for(overall)


def window_for(average: float) -> int:
    """Return the window for tasks of ``average`` seconds: 0 when long, else 1 to ``MAX_WINDOW``."""
    if average > SHORT_TASK:
        return 0
    if average * MAX_WINDOW <= QUEUED_WORK:
        return MAX_WINDOW
    return int(QUEUED_WORK / average) or 1
