"""The long haul: mixed tasks, failures, retries, ETAs, workflows and lost connections, for a while.

Seconds by default; ``TASKQ_SOAK`` sets the length (``TASKQ_SOAK=3600``) and brings RabbitMQ in.
Memory of client, main process, pool and beat, keys, descriptors and processes are measured in each
round and must not grow; ``soak.csv`` in the test's directory has the curve.
"""

from __future__ import annotations

import csv
import os
import random
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
from redis import Redis

from taskq import chord, group
from tests.chaos.proxy import Proxy
from tests.chaos.test_storms import descriptors, memory
from tests.integration.project import wait_until

SECONDS = float(os.environ.get("TASKQ_SOAK", 8))
BROKERS = ("redis", "amqp") if "TASKQ_SOAK" in os.environ else ("redis",)
#: Seconds after which results expire: long enough for a client that reads them one by one, on a
#: machine that is busy for a while.
EXPIRES = 30 if "TASKQ_SOAK" in os.environ else 3
#: What Redis gives as the seconds to live of a key that stays; 0 are those of one about to go.
NEVER = -1
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
@pytest.mark.parametrize("broker", BROKERS)
def test_nothing_grows(make_project, request, redis_url, broker):
    url = redis_url if broker == "redis" else request.getfixturevalue("amqp_url")
    with ExitStack() as stack:
        server = stack.enter_context(Redis.from_url(redis_url))
        network = Network(broker, url, server)
        stack.callback(network.close)
        schedule = {"often": {"task": "proj.add", "schedule": 0.1, "args": (1, 1)}}
        project = make_project(
            CODE,
            broker=network.url,
            backend=redis_url,
            conf={"result_expires": EXPIRES, "timezone": "UTC", "beat_schedule": schedule},
        )
        worker = stack.enter_context(project.worker("-c", "2", "-E"))
        log = stack.enter_context((project.directory / "beat.log").open("wb"))
        beat = project.start("beat", "-l", "INFO", "-s", "schedule", "--pidfile=", stdout=log)
        wait_until(lambda: b"Sending due task" in (project.directory / "beat.log").read_bytes())
        rows = soak(project, worker, beat, network, server)
        beat.terminate()
        assert beat.wait(20) == 0
        assert_nothing_grew(rows)
        assert len(worker.children()) == 2
        # An answer may be lost with a connection; the next question gets one.
        control = project.proj.app.control
        wait_until(lambda: list((control.inspect(timeout=2).active() or {}).values()) == [[]], 30)
        # What was stored expires, what was held was settled: only what is always there is left.
        try:
            wait_until(lambda: not unexpected(server), EXPIRES + 30)
        except AssertionError:
            left = {key: server.ttl(key) for key in unexpected(server)}
            raise AssertionError(f"keys are left, with these seconds to live: {left}") from None
        wait_until(lambda: server.zcard("unacked_index") == server.hlen("unacked") == 0, 10)


def soak(project, worker, beat, network, server) -> list[dict[str, int]]:
    """Work until the time is up; write the sizes after each round down, and return them."""
    chance = random.Random(7)
    rows: list[dict[str, int]] = []
    begin = time.monotonic()
    with (project.directory / "soak.csv").open("w", buffering=1) as out:
        writer = csv.writer(out)
        while (seconds := time.monotonic() - begin) < SECONDS or len(rows) < 4:
            work(project.proj, chance)
            network.shake(hard=len(rows) % 3 == 2)
            rows.append({"seconds": round(seconds), **measure(worker, beat, server)})
            if len(rows) == 1:
                writer.writerow(rows[0])
            writer.writerow(rows[-1].values())
    return rows


def assert_nothing_grew(rows: list[dict[str, int]]) -> None:
    third = len(rows) // 3
    first, last = rows[third], rows[-1]
    for name in ("client", "main", "pool", "beat"):
        assert last[name] - first[name] < ALLOWED, [row[name] for row in rows]
    for name in ("descriptors", "beat_descriptors"):
        # Some connections are open now and then only.
        early, late = (
            max(row[name] for row in part) for part in (rows[: third + 1], rows[-third:])
        )
        assert late <= early + 4, [row[name] for row in rows]


class Network:
    """The connections to the broker, which break now and then: all of them, also beat's."""

    def __init__(self, broker: str, url: str, server: Redis) -> None:
        self._server = server
        self._proxy: Proxy | None = None
        self.url = url
        if broker == "amqp":
            parts = urlsplit(url)
            self._proxy = Proxy((str(parts.hostname), parts.port or 5672))
            self.url = f"amqp://guest:guest@127.0.0.1:{self._proxy.port}{parts.path}"

    def shake(self, *, hard: bool) -> None:
        """Break connections; those that tasks come over only now and then."""
        self._server.client_kill_filter(_type="pubsub", skipme=True)
        if hard:
            self._server.client_kill_filter(_type="normal", skipme=True)
            if self._proxy is not None:
                self._proxy.cut()

    def close(self) -> None:
        if self._proxy is not None:
            self._proxy.close()


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


def measure(worker, beat, server) -> dict[str, int]:
    """Return the sizes of what must not grow."""
    children = worker.children()
    return {
        "client": memory(os.getpid()),
        "main": memory(worker.pid),
        "pool": max(memory(pid) for pid in children),
        "beat": memory(beat.pid),
        "descriptors": descriptors(worker.pid),
        "beat_descriptors": descriptors(beat.pid),
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
        and not (key.endswith(b".c") and server.ttl(key) != NEVER)
    ]
