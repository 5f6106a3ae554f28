"""A fleet whose messages are signed: what it does, and what others can't make it do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Keyring
from tests.integration.project import Project, Worker, wait_until
from tests.integration.test_security_content import send, send_as_event

CODE = """
from {package} import chord, group

@app.task(name="t.add")
def add(x, y):
    return x + y

@app.task(name="t.total")
def total(numbers):
    return sum(numbers)

@app.task(name="t.fail")
def fail():
    raise ValueError("on purpose")

@app.task(name="t.again", bind=True)
def again(self):
    if not self.request.retries:
        raise self.retry(countdown=0)
    return self.request.retries

@app.task(name="t.danger")
def danger(*args):
    print("DANGER", args)

app.setup_security(digest=app.conf.security_digest)
"""

#: Runs in a process of its own: signing is switched on for a whole process.
CLIENT = """
import importlib, json, sys
proj = importlib.import_module(sys.argv[1])
app, out = proj.app, {}
out["add"] = proj.add.delay(2, 2).get(timeout=30)
out["chain"] = (proj.add.s(1, 1) | proj.add.s(3)).delay().get(timeout=30)
header = [proj.add.s(i, i) for i in range(3)]
out["chord"] = proj.chord(header, proj.total.s()).delay().get(timeout=30)
out["group"] = proj.group(header).delay().get(timeout=30)
out["again"] = proj.again.delay().get(timeout=30)
out["fail"] = repr(proj.fail.delay().get(timeout=30, propagate=False))
out["ping"] = [r for r in app.control.inspect(timeout=20, limit=1).ping().values()]
limited = app.control.rate_limit("t.total", "100/s", reply=True, timeout=20, limit=1)
out["limit"] = list(limited[0].values())
print(json.dumps(out))
"""

ANSWERS = {
    "add": 4,
    "chain": 5,
    "chord": 6,
    "group": [0, 2, 4],
    "again": 1,
    "fail": "ValueError('on purpose')",
    "ping": [{"ok": "pong"}],
    "limit": [{"ok": "new rate limit set successfully"}],
}


def signed_project(
    directory: Path,
    keyring: Keyring,
    name: str,
    url: str,
    *,
    package: str = "taskq",
    digest: str = "sha256",
) -> Project:
    """A project that signs as somebody."""
    directory.mkdir()
    settings = {
        **keyring.settings(name),
        "security_digest": digest,
        "task_default_queue": f"signed-{url[-6:]}",
        "event_exchange": f"ev-{directory.parent.name}",
        "control_exchange": f"ct-{directory.parent.name}",
    }
    code = CODE.replace("{package}", package)
    project = Project(directory, code, broker=url, backend=url, conf=settings, package=package)
    (directory / "client.py").write_text(CLIENT)
    return project


def answers_of(client: Project) -> Any:
    """What the client's process got from the worker."""
    done = client.run("client.py", "proj", command="python", timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Project, Worker]]:
    """``alice``'s worker, and the projects of ``bob``, whom she trusts, and of a stranger."""
    directory = tmp_path_factory.mktemp("signed")
    keyring = Keyring(directory / "keys")
    for name in ("alice", "bob"):
        keyring.add(name)
    keyring.add("stranger", trusted=False)
    url = f"sqlite:///{directory}/broker.db"
    alice, bob, stranger = (
        signed_project(directory / name, keyring, name, url)
        for name in ("alice", "bob", "stranger")
    )
    with alice.worker("-c", "1", "-E") as worker:
        yield bob, stranger, worker
    alice.close()


def test_signed_calls_are_answered(fleet: tuple[Project, Project, Worker]) -> None:
    bob, _, _ = fleet
    assert answers_of(bob) == ANSWERS


def attack(project: Project, code: str) -> None:
    """Run code in a process that has the app of a project."""
    (project.directory / "attack.py").write_text(f"from proj import app, add, danger\n{code}")
    done = project.run("attack.py", command="python")
    assert done.returncode == 0, done.stderr


def test_a_strangers_messages_are_refused(fleet: tuple[Project, Project, Worker]) -> None:
    bob, stranger, worker = fleet
    attack(
        stranger,
        "danger.apply_async((1,), task_id='stranger-1')\napp.control.broadcast('shutdown')\n",
    )
    worker.wait_for_log("Task t.danger[stranger-1] raised unexpected: DecodeError")
    worker.wait_for_log("Control message can't be decoded")
    assert answers_of(bob) == ANSWERS
    assert "DANGER" not in worker.log


#: What an attacker without any key puts where only signed signatures should be found.
LINK = {"task": "t.danger", "args": ["link"], "kwargs": {}, "options": {}, "immutable": True}


@pytest.mark.parametrize("content_type", ["application/json", "application/data"])
@pytest.mark.parametrize("task", ["t.add", "t.unknown"])
def test_links_in_unsigned_headers_are_never_sent(
    fleet: tuple[Project, Project, Worker], tmp_path: Path, content_type: str, task: str
) -> None:
    """A worker that sent them would sign them."""
    from taskq import TaskQ

    bob, _, worker = fleet
    url = bob.broker
    outsider = TaskQ("outsider", broker=url, set_as_current=False)
    past = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    for number, more in enumerate([{}, {"expires": past}, {"retries": "x"}]):
        headers = {
            "task": task,
            "id": f"{task}-{content_type}-{number}",
            "lang": "py",
            "group": "a-group",
            "callbacks": [LINK],
            "errbacks": [LINK],
            "chain": [LINK],
            "chord": {**LINK, "chord_size": 1},
            **more,
        }
        send(
            outsider,
            json.dumps([[1, 2], {}, {}]).encode(),
            content_type,
            "utf-8",
            routing_key=bob.queue,
            headers=headers,
        )
    outsider.close()
    assert answers_of(bob) == ANSWERS, "all that was sent before has been dealt with"
    assert "DANGER" not in worker.log


def test_a_signed_body_without_links_takes_none_from_the_headers(
    fleet: tuple[Project, Project, Worker],
) -> None:
    """The body is signed, so somebody else's message with new headers still verifies."""
    bob, _, worker = fleet
    attack(
        bob,
        "from kombu.serialization import dumps\n"
        "content_type, encoding, body = dumps([[1, 2], {}, {}], 'auth')\n"
        "with app.producer_pool.acquire(block=True) as producer:\n"
        "    producer.publish(body, content_type=content_type, content_encoding=encoding,\n"
        f"        routing_key={bob.queue!r}, headers={{'task': 't.add', 'id': 'bare-1',\n"
        f"        'callbacks': [{LINK!r}], 'chain': [{LINK!r}]}})\n",
    )
    worker.wait_for_log("Task t.add[bare-1] succeeded")
    assert answers_of(bob) == ANSWERS
    assert "DANGER" not in worker.log


def test_unsigned_events_and_commands_are_dropped(fleet: tuple[Project, Project, Worker]) -> None:
    from taskq import TaskQ

    bob, _, worker = fleet
    outsider = TaskQ("outsider", broker=bob.broker, set_as_current=False)
    outsider.conf.event_exchange = f"ev-{bob.directory.parent.name}"
    outsider.conf.control_exchange = f"ct-{bob.directory.parent.name}"
    before = worker.log.count("Could not decode event")
    event = {"type": "worker-online", "hostname": "stranger@x", "clock": 10**9}
    send_as_event(outsider, json.dumps(event).encode(), "application/json", "utf-8")
    wait_until(lambda: worker.log.count("Could not decode event") > before)
    outsider.control.broadcast("shutdown")
    outsider.close()
    assert answers_of(bob) == ANSWERS
    assert "joined the party" not in worker.log
