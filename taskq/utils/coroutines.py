"""Running coroutines from code that is not asynchronous: one long-lived event loop per thread.

The tracer, signals and the built-in tasks come here. Clients that a coroutine makes on the loop
(connection pools, HTTP sessions) are there for the next one in the same thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Coroutine
from contextvars import copy_context
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    # asyncio is imported by the first coroutine: most programs never run one here.
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

__all__ = (
    "close_loop",
    "finished",
    "is_coroutine",
    "lend_loop",
    "refuse_coroutines",
    "run_coroutine",
)


class _ThreadState(threading.local):
    """What one thread runs coroutines with."""

    #: Its long-lived loop.
    runner: asyncio.Runner | None = None
    #: A loop that runs in another thread and was lent to this one.
    lent: asyncio.AbstractEventLoop | None = None
    #: A thread to run coroutines in while a loop runs in this one.
    helper: ThreadPoolExecutor | None = None


_state = _ThreadState()
#: Loops of the parent process: closing one would disturb the selector the parent still uses.
_inherited: list[Any] = []
#: Why no coroutine can run in this process; None when they can.
_refusal: str | None = None


def is_coroutine(value: Any) -> TypeGuard[Coroutine[Any, Any, Any]]:
    """Return whether ``value`` is what calling a coroutine function gives."""
    return isinstance(value, CoroutineType) or (
        not isinstance(value, str | bytes | int | dict | list | tuple)
        and isinstance(value, Coroutine)
    )


def run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end and return what it returns; blocks this thread.

    It runs with the caller's context variables: on the loop that was lent to this thread, else on
    the loop of this thread, made at the first call. While a loop runs in this thread already, on
    the loop of a helper thread.

    Raises what the coroutine raises; RuntimeError where coroutines can't run.
    """
    import asyncio

    if _refusal is not None:
        coroutine.close()
        raise RuntimeError(_refusal)
    if _state.lent is not None:
        return asyncio.run_coroutine_threadsafe(coroutine, _state.lent).result()
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _runner().run(coroutine, context=copy_context())
    return _helper().submit(copy_context().run, run_coroutine, coroutine).result()


def finished(value: Any) -> Any:
    """Return ``value``, or what it returns when it is a coroutine: for hooks of either kind."""
    return run_coroutine(value) if is_coroutine(value) else value


def close_loop() -> None:
    """End this thread's loop: cancel what still runs on it, and close async generators.

    The next coroutine makes a new one.
    """
    runner, _state.runner = _state.runner, None
    helper, _state.helper = _state.helper, None
    if helper is not None:
        helper.submit(close_loop).result()
        helper.shutdown()
    if runner is not None:
        runner.close()


def lend_loop(loop: asyncio.AbstractEventLoop | None) -> None:
    """Have this thread's coroutines run on ``loop``, which runs in another; None ends that."""
    _state.lent = loop


def refuse_coroutines(reason: str | None) -> None:
    """Have `run_coroutine` raise RuntimeError with this text in the whole process."""
    global _refusal
    _refusal = reason


def _runner() -> asyncio.Runner:
    import asyncio

    if _state.runner is None:
        _state.runner = asyncio.Runner()
    return _state.runner


def _helper() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    if _state.helper is None:
        _state.helper = ThreadPoolExecutor(1, thread_name_prefix="taskq-coroutines")
    return _state.helper


def _forget_parent() -> None:
    global _state
    _inherited.append((_state.runner, _state.helper))
    _state = _ThreadState()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
