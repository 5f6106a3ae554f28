"""Finds the function that runs one task payload, by its dotted name.

Pools resolve it at start; tests name their own. Children of spawned pools resolve it themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kombu.utils.imports import symbol_by_name

from taskq.backends.ahead import Ahead

#: The production executor.
EXECUTE_TASK = "taskq.app.trace:execute_task"


@dataclass(frozen=True, slots=True)
class Executor:
    """A way to run payloads."""

    #: Dotted name it was found by.
    name: str
    #: Runs one payload and returns an outcome.
    execute: Callable[[tuple[Any, ...]], Any]
    #: The outcome class: ``(kind, value, runtime)``.
    outcome: Callable[[int, Any, float], Any]
    #: Whether the interpreter is inside the user's function right now; signals only interrupt that.
    in_user_code: Callable[[], bool]
    #: Raises an exception at the next await of the coroutine that runs; False when none does.
    interrupt_coroutine: Callable[[BaseException], bool]
    #: Cancels the coroutine that runs and waits for something; False when none does.
    cancel_coroutine: Callable[[], bool]
    #: Where the function's stores say that they have answers outstanding.
    ahead: Ahead


def load_executor(name: str) -> Executor:
    """Return the executor called ``"package.module:function"``.

    Its module must also hold ``Outcome``; it may hold ``in_user_code()``, without which the
    whole call counts as user code, ``interrupt_coroutine()``, ``cancel_coroutine()`` and ``ahead``.
    """
    execute = symbol_by_name(name)
    module = sys.modules[execute.__module__]
    return Executor(
        name=name,
        execute=execute,
        outcome=module.Outcome,
        in_user_code=getattr(module, "in_user_code", _always),
        interrupt_coroutine=getattr(module, "interrupt_coroutine", _not_interrupted),
        cancel_coroutine=getattr(module, "cancel_coroutine", _never),
        ahead=getattr(module, "ahead", None) or Ahead(),
    )


def _always() -> bool:
    return True


def _never() -> bool:
    return False


def _not_interrupted(exc: BaseException) -> bool:
    return False
