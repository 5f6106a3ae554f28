"""How many tasks may queue behind a running one."""

from __future__ import annotations

import pytest

from taskq.concurrency.runtimes import Runtimes, window_for


@pytest.mark.parametrize(
    ("seconds", "window"),
    [(0.0, 8), (0.0001, 8), (0.00025, 8), (0.0005, 4), (0.001, 2), (0.002, 1), (0.005, 1)],
)
def test_short_tasks_queue_for_about_two_milliseconds(seconds: float, window: int) -> None:
    assert window_for(seconds) == window


@pytest.mark.parametrize("seconds", [0.0051, 0.1, 60.0])
def test_long_tasks_never_queue(seconds: float) -> None:
    assert window_for(seconds) == 0


def test_nothing_queues_before_anything_is_known() -> None:
    assert Runtimes().window("any") == 0


def test_names_are_told_apart_and_unknown_ones_take_the_average() -> None:
    runtimes = Runtimes()
    for _ in range(50):
        runtimes.observe("short", 0.0001)
    assert runtimes.window("unknown") == 8
    for _ in range(50):
        runtimes.observe("long", 1.0)
    assert runtimes.window("short") == 8
    assert runtimes.window("long") == 0
    assert runtimes.window("unknown") == 0


def test_a_task_that_becomes_long_is_noticed_at_once() -> None:
    runtimes = Runtimes()
    for _ in range(50):
        runtimes.observe("task", 0.0001)
    runtimes.observe("task", 0.1)
    assert runtimes.window("task") == 0
