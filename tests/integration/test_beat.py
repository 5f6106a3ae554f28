"""Beat as a process: what it sends, what it leaves behind, what becomes of it without a broker."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from taskq.beat.storefile import open_shelf
from tests import services
from tests.integration.beat_support import kill, running_beat, start_beat, take_messages
from tests.integration.conftest import Urls
from tests.integration.project import Project, wait_until

#: Seconds that the start or end of a program may take on a busy machine.
SLOW = 60.0

MakeProject = Callable[..., Project]

CODE = """
@app.task
def note(*args):
    with open("ran", "a") as out:
        out.write(f"{args}\\n")

app.conf.beat_schedule = {"every": {"task": "proj.note", "schedule": 0.5, "args": (1,)}}

@app.on_after_configure.connect
def periodic(sender, **kwargs):
    sender.add_periodic_task(0.5, note.s("connected"), name="connected")
"""


def test_tasks_are_sent_in_their_rhythm_and_run(make_project: MakeProject, urls: Urls) -> None:
    project = make_project(CODE, broker=urls.broker, backend=urls.backend)
    ran = project.directory / "ran"
    with project.worker("-c", "1"), running_beat(project):
        wait_until(lambda: ran.exists() and len(ran.read_text().split("\n")) > 6, SLOW)
    assert set(ran.read_text().split("\n")) == {"(1,)", "('connected',)", ""}


def test_worker_with_beat_inside(make_project: MakeProject, urls: Urls) -> None:
    project = make_project(CODE, broker=urls.broker, backend=urls.backend)
    ran = project.directory / "ran"
    with project.worker("-c", "1", "-B", "-s", "inside") as worker:
        wait_until(lambda: ran.exists() and len(ran.read_text().split("\n")) > 6, SLOW)
        assert "/Beat]" in worker.log
    assert list(project.directory.glob("inside*"))
    # Helpers of the multiprocessing library end on their own after the worker.
    wait_until(lambda: not _processes_of(project), SLOW)


def test_a_worker_says_that_beat_inside_cannot_run(
    make_project: MakeProject, sqlite_url: str
) -> None:
    code = """
    app.conf.beat_schedule = {"n": {"task": "t", "schedule": 1.0, "overlap": "skip"}}
    """
    project = make_project(code, broker=sqlite_url, backend=None)
    with project.worker("-c", "1", "-B", "--without-mingle") as worker:
        worker.wait_for_log("goes on without it: Periodic task 'n': overlap='skip' needs results")
        assert "Traceback" not in worker.log


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_that_ends_at_once_leaves_no_beat(
    make_project: MakeProject, sqlite_url: str, sig: int
) -> None:
    project = make_project(CODE, broker=sqlite_url, backend=sqlite_url)
    worker = project.start_worker("-P", "solo", "-B", ready=False)
    # The moment at which the beat is there, but may not have handlers for signals yet.
    wait_until(lambda: worker.process.poll() is not None or worker.children(), SLOW)
    os.kill(worker.pid, sig)
    worker.process.wait(SLOW)
    wait_until(lambda: not _processes_of(project), SLOW)


def _processes_of(project: Project) -> list[str]:
    """Return the command lines of processes that run in the project's directory."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/cwd") == str(project.directory):
                found.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "))
        except OSError:  # It has ended meanwhile.
            continue
    return found


def test_beat_inside_dies_with_its_worker(make_project: MakeProject, sqlite_url: str) -> None:
    project = make_project(CODE, broker=sqlite_url, backend=sqlite_url)
    worker = project.start_worker("-c", "1", "-B")
    worker.wait_for_log("Sending due task", SLOW)
    os.kill(worker.pid, signal.SIGKILL)
    worker.process.wait()
    wait_until(lambda: not _processes_of(project), SLOW)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_it_is_woken_to_end(make_project: MakeProject, sqlite_url: str, sig: int) -> None:
    code = 'app.conf.beat_schedule = {"n": {"task": "t", "schedule": 3600.0}}'
    project = make_project(code, broker=sqlite_url, backend=sqlite_url)
    assert start_beat(project).stop(sig) == 0


