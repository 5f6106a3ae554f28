"""Stopping a worker, losing a child, the worker or the broker: what becomes of tasks."""

from __future__ import annotations

import os
import signal

import pytest

from taskq.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from tests.integration.project import wait_until

CODE = """
from taskq.exceptions import SoftTimeLimitExceeded

def note(text):
    with open("notes", "a") as notes:
        notes.write(text + "\\n")

@app.task
def sleep(seconds, name=""):
    note(f"start {name}")
    time.sleep(seconds)
    note(f"end {name}")
    return name

@app.task(acks_late=True)
def late(seconds, name=""):
    note(f"start {name}")
    time.sleep(seconds)
    note(f"end {name}")
    return name

@app.task
def pid():
    return os.getpid()

@app.task
def die():
    os._exit(3)

@app.task(acks_late=True, reject_on_worker_lost=True)
def die_once():
    if not os.path.exists("died"):
        open("died", "w").close()
        os._exit(3)
    return "survived"

@app.task(acks_late=True)
def die_late():
    note("die_late")
    os._exit(3)

@app.task(time_limit=1)
def hard():
    time.sleep(30)

@app.task(soft_time_limit=0.5)
def soft():
    try:
        time.sleep(30)
    except SoftTimeLimitExceeded:
        return "cleaned up"
"""


@pytest.fixture
def project(make_project, urls):
    return make_project(CODE, broker=urls.broker, backend=urls.backend)


def notes(project) -> list[str]:
    path = project.directory / "notes"
    return path.read_text().split("\n")[:-1] if path.exists() else []


def waiting(project) -> int:
    with project.proj.app.connection_for_read() as connection:
        return connection.default_channel.queue_declare(
            project.queue, passive=False, durable=True, auto_delete=False
        ).message_count


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_warm_shutdown_finishes_what_runs_and_returns_the_rest(project, sig):
    worker = project.start_worker("-c", "2")
    results = [project.proj.late.delay(1.5, str(i)) for i in range(6)]
    wait_until(lambda: len(notes(project)) == 2)
    # Ctrl+C is a warm shutdown too, but not a success.
    assert worker.stop(sig) == (0 if sig == signal.SIGTERM else 1)
    assert sorted(line.split()[0] for line in notes(project)) == ["end", "end", "start", "start"]
    assert waiting(project) == 4
    done = [line.split()[1] for line in notes(project) if line.startswith("end")]
    with project.worker("-c", "4"):
        assert [result.get(timeout=20) for result in results] == [str(i) for i in range(6)]
    for name in done:
        assert notes(project).count(f"start {name}") == 1


@pytest.mark.parametrize("signals", [[signal.SIGQUIT], [signal.SIGINT, signal.SIGINT]])
def test_cold_shutdown_ends_at_once_and_loses_no_late_task(project, signals):
    worker = project.start_worker("-c", "1")
    result = project.proj.late.delay(8, "x")
    wait_until(lambda: notes(project))
    for sig in signals:
        worker.process.send_signal(sig)
        if len(signals) > 1:
            wait_until(lambda: "Warm shutdown" in worker.log)
    worker.process.wait(10)
    assert notes(project) == ["start x"]
    project.proj.app.conf.update()
    with project.worker("-c", "1"):
        assert result.get(timeout=30) == "x"


def test_a_child_that_dies_takes_only_its_task_along(project):
    proj = project.proj
    with project.worker("-c", "2") as worker:
        other = proj.sleep.delay(1.5, "other")
        wait_until(lambda: notes(project))
        with pytest.raises(WorkerLostError):
            proj.die.delay().get(timeout=10)
        assert other.get(timeout=10) == "other"
        assert proj.die_once.delay().get(timeout=20) == "survived"
        with pytest.raises(WorkerLostError):
            proj.die_late.delay().get(timeout=10)
        assert notes(project).count("die_late") == 1
        wait_until(lambda: len(worker.children()) == 2)


def test_time_limits(project):
    proj = project.proj
    with project.worker("-c", "1") as worker:
        assert proj.soft.delay().get(timeout=10) == "cleaned up"
        with pytest.raises(TimeLimitExceeded):
            proj.hard.delay().get(timeout=10)
        assert "Hard time limit (1s) exceeded for proj.hard" in worker.log
        assert proj.pid.delay().get(timeout=10)
        result = proj.sleep.apply_async((30, "killed"), time_limit=1)
        with pytest.raises(TimeLimitExceeded):
            result.get(timeout=10)


def test_revoke(project):
    proj = project.proj
    with project.worker("-c", "1") as worker:
        running = proj.sleep.delay(30, "running")
        wait_until(lambda: "start running" in notes(project))
        held = proj.sleep.delay(0, "held")
        held.revoke()
        worker.wait_for_log(f"Tasks flagged as revoked: {held.id}")
        running.revoke(terminate=True)
        with pytest.raises((Terminated, Exception), match=r"terminated|revoked"):
            running.get(timeout=10)
        assert running.state == "REVOKED"
        with pytest.raises(Exception, match="revoked"):
            held.get(timeout=10)
        assert "start held" not in notes(project)


@pytest.mark.parametrize("urls", ["sqlite", "redis"], indirect=True)
def test_the_messages_of_a_killed_worker_run_elsewhere(project):
    proj = project.proj
    worker = project.start_worker("-c", "2")
    results = [proj.late.delay(1, str(i)) for i in range(8)]
    wait_until(lambda: len(notes(project)) >= 2)
    for pid in [worker.pid, *worker.children()]:
        os.kill(pid, signal.SIGKILL)
    worker.process.wait()
    with project.worker("-c", "4"):
        assert [result.get(timeout=40) for result in results] == [str(i) for i in range(8)]


@pytest.mark.parametrize("urls", ["sqlite", "redis"], indirect=True)
def test_a_long_task_is_not_given_to_another_worker(make_project, urls):
    options = {"visibility_timeout": 2, "lease": 2}
    if urls.name == "sqlite":
        options = {"lease": 2}
    project = make_project(
        CODE,
        broker=urls.broker,
        backend=urls.backend,
        conf={"broker_transport_options": options},
    )
    with project.worker("-c", "1", "-n", "a@%h"), project.worker("-c", "1", "-n", "b@%h"):
        result = project.proj.late.delay(6, "long")
        assert result.get(timeout=20) == "long"
        assert notes(project).count("start long") == 1


@pytest.mark.parametrize("urls", ["amqp"], indirect=True)
def test_a_taken_mailbox_keeps_no_worker_from_working(project):
    first = project.start_worker("-c", "1", "-n", f"same-{project.queue}@here")
    second = project.start_worker("-c", "1", "-n", f"same-{project.queue}@here")
    second.wait_for_log("another worker has the same name")
    first.stop()
    assert project.proj.pid.delay().get(timeout=10)
    second.wait_for_log("is ours again")
    assert second.stop() == 0


def test_a_connection_lost_while_the_worker_starts_is_made_again(make_project, sqlite_url):
    code = """
    from kombu.exceptions import OperationalError
    from taskq import bootsteps

    class Unlucky(bootsteps.StartStopStep):
        requires = {"taskq.worker.consumer.tasks:Tasks"}
        starts = 0

        def start(self, consumer):
            Unlucky.starts += 1
            if Unlucky.starts == 1:
                raise OperationalError("the connection went away")

    app.steps["consumer"].add(Unlucky)
    """
    project = make_project(code, broker=sqlite_url, backend=sqlite_url)
    with project.worker("-c", "1") as worker:
        assert "the connection went away" in worker.log
