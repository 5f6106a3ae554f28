"""Makes a child known to billiard and multiprocessing as a pool process with a name and an index.

Log formats (``%(processName)s``, ``%i`` and ``%I`` in log file names) and process titles read it.
"""

from __future__ import annotations

import itertools
from importlib import import_module
from typing import Any

from taskq.utils.processes import set_process_index

#: Both libraries keep the current process in their own module of this shape.
LIBRARIES = ("multiprocessing", "billiard")


def become(name: str, index: int) -> None:
    """Make this process the pool process ``name`` in slot ``index`` (from 0).

    It is no daemon, so tasks may start processes of their own.
    """
    set_process_index(index)
    for library in LIBRARIES:
        module: Any = import_module(f"{library}.process")
        process_class = module.BaseProcess
        process = process_class(name=name)
        process.index = index
        process._config.pop("daemon", None)
        module._current_process = process
        module._process_counter = itertools.count(1)
        module._children = set()
        util: Any = import_module(f"{library}.util")
        util._finalizer_registry.clear()
        util._run_after_forkers()


def leave() -> None:
    """Run what both libraries run when a process ends: finalizers, joining of its own children."""
    for library in LIBRARIES:
        util: Any = import_module(f"{library}.util")
        util._exit_function()
