"""A chord's body, or its errback, is sent once, whatever dies or is away while its header ends.

Every chord of a run meets one `Blow` or none, at the same time as the others meet theirs, so that
waiting for leases and claims is waited for once. Kills are made from inside, at the very moment:
by a worker that has counted the last header task and has not sent the body yet, or has sent it and
not said so yet.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from sqlalchemy.engine import make_url

from tests.chaos.fleet import Fleet, new_seed
from tests.chaos.proxy import Proxy
from tests.integration.project import left_in_broker, wait_until

CODE = """
import signal
from taskq import chord

def note(*words):
    ledger = os.open("ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(ledger, (" ".join(map(str, words)) + "\\n").encode())
    os.close(ledger)

def first(name):
    try:
        os.close(os.open(f"first-{name}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True

def die(whom):
    if whom == "worker":
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)

@app.task(acks_late=True, reject_on_worker_lost=True)
def part(number, name="", blow="", fails=False):
    if "part" in blow and first(name):
        die(blow.split()[-1])
    if fails:
        raise ValueError("failed on purpose")
    return number

@app.task
def early_part(number, **options):
    return part(number, **options)

def note_sent(task, *words):
    # A worker may die of its next task before it acknowledged this one: then the same message comes
    # again. One that was sent twice has not been delivered before.
    again = task.request.delivery_info["redelivered"]
    if first("-".join(words)) or not again:
        note(*words)

@app.task(acks_late=True, bind=True)
def body(self, numbers, name, blow):
    note_sent(self, "body", name)
    return sum(numbers)

@app.task(acks_late=True, bind=True)
def errback(self, failed_id, name, blow):
    note_sent(self, "errback", name)

def dying(send):
    def send_and_die(*args):
        callback = next(arg for arg in args if isinstance(arg, dict))
        blow, name = callback.kwargs["blow"], callback.kwargs["name"]
        *_, moment, whom = ("", *blow.split()) if blow else ("", "", "")
        if moment == "before" and first(name):
            die(whom)
        send(*args)
        if moment == "after" and first(name):
            die(whom)
    return send_and_die

app.backend.send_chord_body = dying(app.backend.send_chord_body)
app.backend.chord_error_from_stack = dying(app.backend.chord_error_from_stack)
"""

LONG = os.environ.get("TASKQ_CHAOS") == "long"
#: A header task that ends in the middle of the time for which the backend is away.
AWAY_CODE = """
@app.task(acks_late=True, reject_on_worker_lost=True)
def slow(number):
    note("started")
    time.sleep({away} / 3)
    return number
"""
#: Seconds until a dead worker's messages run elsewhere.
LEASE = 2.0
#: Tasks in a header.
SIZE = 4
#: What happens: while a header task runs, before the body is sent, or after; and who dies of it.
BLOWS = ["", "part worker", "before child", "before worker", "after child", "after worker"]
#: Header tasks that are acknowledged early, whose main process sees them die and counts them.
BLOWS += ["early before child", "early after child"] if LONG else ["early before child"]
#: The same for chords whose errback is sent instead, because a header task fails.
FAILING_BLOWS = BLOWS if LONG else ["", "before child", "after worker"]
#: The whole worker dies with a header task that was acknowledged early.
EARLY_DEATHS = ["early part worker", "early before worker"]
EARLY_DEATHS += ["early after worker"] if LONG else []


@dataclass(frozen=True)
class Setup:
    """A broker and a result backend, by the names of their fixtures, and options of the latter."""

    broker: str
    backend: str
    native: bool = False
    #: Tasks that are delivered again after they succeeded are not run again.
    deduplicate: bool = False

    def __str__(self) -> str:
        return f"{self.broker}+{self.backend}" + ("-counted" if self.native else "")


SETUPS = [
    Setup("redis", "redis"),
    Setup("sqlite", "sqlite", deduplicate=True),
    Setup("redis", "postgres"),
]
if LONG:
    SETUPS += [Setup("redis", "postgres", native=True), Setup("sqlite", "redis")]


def address(request, name: str) -> str:
    url = request.getfixturevalue(f"{name}_url")
    return f"db+{url}" if name == "postgres" else url


def settings(*, native: bool = False, deduplicate: bool = False) -> dict:
    return {
        "broker_transport_options": {"lease": LEASE},
        "result_backend_transport_options": {"native_chords": True} if native else {},
        "result_chord_retry_interval": 0.2,
        "worker_deduplicate_successful_tasks": deduplicate,
    }


def notes(project) -> Counter[str]:
    path = project.directory / "ledger"
    return Counter(path.read_text().splitlines() if path.exists() else [])


def send(proj, blow: str, *, fails: bool = False):
    name = f"{blow or 'none'}-{'failing' if fails else 'whole'}".replace(" ", "-")
    end = proj.body.s(name=name, blow=blow)
    end.link_error(proj.errback.s(name=name, blow=blow))
    part = proj.early_part if blow.startswith("early") else proj.part
    parts = [
        # The first task meets the blow, and the last one fails.
        part.s(n, name=name, blow="" if n else blow, fails=fails and n == SIZE - 1)
        for n in range(SIZE)
    ]
    proj.chord(parts, end).apply_async()
    # A task that began and was acknowledged early is not begun again: the chord fails with it.
    failed = fails or blow.startswith("early part")
    return f"{'errback' if failed else 'body'} {name}"


@pytest.mark.parametrize("setup", SETUPS, ids=str)
@pytest.mark.timeout(300)
def test_joined_once_whoever_dies(make_project, request, setup):
    project = make_project(
        CODE,
        broker=address(request, setup.broker),
        backend=address(request, setup.backend),
        conf=settings(native=setup.native, deduplicate=setup.deduplicate),
    )
    # With one process each: a worker that dies of a task takes no other running one with it.
    with Fleet(project, new_seed(), slots=1) as fleet:
        expected: list[str] = []

        def all_ended():
            fleet.replace_dead()
            return set(notes(project)) >= set(expected)

        try:
            # Those with early acknowledgement come last: whoever counts them must not be killed.
            for early in (False, True):
                for fails, blows in ((False, BLOWS), (True, FAILING_BLOWS)):
                    chosen = [blow for blow in blows if blow.startswith("early") == early]
                    expected += [send(project.proj, blow, fails=fails) for blow in chosen]
                wait_until(all_ended, 150)
            # One at a time: what a killed process was given besides is lost with it.
            for blow in EARLY_DEATHS:
                expected.append(send(project.proj, blow))
                wait_until(all_ended, 60)
            # What was delivered again is worked off: nothing can be sent a second time any more.
            wait_until(lambda: fleet.replace_dead() or not left_in_broker(project), 60)
        finally:
            print(sorted(notes(project).items()), set(expected) - set(notes(project)))
            print("\n".join(worker.log[-6000:] for worker in fleet.workers))
        assert notes(project) == Counter(expected)
        fleet.stop()


#: Seconds for which the result backend is away.
AWAY = 3.0


def proxied(url: str) -> tuple[Proxy, str]:
    """Return a proxy for the server of a URL, and the URL through it."""
    parts = make_url(url)
    port = parts.port or {"redis": 6379}.get(parts.drivername, 5432)
    proxy = Proxy((parts.host, port))
    through = parts.set(host="127.0.0.1", port=proxy.port)
    return proxy, through.render_as_string(hide_password=False)


@pytest.mark.parametrize("name", ["redis", "postgres"])
def test_joined_once_though_the_backend_was_away(make_project, request, redis_url, name):
    url = request.getfixturevalue(f"{name}_url")
    proxy, through = proxied(url)
    prefix = "db+" if name == "postgres" else ""
    # Some header tasks are over before, the others end while it is away.
    project = make_project(
        CODE + AWAY_CODE.format(away=AWAY),
        broker=redis_url,
        backend=prefix + through,
        conf=settings(),
    )
    try:
        with project.worker("-c", "2") as worker:
            whole = project.proj.chord(
                [project.proj.slow.s(n) for n in range(SIZE)],
                project.proj.body.s(name="whole", blow=""),
            ).apply_async()
            wait_until(lambda: notes(project)["started"] == 2)
            proxy.refuse()
            time.sleep(AWAY)
            proxy.accept()
            assert whole.get(timeout=60) == sum(range(SIZE))
            wait_until(lambda: not left_in_broker(project))
        assert notes(project)["body whole"] == 1, worker.log
    finally:
        proxy.close()


def test_joined_once_though_the_file_was_locked(make_project, sqlite_url):
    project = make_project(
        CODE + AWAY_CODE.format(away=AWAY), broker=sqlite_url, backend=sqlite_url, conf=settings()
    )
    with project.worker("-c", "2") as worker:
        whole = project.proj.chord(
            [project.proj.slow.s(n) for n in range(SIZE)],
            project.proj.body.s(name="whole", blow=""),
        ).apply_async()
        wait_until(lambda: notes(project)["started"] == 2)
        with closing(sqlite3.connect(urlsplit(sqlite_url).path[1:], timeout=20)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(AWAY)
            connection.rollback()
        assert whole.get(timeout=60) == sum(range(SIZE))
        wait_until(lambda: not left_in_broker(project))
    assert notes(project)["body whole"] == 1, worker.log
