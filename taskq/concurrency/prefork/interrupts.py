"""The signals that may interrupt a task in a child, and nothing but the task they are meant for.

Installed by the child at its start, and again after the process initializer has reset signals.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from types import FrameType

from billiard.exceptions import SoftTimeLimitExceeded

from taskq.concurrency.executors import Executor
from taskq.concurrency.prefork.page import ANY_TASK, SOFT_LIMIT, TERMINATE, Page

#: Signals that end a task by an exception inside it, so that its cleanup runs.
POLITE_SIGNALS = frozenset({signal.SIGTERM, signal.SIGQUIT})


class Interrupts:
    """Handlers of SIGUSR1 (soft time limit) and of SIGTERM and SIGQUIT (terminate).

    All look into the shared page for the task that is meant. A signal that is meant for no task
    of this process, sent by a service manager or a terminal to the whole group for example, is
    ignored: the main process decides when its children end.

    Parameters:
        page: shared with the main process.
    """

    def __init__(self, page: Page) -> None:
        self._slots = page.slots
        self._executor: Executor | None = None
        #: The task that is being executed, 0 when none is.
        self.running = 0
        #: The signal by which the running task was told to end, 0 for none. Whatever such a task
        #: returns is not reported.
        self.ending = 0

    def install(self) -> None:
        """Take the signals over, and drop every other handler inherited from the main process."""
        signal.set_wakeup_fd(-1)
        for signum in signal.valid_signals():
            if callable(signal.getsignal(signum)):
                signal.signal(signum, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, self._on_soft_limit)
        for signum in POLITE_SIGNALS:
            signal.signal(signum, self._on_terminate)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED_IN_FORK)

    def watch(self, executor: Executor) -> None:
        """Interrupt tasks from now on, where the executor says that it is safe."""
        self._executor = executor

    def die_if_told(self) -> None:
        """End this process by the signal that ended its task: the main process sees what it was."""
        if self.ending:
            signal.signal(self.ending, signal.SIG_DFL)
            os.kill(os.getpid(), self.ending)

    def _on_soft_limit(self, signum: int, frame: FrameType | None) -> None:
        slots, seq, executor = self._slots, self.running, self._executor
        if seq and slots[SOFT_LIMIT] == seq and executor is not None and executor.in_user_code():
            slots[SOFT_LIMIT] = 0
            if not executor.interrupt_coroutine(SoftTimeLimitExceeded()):
                raise SoftTimeLimitExceeded

    def _on_terminate(self, signum: int, frame: FrameType | None) -> None:
        seq, executor = self.running, self._executor
        if not seq or self.ending or executor is None:
            return
        if self._slots[TERMINATE] in (seq, ANY_TASK) and executor.in_user_code():
            self.ending = signum
            # A coroutine that waits is cancelled; one that doesn't is interrupted like a function.
            if not executor.cancel_coroutine():
                raise SystemExit(128 + signum)


def _blockable() -> Iterable[int]:
    return signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


#: Signals held back between the fork and the moment the child has its own handlers.
BLOCKED_IN_FORK = frozenset(_blockable())
