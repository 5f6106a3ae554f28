"""Tells systemd that the worker is ready, that it still lives, and that it stops.

A step of a worker that was started by a unit of ``Type=notify``. A thread of its own speaks, so
that a loop that has stopped turning lets the unit's watchdog (``WatchdogSec=``) bark. While the
broker is away the unit goes on starting, or stays up: it does not fail.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from taskq.utils.log import get_logger
from taskq.utils.process.notify import expected, notify, watchdog_seconds
from taskq.worker.liveness import LivenessStep

logger = get_logger("celery.worker")

#: Seconds between two looks at whether the worker has become ready.
LOOK = 0.2
#: Seconds by which the time to start is prolonged while the broker is waited for, and how often.
MORE_TIME, MORE_TIME_EVERY = 30, 10.0


class SystemdNotifier(LivenessStep):
    """Speaks to the service manager while the worker runs."""

    label = "Systemd"

    def __init__(self, w: Any, **kwargs: Any) -> None:
        self.enabled = expected()
        self._watchdog = watchdog_seconds()
        if self._watchdog:
            # A loop that is stuck must be seen before the watchdog's time is over.
            self.stuck_after = min(self.stuck_after, self._watchdog / 2)
        self._stopped = threading.Event()
        super().__init__(w, **kwargs)

    def start(self, w: Any) -> None:
        """Begin to speak. Raises OSError when there is nobody at the socket."""
        notify(STATUS="connecting to the broker")
        threading.Thread(target=self._speak, name="taskq-systemd", daemon=True).start()

    def stop(self, w: Any) -> None:
        """Say that the worker stops, or that it starts again."""
        self._stopped.set()
        if getattr(w, "restart_requested", False):
            notify(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
        else:
            notify(STOPPING=1, STATUS="stopping")

    def terminate(self, parent: Any) -> None:
        """As `stop`."""
        self.stop(parent)

    def _speak(self) -> None:
        try:
            self._until_ready()
            self._while_running()
        except OSError as exc:
            logger.error("systemd can't be told that this worker lives: %s", exc)

    def _until_ready(self) -> None:
        more_time_at = time.monotonic()
        while not self.ready() and not self._stopped.wait(LOOK):
            if time.monotonic() >= more_time_at:
                notify(EXTEND_TIMEOUT_USEC=MORE_TIME * 1_000_000)
                more_time_at = time.monotonic() + MORE_TIME_EVERY
        if not self._stopped.is_set():
            notify(READY=1, STATUS="consuming")

    def _while_running(self) -> None:
        if not self._watchdog:
            return
        while not self._stopped.wait(self._watchdog / 4):
            if self.live():
                notify(WATCHDOG=1)
