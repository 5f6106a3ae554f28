"""Refusing to wait for a result inside a task, where it can stop a whole pool.

Used by everything in this package that waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from taskq._state import _join_override, task_join_will_block

__all__ = ("E_WOULDBLOCK", "allow_join_result", "assert_will_not_block", "denied_join_result")

E_WOULDBLOCK = """\
Never call result.get() within a task!
A task that waits for another holds a worker process that the other may need. Use a chain or a
chord, or a callback; see "Avoid launching synchronous subtasks" in the guide to tasks.
"""


def assert_will_not_block() -> None:
    """Raise RuntimeError when called inside a task that a worker runs."""
    if task_join_will_block():
        raise RuntimeError(E_WOULDBLOCK)


@contextmanager
def allow_join_result() -> Iterator[None]:
    """Let the body of the ``with`` statement wait for results inside a task."""
    # For this thread alone: tasks beside it in a pool of threads have not asked for it.
    token = _join_override.set(False)
    try:
        yield
    finally:
        _join_override.reset(token)


@contextmanager
def denied_join_result() -> Iterator[None]:
    """Refuse waiting in the body of the ``with`` statement, as inside a task."""
    token = _join_override.set(True)
    try:
        yield
    finally:
        _join_override.reset(token)
