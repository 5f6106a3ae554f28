"""taskq: distributed task queue, a drop-in for Celery.

Names are loaded on first use, so that ``import taskq`` stays cheap.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the import: this module is on every path
if TYPE_CHECKING:
    from collections.abc import Callable

    from taskq._state import current_app, current_task
    from taskq.app import bugreport, shared_task
    from taskq.app.base import Celery, TaskQ
    from taskq.app.task import Task
    from taskq.canvas.chain import chain
    from taskq.canvas.chord import chord
    from taskq.canvas.chunks import chunks, xmap, xstarmap
    from taskq.canvas.group import group
    from taskq.canvas.signature import Signature, maybe_signature, signature, subtask
    from taskq.utils import uuid
    from taskq.version import VERSION, version_info, version_info_t

__version__ = "0.1.0"
#: The release of Celery whose public surface and wire format this version matches.
CELERY_COMPAT = "5.7.0"
SERIES = "first light"

__author__ = "The taskq authors"
__contact__ = "taskq@example.org"
__homepage__ = "https://taskq.example.org"
__docformat__ = "markdown"

VERSION_BANNER = f"{__version__} ({SERIES})"


#: Public name -> module that defines it.
_EXPORTS = {
    "VERSION": "taskq.version",
    "version_info": "taskq.version",
    "version_info_t": "taskq.version",
    "TaskQ": "taskq.app.base",
    "Celery": "taskq.app.base",
    "Task": "taskq.app.task",
    "bugreport": "taskq.app",
    "shared_task": "taskq.app",
    "current_app": "taskq._state",
    "current_task": "taskq._state",
    "Signature": "taskq.canvas",
    "chain": "taskq.canvas",
    "chord": "taskq.canvas",
    "chunks": "taskq.canvas",
    "group": "taskq.canvas",
    "maybe_signature": "taskq.canvas",
    "signature": "taskq.canvas",
    "subtask": "taskq.canvas",
    "xmap": "taskq.canvas",
    "xstarmap": "taskq.canvas",
    "uuid": "taskq.utils",
}

#: Submodules that users reach as attributes without importing them.
_SUBMODULES = frozenset(
    {
        "_state",
        "app",
        "backends",
        "beat",
        "bootsteps",
        "canvas",
        "events",
        "exceptions",
        "execute",
        "loaders",
        "local",
        "log",
        "messaging",
        "platforms",
        "registry",
        "result",
        "schedules",
        "signals",
        "states",
        "utils",
        "worker",
    }
)

__all__ = [
    "SERIES",
    "VERSION",
    "VERSION_BANNER",
    "Celery",
    "Signature",
    "Task",
    "TaskQ",
    "__author__",
    "__contact__",
    "__docformat__",
    "__homepage__",
    "__version__",
    "bugreport",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_task",
    "group",
    "maybe_patch_concurrency",
    "maybe_signature",
    "shared_task",
    "signature",
    "subtask",
    "uuid",
    "version_info",
    "version_info_t",
    "xmap",
    "xstarmap",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    module = _EXPORTS.get(name)
    if module is not None:
        value = getattr(import_module(module), name)
        globals()[name] = value
        return value
    if name in _SUBMODULES:
        try:
            return import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as exc:
            if exc.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS, *_SUBMODULES})


def _find_option_with_arg(
    argv: list[str],
    short_opts: list[str] | None = None,
    long_opts: list[str] | None = None,
) -> str:
    """Return the value that follows the first of the given options in ``argv``.

    Raises KeyError when none of them is there.
    """
    for index, arg in enumerate(argv):
        if arg.startswith("-"):
            if long_opts and arg.startswith("--"):
                name, _, value = arg.partition("=")
                if name in long_opts:
                    return value or argv[index + 1]
            if short_opts and arg in short_opts:
                return argv[index + 1]
            if short_opts and not arg.startswith("--") and arg[:2] in short_opts:
                return arg[2:]
    raise KeyError("|".join([*(short_opts or []), *(long_opts or [])]))


def _patch_gevent() -> None:
    from gevent import monkey

    monkey.patch_all()


def _patch_eventlet() -> None:
    import eventlet

    eventlet.monkey_patch()


_GREEN_PATCHES = {"gevent": _patch_gevent, "eventlet": _patch_eventlet}


def maybe_patch_concurrency(
    argv: list[str] | None = None,
    short_opts: list[str] | None = None,
    long_opts: list[str] | None = None,
    patches: dict[str, Callable[[], None]] | None = None,
) -> None:
    """Patch the standard library early when a green pool is asked for on the command line.

    - argv: the command line, ``sys.argv`` when not given.
    - short_opts, long_opts: the options that name a pool, ``-P`` and ``--pool``.
    - patches: pool name -> function that patches.
    """
    try:
        pool = _find_option_with_arg(
            sys.argv if argv is None else argv,
            short_opts or ["-P"],
            long_opts or ["--pool"],
        )
    except (KeyError, IndexError):
        return
    patch = (patches or _GREEN_PATCHES).get(pool)
    if patch is not None:
        patch()


if os.environ.get("TASKQ_COMPAT", "").lower() in {"1", "true", "yes", "on"}:
    # Whoever starts this process wants `import celery` to give taskq. That room is above all
    # others, so it is looked up by name.
    from importlib import import_module as _import_module

    _import_module("taskq.compat").install()
