"""The leader of several beats is killed while 50 entries fire every second: each time is sent once.

A short form runs always; ``TASKQ_CHAOS=long`` kills 20 leaders on each store.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.beat_support import kill
from tests.integration.leader_support import (
    RECORDING,
    assert_each_time_was_sent_once,
    beats,
    forget_stored_schedules,
    last_runs,
    leader,
)
from tests.integration.project import Project, wait_until

KILLS = 20 if os.environ.get("TASKQ_CHAOS") == "long" else 1
ENTRIES = 50
#: Seconds.
LEASE = 1.0

#: All missed times are sent: by default one is for all of them, if a busy machine is so late.
CODE = f"""{RECORDING}
app.conf.beat_leader_name = app.conf.task_default_queue  # databases are shared by tests
app.conf.beat_schedule = {{
    f"e{{number}}": {{"task": "t", "schedule": 1.0, "args": (number,), "catch_up": "all"}}
    for number in range({ENTRIES})
}}
"""

#: Name -> broker, backend, database of the schedules.
STORES = {
    "sqlite": ("sqlite_url", None, None),
    "redis": ("redis_url", None, None),
    # The schedules and their last runs in PostgreSQL, the lease in Redis.
    "postgres": ("redis_url", None, "postgres_url"),
    # The lease in PostgreSQL. RabbitMQ takes no part in its transactions.
    "postgres-lease": ("amqp_url", "postgres_url", None),
}


@pytest.mark.timeout(120 + 30 * KILLS)
@pytest.mark.parametrize("store", STORES)
def test_no_due_time_is_lost_or_doubled_while_leaders_are_killed(
    make_project: Callable[..., Project], request: pytest.FixtureRequest, store: str
) -> None:
    broker, backend, database = (name and request.getfixturevalue(name) for name in STORES[store])
    conf: dict[str, Any] = {"beat_leader_lease": LEASE, "result_expires": None}
    if database:
        conf |= {"beat_scheduler": "database", "beat_schedule_database": database}
    project = make_project(CODE, broker=broker, backend=backend and f"db+{backend}", conf=conf)
    if database:
        forget_stored_schedules(project)
    start = beats(project)
    alive = [start(), start()]
    leading = leader(*alive)
    wait_until(lambda: len(last_runs(project)) == ENTRIES, 60)
    since = last_runs(project)
    takeovers = []
    for number in range(KILLS):
        standby = next(beat for beat in alive if beat is not leading)
        standby.wait_for_log("standing by", 60)
        # At every phase of the second, in the middle of sending too.
        time.sleep(1.5 + (number % 7) / 7)
        kill(leading)
        killed_at = time.monotonic()
        leading = leader(standby)
        takeovers.append(time.monotonic() - killed_at)
        alive = [standby, start()]
    time.sleep(2.5)
    for beat in alive:
        beat.stop(signal.SIGTERM)
    print(f"takeovers: {[round(seconds, 2) for seconds in takeovers]} seconds")
    assert_each_time_was_sent_once(project, since)
