"""Giving back what dead consumers held: anyone may bury anyone.

The keeper does it every second; declaring a queue does it too, so that the consumers it counts
are alive.
"""

from __future__ import annotations

import time
from collections.abc import Set

from kombu.log import get_logger

from taskq.transport.sqlite import process
from taskq.transport.sqlite.bell import messages_bell, ring
from taskq.transport.sqlite.database import Database
from taskq.transport.sqlite.owner import SQL as OWNERS
from taskq.transport.sqlite.owner import release
from taskq.transport.sqlite.routing import drop_unused_queues

__all__ = ("bury_ended", "bury_silent", "release_orphans")

logger = get_logger(__name__)

I_RELEASED = "Gave %d message(s) of dead consumer %s (pid %s on %s) back to their queues."


def bury_ended(database: Database) -> None:
    """Bury consumers whose process is known to have ended."""
    for owner_id, expires_at, _, pid, started, scope, host in database.read(OWNERS["all"]):
        if process.is_dead(pid, started, scope):
            _bury(database, owner_id, expires_at, pid, host)


def bury_silent(database: Database, mine: Set[int]) -> None:
    """Bury consumers whose lease ran out.

    Parameters:
        database: the database.
        mine: ids of owners of this process, which it knows to be alive.
    """
    now = time.monotonic()
    for owner_id, expires_at, lease, pid, _, _, host in database.read(OWNERS["all"]):
        # The monotonic clock starts anew at boot: a lease that runs for longer than a lease may
        # was given before that.
        if owner_id not in mine and not now <= expires_at <= now + lease:
            _bury(database, owner_id, expires_at, pid, host)


def release_orphans(database: Database) -> None:
    """Give back messages that were claimed by an owner that has no row."""
    for (owner_id,) in database.read(OWNERS["orphans"]):
        with database.transaction() as connection:
            if not connection.execute(OWNERS["exists"], (owner_id,)).fetchone():
                release(connection, owner_id, failed=True)
        ring(database, messages_bell(database))


def _bury(database: Database, owner_id: int, expires_at: float, pid: int, host: str) -> None:
    """Give back what the owner held, unless it has just shown that it lives."""
    with database.transaction() as connection:
        if not connection.execute(OWNERS["remove"], (owner_id, expires_at)).rowcount:
            return
        queues = [row[0] for row in connection.execute(OWNERS["consumed_queues"], (owner_id,))]
        connection.execute(OWNERS["remove_consumers"], (owner_id,))
        count = release(connection, owner_id, failed=True)
        drop_unused_queues(connection, queues, time.time(), disconnected=True)
    if count:
        logger.info(I_RELEASED, count, owner_id, pid, host)
        ring(database, messages_bell(database))
