"""Heartbeats: events that say the worker is alive, with what it is doing."""

from __future__ import annotations

from typing import Any

from taskq.signals import heartbeat_sent
from taskq.utils.sysinfo import load_average
from taskq.worker.state import SOFTWARE_INFO, active_requests, all_total_count

__all__ = ("Heart",)


class Heart:
    """Sends ``worker-heartbeat`` on a timer.

    - timer: the worker's; eventer: its event dispatcher; interval: seconds, 2 by default.
    """

    def __init__(self, timer: Any, eventer: Any, interval: float | None = None) -> None:
        self.timer = timer
        self.eventer = eventer
        self.interval = float(interval or 2.0)
        self.tref: Any = None
        # Whoever turns events on learns of this worker at once.
        self.eventer.on_enabled.add(self.start)
        self.eventer.on_disabled.add(self.stop)
        self._send_sent_signal = heartbeat_sent.send if heartbeat_sent.receivers else None

    def _send(self, event: str, retry: bool = True) -> Any:
        if heartbeat_sent.receivers:
            heartbeat_sent.send(sender=self)
        return self.eventer.send(
            event,
            freq=self.interval,
            active=len(active_requests),
            processed=all_total_count[0],
            loadavg=load_average(),
            retry=retry,
            **SOFTWARE_INFO,
        )

    def start(self) -> None:
        """Say that the worker is there, and begin to beat."""
        if self.eventer.enabled:
            self._send("worker-online")
            self.tref = self.timer.call_repeatedly(self.interval, self._send, ("worker-heartbeat",))

    def stop(self) -> None:
        """Stop beating, and say that the worker is gone."""
        if self.tref is not None:
            self.timer.cancel(self.tref)
            self.tref = None
        if self.eventer.enabled:
            self._send("worker-offline", retry=False)
