"""Brings children up: slots and names, start-up time-outs, and patience when they die at birth.

The pool asks it for children; it asks :mod:`launch` for processes.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from taskq.concurrency.loop import PoolLoop
from taskq.concurrency.prefork import launch
from taskq.concurrency.prefork.channel import open_pair
from taskq.concurrency.prefork.child import ChildConfig
from taskq.concurrency.prefork.children import Child, State
from taskq.concurrency.prefork.forkserver import ForkServer
from taskq.concurrency.prefork.page import Page
from taskq.exceptions import ImproperlyConfigured
from taskq.utils.process import subreaper

logger = logging.getLogger(__name__)

#: Seconds of the first pause after children that died before they were ready; doubled each time.
FIRST_PAUSE = 0.1
#: Longest pause in seconds.
LONGEST_PAUSE = 10.0
#: Children in a row that may die before they are ready, per child of the pool, until the worker
#: gives up.
STILLBIRTHS_PER_CHILD = 3
#: The least number of them.
LEAST_STILLBIRTHS = 10
#: Children that took too long give the next ones twice as long, up to so many times: on a busy
#: machine none would ever come up otherwise.
MOST_PATIENCE = 16

NAME_PREFIXES = {
    "fork": "ForkPoolWorker",
    "spawn": "SpawnPoolWorker",
    "forkserver": "ForkServerPoolWorker",
}


@dataclass(frozen=True, slots=True)
class Upbringing:
    """What all children of a pool have in common."""

    start_method: str
    #: Dotted name of the executor.
    executor: str
    app: Any
    hostname: str | None
    max_tasks: int | None
    max_memory: int | None
    #: Seconds a child may take until it is ready; None for no limit.
    alive_timeout: float | None


def upbringing(
    app: Any, hostname: str | None, executor: str, options: Mapping[str, Any]
) -> Upbringing:
    """Return what the pool's options and the app's settings say about children.

    Raises:
        taskq.exceptions.ImproperlyConfigured: there is no such start method.
    """
    conf = app.conf if app is not None else {}
    method = options.get("start_method") or conf.get("worker_pool_start_method") or "fork"
    if method not in launch.START_METHODS:
        raise ImproperlyConfigured(
            f"worker_pool_start_method is {method!r}: use one of {', '.join(launch.START_METHODS)}"
        )
    if method == "forkserver" and not subreaper.AVAILABLE:
        raise ImproperlyConfigured(
            "worker_pool_start_method is 'forkserver', which works on Linux only: use 'spawn'"
        )
    return Upbringing(
        start_method=method,
        executor=executor,
        app=app,
        hostname=hostname,
        max_tasks=options.get("maxtasksperchild"),
        max_memory=options.get("max_memory_per_child"),
        alive_timeout=options.get("proc_alive_timeout") or conf.get("worker_proc_alive_timeout"),
    )


class StillbirthError(Exception):
    """So many children died while starting that going on makes no sense."""


class Nursery:
    """Starts children and watches over them until they are ready.

    Parameters:
        upbringing: what children are told.
        loop: for pauses and time-outs.
        children: the living ones by pid; new ones are added here.
        born: called with each new child, to watch its descriptors.
        kill: called with a child that took too long.
        disown: called in a forked child, to close what belongs to the main process.
        conceived: called before each child is started.
    """

    def __init__(
        self,
        upbringing: Upbringing,
        loop: PoolLoop,
        children: dict[int, Child],
        *,
        born: Callable[[Child], None],
        kill: Callable[[Child], None],
        disown: Callable[[], None],
        conceived: Callable[[], object],
    ) -> None:
        self._upbringing = upbringing
        self._loop = loop
        self._children = children
        self._born = born
        self._kill = kill
        self._disown = disown
        self._conceived = conceived
        self._numbers = count(1)
        self._stillbirths = 0
        self._wanted = 0
        self._pausing = False
        #: How many times the usual time a child may take.
        self._patience = 1
        self._server = ForkServer(partial(launch.start_fork_server, upbringing.app))

    def fill(self, wanted: int) -> None:
        """Start children until ``wanted`` are there that don't leave."""
        self._wanted = wanted
        if self._pausing:
            return
        for _ in range(wanted - self._staying()):
            self._start_one()

    def ready(self, child: Child) -> None:
        """Note that ``child`` came up."""
        self._stillbirths = 0
        child.state = State.UP

    def stillborn(self, child: Child, limit: int) -> None:
        """Note that ``child`` died before it was ready; the next ones are started after a pause.

        Parameters:
            limit: size of the pool.

        Raises:
            StillbirthError: too many have died in a row.
        """
        self._stillbirths += 1
        most = max(LEAST_STILLBIRTHS, limit * STILLBIRTHS_PER_CHILD)
        if self._stillbirths >= most:
            raise StillbirthError(
                f"{self._stillbirths} pool processes in a row died while starting (the last,"
                f" {child.name}, with exit status {child.exitcode}). The log above says why."
            )
        if not self._pausing:
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self._stillbirths - 1))
            self._pausing = True
            self._loop.call_later(pause, self._resume)

    def _resume(self) -> None:
        self._pausing = False
        self.fill(self._wanted)

    def stop(self) -> None:
        """Start no more children, until the next `fill`."""
        self._wanted = 0
        self._server.close()

    def renew(self) -> None:
        """Start the next children with the code of now."""
        self._server.close()

    def _staying(self) -> int:
        return sum(c.state in (State.STARTING, State.UP) for c in self._children.values())

    def _start_one(self) -> None:
        self._conceived()
        upbringing = self._upbringing
        index = self._free_index()
        name = f"{NAME_PREFIXES[upbringing.start_method]}-{next(self._numbers)}"
        main_end, child_end = open_pair()
        config = ChildConfig(
            index=index,
            name=name,
            main_pid=os.getpid(),
            executor=upbringing.executor,
            max_tasks=upbringing.max_tasks,
            max_memory=upbringing.max_memory,
            app=upbringing.app,
            hostname=upbringing.hostname,
        )
        if upbringing.start_method == "fork":
            child = Child(index, name, main_end, child_end, Page())

            def disown() -> None:
                main_end.close()
                self._disown()

            child.pid = launch.fork(config, child_end, child.page, disown)
        else:
            start = launch.spawn if upbringing.start_method == "spawn" else self._server.fork
            page_fd = launch.page_file()
            try:
                child = Child(index, name, main_end, child_end, Page(page_fd))
                child.pid = start(config, child_end, page_fd)
            finally:
                os.close(page_fd)
        child.spawned = time.monotonic()
        self._children[child.pid] = child
        self._born(child)
        if upbringing.alive_timeout:
            patience = self._patience
            self._loop.call_later(
                upbringing.alive_timeout * patience, lambda: self._check_up(child, patience)
            )

    def _check_up(self, child: Child, patience: int) -> None:
        if child.state is State.STARTING and child.exitcode is None:
            self._patience = max(self._patience, min(2 * patience, MOST_PATIENCE))
            logger.error(
                "%s pid:%d was not ready within %s seconds (worker_proc_alive_timeout):"
                " replacing it",
                child.name,
                child.pid,
                (self._upbringing.alive_timeout or 0) * patience,
            )
            self._kill(child)

    def _free_index(self) -> int:
        taken = {child.index for child in self._children.values()}
        return next(index for index in count() if index not in taken)
