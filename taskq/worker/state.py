"""What the worker process knows of its tasks: which are held, run and done, which are revoked.

Strategy and request write here, remote control reads it. It is global: one worker per process.
"""

from __future__ import annotations

import os
import platform
import shelve
import sys
import weakref
import zlib
from collections import Counter
from functools import cached_property
from typing import Any

from kombu.serialization import pickle, pickle_protocol

from taskq import CELERY_COMPAT
from taskq.exceptions import WorkerShutdown, WorkerTerminate
from taskq.utils.collections import LimitedSet

__all__ = (
    "SOFTWARE_INFO",
    "Persistent",
    "active_requests",
    "maybe_shutdown",
    "merge_revoked",
    "reserved_requests",
    "revoked",
    "scheduled_requests",
    "task_accepted",
    "task_ready",
    "task_reserved",
    "task_scheduled",
    "total_count",
)


def _env_number(name: str, default: float) -> float:
    """Return a limit from ``TASKQ_…`` or ``CELERY_…`` in the environment."""
    for prefix in ("TASKQ", "CELERY"):
        text = os.environ.get(f"{prefix}_{name}")
        if text is not None:
            try:
                return float(text)
            except ValueError:
                raise ValueError(f"{prefix}_{name} must be a number, not {text!r}") from None
    return default


#: Sent with the worker's events, so monitors know whom they hear.
SOFTWARE_INFO = {"sw_ident": "py-celery", "sw_ver": CELERY_COMPAT, "sw_sys": platform.system()}

#: Number of revoked ids to remember.
REVOKES_MAX = int(_env_number("WORKER_REVOKES_MAX", 50000))
#: Number of succeeded ids to remember.
SUCCESSFUL_MAX = int(_env_number("WORKER_SUCCESSFUL_MAX", 1000))
#: Seconds to remember a revoked id for.
REVOKE_EXPIRES = _env_number("WORKER_REVOKE_EXPIRES", 10800)
#: Seconds to remember a succeeded id for.
SUCCESSFUL_EXPIRES = _env_number("WORKER_SUCCESSFUL_EXPIRES", 10800)

#: Every request held: id -> request.
requests: dict[str, Any] = {}
#: Requests received and not finished.
reserved_requests: weakref.WeakSet[Any] = weakref.WeakSet()
#: Requests being run.
active_requests: weakref.WeakSet[Any] = weakref.WeakSet()
#: Requests waiting for their ETA.
scheduled_requests: weakref.WeakSet[Any] = weakref.WeakSet()
#: Ids that succeeded lately.
successful_requests = LimitedSet(maxlen=SUCCESSFUL_MAX, expires=SUCCESSFUL_EXPIRES)
#: Tasks accepted since the start, by name.
total_count: Counter[str] = Counter()
#: Tasks accepted since the start, in one number.
all_total_count = [0]
#: Ids that must not run.
revoked = LimitedSet(maxlen=REVOKES_MAX, expires=REVOKE_EXPIRES)
#: Stamped header -> values whose tasks must not run.
revoked_stamps: dict[str, Any] = {}

#: Set to an exit code (or True) when the worker is to stop.
should_stop: Any = None
#: Set likewise when it is to terminate.
should_terminate: Any = None


def merge_revoked(task_ids: Any) -> None:
    """Add ids to the revoked ones."""
    revoked.update(task_ids)


def reset_state() -> None:
    """Forget everything, as for a new worker."""
    requests.clear()
    reserved_requests.clear()
    active_requests.clear()
    scheduled_requests.clear()
    successful_requests.clear()
    total_count.clear()
    all_total_count[:] = [0]
    revoked.clear()
    revoked_stamps.clear()


def maybe_shutdown() -> None:
    """Raise WorkerTerminate or WorkerShutdown when one is asked for."""
    if should_terminate is not None and should_terminate is not False:
        raise WorkerTerminate(should_terminate)
    if should_stop is not None and should_stop is not False:
        raise WorkerShutdown(should_stop)


def task_reserved(request: Any) -> None:
    """A request was received and is held."""
    requests[request.id] = request
    reserved_requests.add(request)
    scheduled_requests.discard(request)


def task_scheduled(request: Any) -> None:
    """A request waits for its ETA."""
    requests[request.id] = request
    scheduled_requests.add(request)


def task_accepted(request: Any) -> None:
    """A request started to run."""
    requests[request.id] = request
    active_requests.add(request)
    total_count[request.name] += 1
    all_total_count[0] += 1


def task_ready(request: Any, successful: bool = False) -> None:
    """A request is finished."""
    if successful:
        successful_requests.add(request.id)
    requests.pop(request.id, None)
    active_requests.discard(request)
    reserved_requests.discard(request)
    scheduled_requests.discard(request)


class Persistent:
    """Keeps revoked ids and the logical clock in a file between runs (``--statedb``).

    - state: this module.
    - filename: of the database.
    - clock: the app's logical clock.
    """

    storage = shelve
    protocol = pickle_protocol
    compress = staticmethod(zlib.compress)
    decompress = staticmethod(zlib.decompress)
    _is_open = False

    def __init__(self, state: Any, filename: str, clock: Any = None) -> None:
        self.state = state
        self.filename = filename
        self.clock = clock
        self.merge()

    def open(self) -> Any:
        """Open the database."""
        return self.storage.open(self.filename, protocol=self.protocol, writeback=True)

    def merge(self) -> None:
        """Add what the file knows to the state."""
        self._merge_with(self.db)

    def sync(self) -> None:
        """Write the state to the file."""
        self._sync_with(self.db)
        self.db.sync()

    def close(self) -> None:
        """Close the file."""
        if self._is_open:
            self.db.close()
            self._is_open = False

    def save(self) -> None:
        """Write the state and close the file."""
        self.sync()
        self.close()

    def _merge_with(self, d: Any) -> Any:
        self._merge_revoked(d)
        self._merge_clock(d)
        return d

    def _sync_with(self, d: Any) -> Any:
        self._revoked_tasks.purge()
        d.update(
            __proto__=3,
            zrevoked=self.compress(self._dumps(self._revoked_tasks)),
            clock=self.clock.forward() if self.clock else 0,
        )
        return d

    def _merge_clock(self, d: Any) -> None:
        if self.clock:
            d["clock"] = self.clock.adjust(d.get("clock") or 0)

    def _merge_revoked(self, d: Any) -> None:
        packed = d.get("zrevoked")
        if packed:
            self._revoked_tasks.update(pickle.loads(self.decompress(packed)))
        elif d.get("revoked"):
            self._revoked_tasks.update(d["revoked"])
        # An id that was revoked in the meantime may be among those.
        self._revoked_tasks.purge()

    def _dumps(self, obj: Any) -> bytes:
        return bytes(pickle.dumps(obj, protocol=self.protocol))

    @property
    def _revoked_tasks(self) -> Any:
        return self.state.revoked

    @cached_property
    def db(self) -> Any:
        """The open database."""
        self._is_open = True
        return self.open()


def this_module() -> Any:
    """Return this module, what `Persistent` keeps."""
    return sys.modules[__name__]