def test_it_remembers_what_it_sent(make_project: MakeProject, sqlite_url: str) -> None:
    code = 'app.conf.beat_schedule = {"n": {"task": "t", "schedule": 1.0}}'
    project = make_project(code, broker=sqlite_url, backend=sqlite_url)
    count = 0
    for name in ("one", "two"):
        with running_beat(project, "-s", "plan", name=name) as beat:
            beat.wait_for_log("Sending due task n", SLOW)
        count += beat.log.count("Sending due task n")
        store = open_shelf(str(project.directory / "plan"))
        assert store["entries"]["n"].total_run_count == count
        store.close()
    assert len(take_messages(project)) == count


def test_times_that_passed_while_no_beat_ran(make_project: MakeProject, sqlite_url: str) -> None:
    code = """
    app.conf.beat_schedule = {
        policy: {"task": "t", "schedule": 0.5, "catch_up": policy}
        for policy in ("none", "one", "all")
    }
    """
    project = make_project(code, broker=sqlite_url, backend=sqlite_url)

    def stored(name: str) -> dict[str, tuple[float, int]]:
        """Return the last run and the count of each entry after a beat has sent all of them."""
        with running_beat(project, "-s", "plan", name=name) as beat:
            for policy in ("none", "one", "all"):
                beat.wait_for_log(f"Sending due task {policy}", SLOW)
        store = open_shelf(str(project.directory / "plan"))
        entries = store["entries"]
        store.close()
        return {n: (e.last_run_at.timestamp(), e.total_run_count) for n, e in entries.items()}

    before = stored("one")
    time.sleep(2)
    after = stored("two")
    missed = {
        name: round((after[name][0] - last) / 0.5) - (after[name][1] - count)
        for name, (last, count) in before.items()
        if name in ("none", "one", "all")
    }
    # Four times passed at least. One run was for all of them, or none was.
    assert missed["all"] == 0
    assert missed["one"] >= 3
    assert missed["none"] >= 4


def test_a_killed_beat_goes_on(make_project: MakeProject, sqlite_url: str) -> None:
    project = make_project(CODE, broker=sqlite_url, backend=sqlite_url)
    for name in ("one", "two", "three"):
        beat = start_beat(project, name=name)
        beat.wait_for_log("Sending due task")
        kill(beat)
        assert "Traceback" not in beat.log


def test_due_tasks_are_sent_when_the_broker_is_back(make_project: MakeProject) -> None:
    port = services.free_port()
    code = """
    app.conf.beat_schedule = {str(n): {"task": "t", "schedule": 1.0} for n in range(5)}
    """
    project = make_project(code, broker=f"redis://127.0.0.1:{port}/0", backend=None)
    server = ["redis-server", "--save", "", "--port", str(port)]
    redis = subprocess.Popen(server, stdout=subprocess.DEVNULL)
    try:
        with running_beat(project) as beat:
            beat.wait_for_log("Sending due task 4")
            redis.kill()
            redis.wait()
            beat.wait_for_log("cannot reach the broker")
            before = _cpu_seconds(beat.pid)
            time.sleep(3)
            assert _cpu_seconds(beat.pid) - before < 1
            redis = subprocess.Popen(server, stdout=subprocess.DEVNULL)
            beat.wait_for_log("the broker is back")
            sent_before = len(take_messages(project))
            wait_until(lambda: len(take_messages(project)) > 0)
            assert beat.process.poll() is None
            assert sent_before <= 10
        assert beat.log.count("cannot reach the broker") == 1
        assert "Traceback" not in beat.log
    finally:
        redis.kill()
        redis.wait()


