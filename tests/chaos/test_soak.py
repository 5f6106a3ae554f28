"""The long haul: mixed tasks, failures, retries, ETAs, workflows and lost connections, for a while.

Seconds by default; ``TASKQ_SOAK`` sets the length (``TASKQ_SOAK=3600``). Memory of client, main
process and pool, keys, descriptors and processes are measured in each round and must not grow;
``soak.csv`` in the test's directory has the curve.
"""

from __future__ import annotations

import csv
import os
import random
import time

import pytest
from redis import Redis

from taskq import chord, group
from tests.chaos.test_storms import descriptors, memory
from tests.integration.project import wait_until

SECONDS = float(os.environ.get("TASKQ_SOAK", 8))
#: kB that the memory of a process may vary by between its first and last rounds.
ALLOWED = 6_000

CODE = """
@app.task(acks_late=True)
def add(x, y=1):
    return x + y

@app.task
def total(numbers):
    return sum(numbers)

@app.task
def fail():
    raise ValueError("on purpose")

@app.task(bind=True, max_retries=2)
def retry(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.01)
    return "at last"

@app.task
def large(text):
    return text
"""


@pytest.mark.timeout(int(SECONDS) * 2 + 120)
def test_nothing_grows(make_project, redis_url):
    project = make_project(
        CODE, broker=redis_url, backend=redis_url, conf={"result_expires": 3, "timezone": "UTC"}
    )
    proj, chance = project.proj, random.Random(7)
    rows = []
    with project.worker("-c", "2", "-E") as worker, Redis.from_url(redis_url) as server:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end or len(rows) < 4:
            work(proj, chance)
            server.client_kill_filter(_type="pubsub", skipme=True)
            if len(rows) % 3 == 2:
                server.client_kill_filter(_type="normal", skipme=True)
            rows.append(measure(worker, server))
        with (project.directory / "soak.csv").open("w") as out:
            writer = csv.DictWriter(out, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        first, last = rows[len(rows) // 3], rows[-1]
        for name in ("client", "main", "pool"):
            assert last[name] - first[name] < ALLOWED, rows
        assert last["descriptors"] <= first["descriptors"] + 4, rows
        assert len(worker.children()) == 2
        # An answer may be lost with a connection; the next question gets one.
        answers = wait_until(lambda: proj.app.control.inspect(timeout=2).active(), 30)
        assert list(answers.values()) == [[]]
        # What was stored expires, what was held was settled: only what is always there is left.
        try:
            wait_until(lambda: not unexpected(server), 30)
        except AssertionError:
            left = {key: server.ttl(key) for key in unexpected(server)}
            raise AssertionError(f"keys are left, with these seconds to live: {left}") from None
        assert server.zcard("unacked_index") == server.hlen("unacked") == 0


def work(proj, chance) -> None:
    """One round of everything."""
    number = chance.randrange(1000)
    results = [proj.add.delay(number, n) for n in range(30)]
    results.append((proj.add.s(number) | proj.add.s() | proj.add.s()).delay())
    results.append(chord(group(proj.add.s(n) for n in range(5)), proj.total.s()).delay())
    results.append(proj.add.apply_async((1,), countdown=0.2))
    results.append(proj.large.delay("x" * 200_000))
    results += [proj.retry.delay(), proj.fail.delay()]
    for result in results:
        result.get(timeout=60, propagate=False)


def measure(worker, server) -> dict[str, int]:
    """Return the sizes of what must not grow."""
    children = worker.children()
    return {
        "client": memory(os.getpid()),
        "main": memory(worker.pid),
        "pool": max(memory(pid) for pid in children),
        "descriptors": descriptors(worker.pid),
        "keys": server.dbsize(),
    }


def unexpected(server) -> list[bytes]:
    """Return the keys that should have gone: results, groups, chords.

    That a chord is over is remembered for some minutes, whatever ``result_expires`` says.
    """
    return [
        key
        for key in server.scan_iter(b"*")
        if key.startswith((b"celery-task", b"chord"))
        and not (key.endswith(b".c") and server.ttl(key) > 0)
    ]
