"""The main process's record of one child.

Made by the nursery, filled by the dispatcher and the outcome reader, ended by the reaper.
"""

from __future__ import annotations

import enum
import os
import socket
from collections import deque
from dataclasses import dataclass

from taskq.concurrency.jobs import Job
from taskq.concurrency.prefork.page import Page

#: "No deadline", as a monotonic time.
NEVER = float("inf")


class State(enum.Enum):
    """Where a child is in its life."""

    #: Forked, not yet initialised.
    STARTING = enum.auto()
    #: Takes tasks.
    UP = enum.auto()
    #: Gets no more tasks; finishes what it has begun and exits.
    LEAVING = enum.auto()
    #: Gone and cleaned up.
    DEAD = enum.auto()


@dataclass(frozen=True, slots=True)
class Doom:
    """Why the main process is killing a child."""

    #: The task the child is killed for.
    seq: int
    #: The signal that was asked for.
    signum: int
    #: Whether the job is not told: the broker delivers it again.
    silent: bool = False


class Child:
    """One child process and the tasks that were written to it."""

    __slots__ = (
        "doom",
        "exitcode",
        "files",
        "fragments",
        "hard_at",
        "head_started",
        "index",
        "load",
        "main_end",
        "name",
        "open_at",
        "page",
        "peer_end",
        "pid",
        "pidfd",
        "queue",
        "soft_at",
        "spawned",
        "state",
        "window",
    )

    def __init__(
        self,
        index: int,
        name: str,
        main_end: socket.socket,
        peer_end: socket.socket,
        page: Page,
    ) -> None:
        #: Slot number from 0, free again after the child's death.
        self.index = index
        #: Process name, ``ForkPoolWorker-3``.
        self.name = name
        self.main_end = main_end
        #: The child's own end of the pair: unread tasks are taken back through it.
        self.peer_end = peer_end
        self.page = page
        self.pid = 0
        #: Readable when the process is dead.
        self.pidfd = -1
        self.state = State.STARTING
        #: Monotonic time of the fork.
        self.spawned = 0.0
        #: ``(seq, job)`` written and without outcome; the first is the one that runs.
        self.queue: deque[tuple[int, Job]] = deque()
        #: Files that hold large bodies of queued jobs, by number.
        self.files: dict[int, int] = {}
        #: Number of jobs in the queue or chosen for it.
        self.load = 0
        #: How many jobs may be in the queue beyond the first; depends on how short that one is.
        self.window = 0
        #: The load under which the dispatcher finds it for one more job; -1 when it takes none.
        self.open_at = -1
        #: Pieces of a large outcome that is still arriving.
        self.fragments: list[bytes] = []
        #: Unix time at which the head of the queue began.
        self.head_started = 0.0
        #: Monotonic times at which the head's limits are hit.
        self.soft_at = NEVER
        self.hard_at = NEVER
        self.doom: Doom | None = None
        #: Known when the process was reaped: exit status, or minus the signal that killed it.
        self.exitcode: int | None = None

    def __repr__(self) -> str:
        return f"<{self.name} pid={self.pid} {self.state.name} load={self.load}>"

    def close(self) -> None:
        """Close everything the main process holds for this child."""
        self.main_end.close()
        self.peer_end.close()
        self.page.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