def test_a_broker_that_comes_later_is_waited_for(make_project: MakeProject) -> None:
    port = services.free_port()
    code = 'app.conf.beat_schedule = {"n": {"task": "t", "schedule": 0.5}}'
    project = make_project(code, broker=f"redis://127.0.0.1:{port}/0", backend=None)
    with running_beat(project) as beat:
        beat.wait_for_log("cannot reach the broker")
        server = ["redis-server", "--save", "", "--port", str(port)]
        redis = subprocess.Popen(server, stdout=subprocess.DEVNULL)
        try:
            beat.wait_for_log("the broker is back")
            wait_until(lambda: take_messages(project))
        finally:
            redis.kill()
            redis.wait()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_pings_are_answered(make_project: MakeProject, urls: Urls) -> None:
    project = make_project(CODE, broker=urls.broker, backend=urls.backend)
    with running_beat(project, "--enable-remote-control", "-n", "watched@%h") as beat:
        beat.wait_for_log("beat pidbox: Connected")
        answer = project.run("-A", "proj", "inspect", "ping", "-t", "3")
        assert re.search(r"watched@\S+: OK", answer.stdout), answer
        # Other commands are for workers: no answer, and nothing to worry about.
        project.run("-A", "proj", "inspect", "stats", "-t", "1")
        assert "ERROR" not in beat.log


def test_signals_are_sent(make_project: MakeProject, sqlite_url: str) -> None:
    code = """
    from taskq.signals import beat_embedded_init, beat_init

    @beat_init.connect
    def on_init(sender, **kwargs):
        print(f"INIT {type(sender).__name__}", flush=True)

    @beat_embedded_init.connect
    def on_embedded_init(sender, **kwargs):
        print(f"EMBEDDED {type(sender).__name__}", flush=True)
    """
    project = make_project(code, broker=sqlite_url, backend=sqlite_url)
    with running_beat(project) as beat:
        beat.wait_for_log("INIT Service")
        assert "EMBEDDED" not in beat.log
    with project.worker("-B", "-P", "solo") as worker:
        worker.wait_for_log("EMBEDDED Service")
        worker.wait_for_log("INIT Service")


def test_in_the_background_with_pidfile_and_log(make_project: MakeProject, sqlite_url: str) -> None:
    project = make_project(CODE, broker=sqlite_url, backend=sqlite_url)
    options = ("--detach", "--pidfile", "beat.pid", "-f", "beat.txt", "-l", "INFO", "-s", "plan")
    started = project.run("-A", "proj", "beat", *options)
    assert started.returncode == 0, started
    pidfile, log = project.directory / "beat.pid", project.directory / "beat.txt"
    wait_until(lambda: log.exists() and "Sending due task" in log.read_text())
    pid = int(pidfile.read_text())
    try:
        again = project.run("-A", "proj", "beat", "--pidfile", "beat.pid")
        assert again.returncode != 0
        assert "already running" in again.stderr
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not pidfile.exists())
    assert list(project.directory.glob("plan*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-S", "no.such:Scheduler"), "Cannot use the scheduler 'no.such:Scheduler'"),
        (("--executable", "/bin/true"), "add --detach"),
        (("--umask", "999"), "is not an octal number"),
        (("-s", "/no/such/dir/schedule"), "/no/such/dir/schedule"),
        (("--max-interval", "soon"), "soon"),
        (("beat.no_such_setting",), "beat.no_such_setting"),
    ],
)
def test_what_cannot_be_is_refused(
    make_project: MakeProject, sqlite_url: str, options: tuple[str, ...], message: str
) -> None:
    project = make_project(CODE, broker=sqlite_url, backend=sqlite_url)
    refused = project.run("-A", "proj", "beat", *options)
    assert refused.returncode != 0
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr


def test_options_reach_the_scheduler(make_project: MakeProject, sqlite_url: str) -> None:
    code = """
    from taskq.beat import Scheduler

    class Mine(Scheduler):
        def setup_schedule(self):
            super().setup_schedule()
            print(f"MINE {self.max_interval}", flush=True)
    """
    project = make_project(code, broker=sqlite_url, backend=sqlite_url)
    with running_beat(project, "-S", "proj:Mine", "--max-interval", "7") as beat:
        beat.wait_for_log("MINE 7")
        assert "scheduler -> proj.Mine" in beat.log


def test_green_workers_refuse_beat(make_project: MakeProject, sqlite_url: str) -> None:
    code = """
    from taskq.concurrency.solo import TaskPool

    class Green(TaskPool):
        is_green = True
    """
    project = make_project(code, broker=sqlite_url, backend=sqlite_url)
    refused = project.run("-A", "proj", "worker", "-B", "-P", "proj:Green")
    assert refused.returncode != 0
    assert "does not work with the pools of greenlets" in refused.stderr
