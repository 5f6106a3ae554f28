"""One thread per process and file that keeps the leases of its consumers and buries the dead.

It runs beside the event loop, because a consumer may be busy for longer than its lease (the solo
pool runs tasks in the loop's thread) without being dead. Every second it

1. renews the leases of this process's owners, when a third of the lease has passed;
2. gives back what dead owners held: those whose lease ran out, and at once those whose process
   is known to have ended;
3. every few seconds, deletes expired queues and messages.
"""

from __future__ import annotations

import threading
import time
from weakref import ref

from kombu.log import get_logger

from taskq.transport.sqlite import forking
from taskq.transport.sqlite.database import Database
from taskq.transport.sqlite.errors import DatabaseError
from taskq.transport.sqlite.options import Options
from taskq.transport.sqlite.owner import SQL as OWNERS
from taskq.transport.sqlite.owner import Owner
from taskq.transport.sqlite.publishing import SQL as MESSAGES
from taskq.transport.sqlite.reaper import bury_ended, bury_silent, release_orphans
from taskq.transport.sqlite.routing import SQL as ROUTING
from taskq.transport.sqlite.routing import drop_queue

__all__ = ("Keeper", "keeper_of")

logger = get_logger(__name__)

#: Longest pause (seconds) between two looks at the owners.
LOOK_INTERVAL = 1.0
#: So many intervals between two looks mean that this process or the machine did not get on.
LATE = 3
#: Seconds between two sweeps for expired queues and messages and for orphaned claims.
SWEEP_INTERVAL = 5.0
#: Most expired messages that one transaction deletes.
SWEEP_LIMIT = 1000
#: Seconds for which a deleted temporary queue is remembered, so that nothing is stored for it.
BURIAL_TIME = 86400.0


class Keeper:
    """Keeps the leases of this process's owners in one database file.

    Parameters:

    - `options`: the file; the connection is the keeper's own.
    """

    def __init__(self, options: Options) -> None:
        self._database = Database(options, forgiving=True)
        self._interval = min(LOOK_INTERVAL, options.lease / 5)
        self._owners: dict[int, ref[Owner]] = {}
        self._thread: threading.Thread | None = None
        self._next_renewal = 0.0
        self._next_sweep = 0.0
        self._lease = options.lease
        self._looked = 0.0
        #: Monotonic time before which nobody is buried for being silent.
        self._judge_after = 0.0

    def watch(self, owner: Owner) -> None:
        """Renew the lease of `owner` from now on, for as long as the object lives."""
        self._owners[id(owner)] = ref(owner)
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="taskq-sqlite-keeper", daemon=True
            )
            self._thread.start()

    def unwatch(self, owner: Owner) -> None:
        """Let the lease of `owner` run out."""
        self._owners.pop(id(owner), None)

    def look(self) -> None:
        """Do now what is due; the thread does this every second."""
        now = time.monotonic()
        if now >= self._next_renewal:
            self._renew(now)
        bury_ended(self._database)
        if self._looked and now - self._looked > LATE * self._interval:
            # We were starved or stopped, and others with us: give them time to renew.
            self._judge_after = now + self._lease
        self._looked = now
        if now >= self._judge_after:
            bury_silent(self._database, {owner.id for owner in self._living_owners()})
        if now >= self._next_sweep:
            self._next_sweep = now + SWEEP_INTERVAL
            self._sweep()

    def has_owners(self) -> bool:
        """Tell whether there is any lease left to keep."""
        for key, reference in list(self._owners.items()):
            if reference() is None:
                # A channel that was dropped without being closed.
                self._owners.pop(key, None)
        return bool(self._owners)

    def _living_owners(self) -> list[Owner]:
        owners = [reference() for reference in list(self._owners.values())]
        return [
            owner
            for owner in owners
            if owner is not None and owner.id and owner.file_id == self._database.file_id
        ]

    def _run(self) -> None:
        while True:
            time.sleep(self._interval)
            if not self.has_owners():
                # Starts again with the next owner; until then nothing is left open.
                if _registry.retire(self):
                    self._database.close()
                    return
                continue
            try:
                self.look()
            except DatabaseError as exc:
                # The consumer meets the same error in its own thread and acts on it there.
                logger.warning("Cannot renew leases, trying again: %s", exc)

    def _renew(self, now: float) -> None:
        owners = self._living_owners()
        for reference in list(self._owners.values()):
            owner = reference()
            moved = owner is not None and owner.file_id != self._database.file_id
            if owner is not None and moved and self._database.file_id:
                owner.renewed(now)  # its messages went with their file, to nobody
        if not owners:
            return
        with self._database.transaction() as connection:
            kept = [
                owner
                for owner in owners
                if connection.execute(OWNERS["renew"], (owner.id, now + owner.lease)).rowcount
            ]
        for owner in owners:
            if owner in kept:
                owner.renewed(now)
            else:
                owner.is_gone()
        self._next_renewal = now + min(owner.lease for owner in owners) / 3

    def _sweep(self) -> None:
        now = time.time()
        database = self._database
        release_orphans(database)
        for (queue,) in database.read(ROUTING["expired_queues"], (now,)):
            with database.transaction() as connection:
                if (queue,) in connection.execute(ROUTING["expired_queues"], (now,)).fetchall():
                    drop_queue(connection, queue, now)
        if database.read(MESSAGES["has_expired"], (now,)):
            database.write(MESSAGES["expire"], (now, SWEEP_LIMIT))
        if database.read(ROUTING["has_buried"], (now - BURIAL_TIME,)):
            database.write(ROUTING["forget_buried"], (now - BURIAL_TIME,))


class _Registry:
    """The keepers of this process by file."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keepers: dict[str, Keeper] = {}
        forking.register(self)

    def get(self, options: Options, owner: Owner) -> Keeper:
        with self._lock:
            keeper = self._keepers.get(options.path)
            if keeper is None:
                keeper = self._keepers[options.path] = Keeper(options)
            keeper.watch(owner)
            return keeper

    def retire(self, keeper: Keeper) -> bool:
        """Forget a keeper unless it was given an owner in this very moment."""
        with self._lock:
            if keeper.has_owners():
                return False
            for path, other in list(self._keepers.items()):
                if other is keeper:
                    del self._keepers[path]
            return True

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Threads do not follow into a child; it makes keepers of its own."""
        self._lock = threading.Lock()
        self._keepers = {}


_registry = _Registry()


def keeper_of(options: Options, owner: Owner) -> Keeper:
    """Return this process's keeper for the file, and have it keep the lease of `owner`."""
    return _registry.get(options, owner)
