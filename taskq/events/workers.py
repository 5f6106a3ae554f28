"""What is known of one worker from its events.

`Worker` is made and updated by `taskq.events.state.State`.
"""

from __future__ import annotations

import time
from bisect import insort
from collections.abc import Mapping
from typing import Any

from taskq.utils.log import get_logger

__all__ = ("Worker", "heartbeat_expires")

logger = get_logger("celery.events.state")

#: Seconds between the heartbeats of a worker that does not say.
DEFAULT_FREQ = 60
#: Percentage of the time between heartbeats after which a worker counts as offline.
HEARTBEAT_EXPIRE_WINDOW = 200
#: Seconds that sender and receiver of a heartbeat may differ in before that is logged.
HEARTBEAT_DRIFT_MAX = 16
#: Seconds between warnings about the clock of one worker.
DRIFT_WARNING_INTERVAL = 60.0

DRIFT_WARNING = (
    "Substantial drift from %s may mean clocks are out of sync.  Current drift is %s seconds.  "
    "[orig: %s recv: %s]"
)

R_WORKER = "<Worker: {0.hostname} ({0.status_string} clock:{0.clock})>"


def heartbeat_expires(
    timestamp: float, freq: float = DEFAULT_FREQ, expire_window: float = HEARTBEAT_EXPIRE_WINDOW
) -> float:
    """Return the time after which a worker counts as offline, in unix time.

    - timestamp: of its last heartbeat; freq: seconds between them.
    - expire_window: percentage of ``freq`` that may pass.
    """
    # Events may carry decimals, which do not mix with floats.
    return float(timestamp) + float(freq) * (float(expire_window) / 100.0)


class Worker:
    """A worker as its events tell of it.

    - hostname: node name; pid: of its main process; freq: seconds between heartbeats.
    - heartbeats: when the last ones were received, oldest first; clock: logical time.
    - active, processed: tasks being run, tasks run; loadavg: of its machine.
    - sw_ident, sw_ver, sw_sys: the software it runs.
    """

    #: How many heartbeats are remembered.
    heartbeat_max = 4
    expire_window = HEARTBEAT_EXPIRE_WINDOW

    _fields = (
        "hostname",
        "pid",
        "freq",
        "heartbeats",
        "clock",
        "active",
        "processed",
        "loadavg",
        "sw_ident",
        "sw_ver",
        "sw_sys",
    )
    #: Further fields of events are kept in ``__dict__``.
    __slots__ = (*_fields, "__dict__", "__weakref__")

    def __init__(
        self,
        hostname: str | None = None,
        pid: int | None = None,
        freq: float = DEFAULT_FREQ,
        heartbeats: list[float] | None = None,
        clock: int = 0,
        active: int | None = None,
        processed: int | None = None,
        loadavg: Any = None,
        sw_ident: str | None = None,
        sw_ver: str | None = None,
        sw_sys: str | None = None,
    ) -> None:
        self.hostname = hostname
        self.pid = pid
        self.freq: float | None = freq
        self.heartbeats = [] if heartbeats is None else heartbeats
        self.clock = clock or 0
        self.active = active
        self.processed = processed
        self.loadavg = loadavg
        self.sw_ident = sw_ident
        self.sw_ver = sw_ver
        self.sw_sys = sw_sys

    def event(
        self,
        type_: str | None,
        timestamp: float | None = None,
        local_received: float | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Take over what an event tells.

        - type_: the event's type without its group, None for an event about a task.
        - timestamp: when it was sent, in unix time of this machine; local_received: when it came.
        - fields: its fields.
        """
        for name, value in (fields or {}).items():
            if name not in _OWN:
                setattr(self, name, value)
        if type_ == "offline":
            self.heartbeats.clear()
        elif timestamp and local_received:
            self._beat(timestamp, local_received)

    def _beat(self, timestamp: float, local_received: float) -> None:
        drift = abs(int(local_received) - int(timestamp))
        if drift > HEARTBEAT_DRIFT_MAX:
            _warn_drift(str(self.hostname), drift, local_received, timestamp)
        beats = self.heartbeats
        if not beats or local_received > beats[-1]:
            beats.append(local_received)
        else:
            insort(beats, local_received)
        if len(beats) > self.heartbeat_max:
            del beats[0]

    def update(self, f: Mapping[str, Any], **kw: Any) -> None:
        """Set attributes."""
        for name, value in {**f, **kw}.items():
            setattr(self, name, value)

    @property
    def status_string(self) -> str:
        """``ONLINE`` or ``OFFLINE``."""
        return "ONLINE" if self.alive else "OFFLINE"

    @property
    def heartbeat_expires(self) -> float:
        """When the worker will count as offline, in unix time, without another heartbeat.

        Raises IndexError when there was none yet.
        """
        freq = DEFAULT_FREQ if self.freq is None else self.freq  # what a stranger sent
        return heartbeat_expires(self.heartbeats[-1], freq, self.expire_window)

    @property
    def alive(self) -> bool:
        """Whether a heartbeat came lately."""
        return bool(self.heartbeats) and time.time() < self.heartbeat_expires

    @property
    def id(self) -> str:
        """Node name and pid."""
        return f"{self.hostname}.{self.pid}"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Worker):
            return self.hostname == other.hostname
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.hostname)

    def __repr__(self) -> str:
        return R_WORKER.format(self)

    def __reduce__(self) -> Any:
        return type(self), tuple(getattr(self, name) for name in self._fields)


#: What no event may replace: it is ours, not the sender's.
_OWN = frozenset(
    {"heartbeats", "event", "update", "id", "alive", "status_string", "heartbeat_expires"}
    | {"expire_window", "heartbeat_max"}
)

_last_warned: dict[str, float] = {}


def _warn_drift(hostname: str, drift: float, local_received: float, timestamp: float) -> None:
    """Log that clocks differ, once in a while for each worker."""
    now = time.monotonic()
    last = _last_warned.get(hostname)
    if last is not None and now - last < DRIFT_WARNING_INTERVAL:
        return
    if len(_last_warned) > 1000:  # names of workers long gone
        _last_warned.clear()
    _last_warned[hostname] = now
    logger.warning(DRIFT_WARNING, hostname, drift, local_received, timestamp)
