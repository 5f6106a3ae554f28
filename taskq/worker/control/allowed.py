"""Which remote control commands a worker obeys: ``worker_control_commands_allowed``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

from taskq.utils.log import get_logger
from taskq.worker.control.panel import Panel, nok

__all__ = ("allowed_commands",)

logger = get_logger("celery.worker.control")

#: What workers say to each other when they start.
_ALWAYS = frozenset({"hello"})

Handler = Callable[..., Any]


def allowed_commands(patterns: Iterable[str] | None) -> dict[str, Handler]:
    """Return the commands with their functions; those that are not allowed refuse.

    - patterns: names or patterns (`fnmatch`) of the allowed commands; None for all.
    """
    if patterns is None:
        return Panel.data
    if isinstance(patterns, str):
        raise TypeError(
            f"worker_control_commands_allowed must be a list of names, not the text {patterns!r}"
        )
    allowed = tuple(patterns)
    return {
        name: handler if _is_allowed(name, allowed) else _refusing(name)
        for name, handler in Panel.data.items()
    }


def _is_allowed(name: str, patterns: tuple[str, ...]) -> bool:
    return name in _ALWAYS or any(fnmatchcase(name, pattern) for pattern in patterns)


def _refusing(name: str) -> Handler:
    def refuse(state: Any, **arguments: Any) -> dict[str, Any]:
        logger.warning(
            "Remote control command %r refused: worker_control_commands_allowed does not have it",
            name,
        )
        return nok(f"{name} is not allowed by worker_control_commands_allowed")

    return refuse
