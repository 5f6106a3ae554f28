"""The schedule file: a shelf whose pickles name Celery's classes, so that either can go on with it.

Used by `taskq.beat.persistent.PersistentScheduler`.
"""

from __future__ import annotations

import dbm
import glob
import importlib
import io
import os
import pickle
import shelve
import time
from collections.abc import Callable, MutableMapping
from typing import Any

from taskq.beat.entry import BeatLazyFunc, ScheduleEntry
from taskq.schedules import BaseSchedule, crontab, schedstate, schedule, solar

__all__ = ("SUFFIXES", "ScheduleShelf", "open_shelf", "set_aside")

#: What a database of one name may consist of, by the kinds of databases that Python knows.
SUFFIXES = ("", ".db", ".dat", ".bak", ".dir")

#: Classes that are in schedule files under the name that they have in Celery.
_SHARED = {
    ScheduleEntry: ("celery.beat", "ScheduleEntry"),
    BeatLazyFunc: ("celery.beat", "BeatLazyFunc"),
    BaseSchedule: ("celery.schedules", "BaseSchedule"),
    crontab: ("celery.schedules", "crontab"),
    schedstate: ("celery.schedules", "schedstate"),
    schedule: ("celery.schedules", "schedule"),
    solar: ("celery.schedules", "solar"),
}


class _Module:
    """Stands for a module in a pickle, which can hold none."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, (self.name,)


#: One for each name, so that a pickle has it once.
_MODULES = {name: _Module(name) for name, _ in _SHARED.values()}


def _ours(module: str) -> str:
    """Return the module of taskq for one of Celery."""
    return "taskq" + module.removeprefix("celery") if module.startswith("celery.") else module


def _import_ours(name: str) -> Any:
    return importlib.import_module(_ours(name))


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type) and obj in _SHARED:
            module, name = _SHARED[obj]
            return getattr, (_MODULES[module], name)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found: Callable[..., Any] = super().find_class(_ours(module), name)
        # Modules by way of `_Module`.
        return _import_ours if found is importlib.import_module else found


class ScheduleShelf(shelve.Shelf[Any]):
    """A shelf in a database file. Without a cache: what was read is not looked at again."""

    #: As Celery writes it; every Python that either runs on reads it.
    PROTOCOL = 4

    # Made by `shelve.Shelf`.
    dict: MutableMapping[bytes, bytes]
    keyencoding: str

    def __getitem__(self, key: str) -> Any:
        return _Unpickler(io.BytesIO(self.dict[key.encode(self.keyencoding)])).load()

    def __setitem__(self, key: str, value: Any) -> None:
        buffer = io.BytesIO()
        _Pickler(buffer, self.PROTOCOL).dump(value)
        self.dict[key.encode(self.keyencoding)] = buffer.getvalue()

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value."""
        return self[key] if key.encode(self.keyencoding) in self.dict else default


def open_shelf(path: str) -> ScheduleShelf:
    """Open the shelf, or make it. Raises `dbm.error` and OSError."""
    database: Any = dbm.open(path, "c")  # noqa: SIM115 - closed with the shelf
    return ScheduleShelf(database)


def set_aside(path: str) -> list[str]:
    """Rename the files of a database that cannot be read; return their new names."""
    stamp = time.strftime("%Y%m%dT%H%M%S")
    moved = []
    for name in (path + suffix for suffix in SUFFIXES):
        if os.path.isfile(name):
            target = _unused(f"{name}.unreadable-{stamp}")
            os.replace(name, target)
            moved.append(target)
    return moved


def _unused(path: str) -> str:
    count = len(glob.glob(glob.escape(path) + "*"))
    return f"{path}-{count}" if count else path
