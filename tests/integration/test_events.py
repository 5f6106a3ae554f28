"""Events of real workers: what they tell, to receivers, dumps and cameras, and to each other."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.project import SCRIPTS, Project, wait_until

CODE = """
from importlib import import_module

# Of taskq or of Celery, as the app is.
Reject = import_module(Celery.__module__.split(".")[0] + ".exceptions").Reject

@app.task(name="proj.add")
def add(a, b):
    return a + b

@app.task(name="proj.boom")
def boom():
    raise KeyError("x")

@app.task(bind=True, max_retries=1, name="proj.again")
def again(self):
    if not self.request.retries:
        raise self.retry(countdown=0, exc=ValueError("v"))

@app.task(bind=True, acks_late=True, name="proj.reject")
def reject(self):
    raise Reject("no", requeue=False)

@app.task(name="proj.slow")
def slow():
    time.sleep(60)

@app.task(time_limit=1, name="proj.hard")
def hard():
    time.sleep(60)
"""

CONF = {"task_send_sent_event": True, "worker_send_task_events": True}

#: Fields that every event has.
COMMON = {"type", "hostname", "pid", "clock", "timestamp", "utcoffset", "local_received"}
TASK = COMMON | {"uuid"}
CALL = TASK | {
    "name",
    "args",
    "kwargs",
    "root_id",
    "parent_id",
    "retries",
    "eta",
    "expires",
}
BEAT = COMMON | {"freq", "active", "processed", "loadavg", "sw_ident", "sw_ver", "sw_sys"}

FIELDS = {
    "task-sent": CALL | {"queue", "exchange", "routing_key"},
    "task-received": CALL,
    "task-started": TASK,
    "task-succeeded": TASK | {"result", "runtime"},
    "task-failed": TASK | {"exception", "traceback"},
    "task-retried": TASK | {"exception", "traceback"},
    "task-rejected": TASK | {"requeue"},
    "task-revoked": TASK | {"terminated", "signum", "expired"},
    "worker-online": BEAT,
    "worker-heartbeat": BEAT,
    "worker-offline": BEAT,
}


@pytest.fixture(params=["redis", "sqlite"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def make_project(tmp_path: Path, url: str) -> Iterator[Callable[..., Project]]:
    made: list[Project] = []

    def make(code: str = CODE, **conf: Any) -> Project:
        made.append(Project(tmp_path, code, broker=url, backend=url, conf={**CONF, **conf}))
        return made[-1]

    yield make
    for project in made:
        project.close()


@contextmanager
def receiving(app: Any) -> Iterator[list[dict[str, Any]]]:
    """Events that come during a block."""
    events: list[dict[str, Any]] = []
    with app.connection_for_read() as conn:
        receiver = app.events.Receiver(conn, handlers={"*": events.append})
        ready = threading.Event()
        receiver.on_consume_ready = lambda *_, **__: ready.set()
        thread = threading.Thread(target=receiver.capture, kwargs={"wakeup": False})
        thread.start()
        try:
            ready.wait(10)
            yield events
        finally:
            receiver.should_stop = True
            thread.join(10)


def types_of(events: list[dict[str, Any]], uuid: str) -> list[str]:
    return [event["type"] for event in events if event.get("uuid") == uuid]


def run_tasks_of_every_end(proj: Any, events: list[dict[str, Any]]) -> dict[str, str]:
    """Have a worker send every type of event. Returns name -> id of the tasks."""
    ids = {name: getattr(proj, name).delay().id for name in ("boom", "again", "reject", "hard")}
    ids["add"] = proj.add.delay(1, 2).id
    ids["expired"] = proj.add.apply_async((1, 1), expires=-1).id
    slow = proj.slow.delay()
    wait_until(lambda: "task-started" in types_of(events, slow.id))
    slow.revoke(terminate=True)
    wait_until(lambda: "task-revoked" in types_of(events, slow.id))
    wait_until(lambda: "task-succeeded" in types_of(events, ids["add"]))
    wait_until(lambda: "task-succeeded" in types_of(events, ids["again"]))
    wait_until(lambda: "task-failed" in types_of(events, ids["hard"]))
    wait_until(lambda: any(event["type"] == "worker-heartbeat" for event in events))
    return ids


def states_after(proj: Any, events: list[dict[str, Any]], ids: dict[str, str]) -> dict[str, str]:
    """Return what a monitor makes of the events: name -> state."""
    state = proj.app.events.State()
    for event in events:
        state.event(dict(event))
    return {name: state.tasks[uuid].state for name, uuid in ids.items()}


STATES = {
    "add": "SUCCESS",
    "again": "SUCCESS",
    "boom": "FAILURE",
    "reject": "FAILURE",
    "hard": "FAILURE",
    "expired": "REVOKED",
}


def test_every_event_type_has_its_fields(make_project: Callable[..., Project]) -> None:
    project = make_project()
    proj = project.proj
    with receiving(proj.app) as events:
        with project.worker("-c", "2", "--heartbeat-interval", "1"):
            ids = run_tasks_of_every_end(proj, events)
        wait_until(lambda: any(event["type"] == "worker-offline" for event in events))

    assert {event["type"]: set(event) for event in events} == FIELDS
    assert sorted(types_of(events, ids["add"])) == sorted(
        ["task-sent", "task-received", "task-started", "task-succeeded"]
    )
    assert types_of(events, ids["boom"])[-1] == "task-failed"
    assert "task-rejected" in types_of(events, ids["reject"])
    assert types_of(events, ids["expired"])[-1] == "task-revoked"
    assert states_after(proj, events, ids) == STATES
    clocks = [event["clock"] for event in events if event["hostname"] == events[-1]["hostname"]]
    assert len(set(clocks)) == len(clocks)


def test_task_events_are_turned_on_and_off(make_project: Callable[..., Project]) -> None:
    project = make_project(worker_send_task_events=False, task_send_sent_event=False)
    proj = project.proj
    with receiving(proj.app) as events, project.worker("-c", "1"):
        quiet = proj.add.delay(1, 1)
        assert quiet.get(timeout=20) == 2
        # The worker may hear of the end later than we.
        wait_until(lambda: not any(proj.app.control.inspect().active().values()))
        replies = proj.app.control.enable_events(reply=True)
        assert [answer["ok"] for reply in replies for answer in reply.values()] == [
            "task events enabled"
        ]
        told = proj.add.delay(2, 2)
        wait_until(lambda: "task-succeeded" in types_of(events, told.id))
        proj.app.control.disable_events(reply=True)
        assert proj.add.delay(3, 3).get(timeout=20) == 6
        assert types_of(events, quiet.id) == []
        assert {event["uuid"] for event in events if "uuid" in event} == {told.id}


def test_dump(make_project: Callable[..., Project]) -> None:
    project = make_project()
    out = project.directory / "dump.txt"
    with out.open("wb") as stream, project.worker("-c", "1"):
        process = subprocess.Popen(
            [str(SCRIPTS / "taskq"), "-A", "proj", "events", "--dump"],
            cwd=project.directory,
            env=project.env,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(lambda: "heartbeat: " in out.read_text(), 30)
            result = project.proj.add.delay(1, 2)
            wait_until(lambda: "task succeeded" in out.read_text())
            assert f"task received: proj.add({result.id}) args=(1, 2)" in out.read_text()
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0


def test_camera_with_pidfile(make_project: Callable[..., Project]) -> None:
    project = make_project()
    (project.directory / "camera.py").write_text(
        "from taskq.events.snapshot import Polaroid\n"
        "class Camera(Polaroid):\n"
        "    clear_after = True\n"
        "    def on_shutter(self, state):\n"
        "        for uuid, task in state.itertasks():\n"
        "            print('picture', uuid, task.state, flush=True)\n"
    )
    log, pidfile = project.directory / "camera.log", project.directory / "camera.pid"
    with project.worker("-c", "1"), log.open("wb") as stream:
        process = subprocess.Popen(
            [
                *(str(SCRIPTS / "taskq"), "-A", "proj", "events", "--camera", "camera:Camera"),
                *("--frequency", "0.2", "--pidfile", str(pidfile)),
            ],
            cwd=project.directory,
            env=project.env,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(lambda: "Taking snapshots" in log.read_text(), 30)
            assert int(pidfile.read_text()) == process.pid

            def pictured() -> bool:
                result = project.proj.add.delay(1, 2)
                result.get(timeout=20)
                return f"picture {result.id}" in log.read_text()

            wait_until(pictured)
        finally:
            process.terminate()
            assert process.wait(10) == 0
    assert "SUCCESS" in log.read_text()
    assert not pidfile.exists()


def test_camera_in_the_background(make_project: Callable[..., Project]) -> None:
    project = make_project()
    (project.directory / "camera.py").write_text(
        "from taskq.events.snapshot import Polaroid\n"
        "class Camera(Polaroid):\n"
        "    def on_shutter(self, state):\n"
        "        open('pictures', 'a').write(f'{len(state.workers)}\\n')\n"
    )
    files = {name: project.directory / f"cam.{name}" for name in ("pid", "log")}
    with project.worker("-c", "1"):
        done = project.run(
            *("-A", "proj", "events", "--camera", "camera:Camera", "--frequency", "0.2"),
            *("--detach", "--pidfile", str(files["pid"]), "--logfile", str(files["log"])),
        )
        assert done.returncode == 0, done.stderr
        wait_until(lambda: files["pid"].exists() and files["pid"].read_text().strip())
        pid = int(files["pid"].read_text())
        try:
            pictures = project.directory / "pictures"
            wait_until(lambda: pictures.exists() and "1" in pictures.read_text().split())
        finally:
            os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not files["pid"].exists())


def test_unknown_camera_is_told(make_project: Callable[..., Project]) -> None:
    done = make_project().run("-A", "proj", "events", "--camera", "nosuch:Camera")

    assert done.returncode == 1
    assert "Cannot use the camera 'nosuch:Camera'" in done.stderr


def test_workers_know_each_other_and_elect_one(make_project: Callable[..., Project]) -> None:
    project = make_project()
    with (
        project.worker("-c", "1", "-n", "a@h", "-l", "DEBUG") as a,
        project.worker("-c", "1", "-n", "b@h", "-l", "DEBUG") as b,
    ):
        a.wait_for_log("b@h joined the party")
        b.wait_for_log("a@h joined the party")
        proj = project.proj
        proj.app.control.election("e1", "task", proj.add.s(20, 22).set(task_id="elected"))
        assert proj.app.AsyncResult("elected").get(timeout=20) == 42
        wait_until(lambda: "elected for 'e1'" in a.log + b.log)
        won = [worker for worker in (a, b) if "I won the election 'e1'" in worker.log]
        assert len(won) == 1
        b.stop()
        a.wait_for_log("b@h left")
        # Alone, it wins.
        alone = proj.add.s(1, 1).set(task_id="alone").election()
        assert alone.id == "alone"
        assert alone.get(timeout=20) == 2


def test_starting_worker_learns_what_is_revoked(make_project: Callable[..., Project]) -> None:
    project = make_project()
    with project.worker("-c", "1", "-n", "a@h"):
        app = project.proj.app
        app.control.revoke("some-id", reply=True)
        with project.worker("-c", "1", "-n", "b@h"):
            assert app.control.inspect(["b@h"]).revoked() == {"b@h": ["some-id"]}


def test_memory_commands(make_project: Callable[..., Project]) -> None:
    project = make_project()
    with project.worker("-c", "1", "-n", "a@h"):
        inspect = project.proj.app.control.inspect()
        assert "a@h" in inspect.memsample()
        assert "rss" in inspect.memdump()["a@h"]
        answer = inspect.objgraph()["a@h"]
        assert "filename" in answer or "pip install objgraph" in answer["error"]


def test_screen_says_what_it_needs(make_project: Callable[..., Project]) -> None:
    project = make_project()
    done = project.run("-A", "proj", "events")
    assert done.returncode == 1
    assert "needs a terminal" in done.stderr or "pip install taskq[tui]" in done.stderr
    (project.directory / "textual.py").write_text("raise ImportError('no', name='textual')")
    (project.directory / "rich.py").write_text("raise ImportError('no', name='rich')")
    done = project.run("-A", "proj", "events")
    assert done.returncode == 1
    assert "pip install taskq[tui]" in done.stderr
