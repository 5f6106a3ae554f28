"""``taskq worker`` as a process: its banner, its log, its signals and its exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.project import Project, wait_until

CODE = """
import sys
from taskq.utils.log import get_task_logger

@app.task
def add(x, y):
    return x + y

@app.task(acks_late=True)
def slow(seconds):
    open("started", "a").write("x")
    time.sleep(seconds)
    open("finished", "a").write("x")
    return "slept"

@app.task
def noisy():
    print("printed by a task")
    get_task_logger(__name__).info("logged by a task")
"""


@pytest.fixture
def project(make_project: Callable[..., Project], sqlite_url: str) -> Project:
    """A project on the embedded broker."""
    return make_project(CODE, broker=sqlite_url, backend=sqlite_url)


def has(project: Project, name: str) -> Callable[[], bool]:
    return (project.directory / name).exists


def test_the_banner_shows_what_runs(project):
    with project.worker("-c", "2", "-n", "w1@box", "-E") as worker:
        worker.wait_for_log("w1@box ready.")
        log = worker.log
    assert "w1@box v" in log
    assert ".> app:         proj:0x" in log
    assert ".> transport:   sqlite" in log
    assert ".> results:     sqlite" in log
    assert ".> concurrency: 2 (prefork)" in log
    assert ".> task events: ON" in log
    assert f".> {project.queue}" in log
    assert "  . proj.add\n" in log
    assert "  . celery." not in log


def test_passwords_are_masked(make_project, sqlite_url):
    project = make_project(CODE, broker="redis://:s3cret@127.0.0.1:1/0", backend=sqlite_url)
    with project.worker(ready=False) as worker:
        worker.wait_for_log(".> transport:")
        assert "s3cret" not in worker.log


def test_quiet_prints_no_banner(project):
    with project.worker("-l", "WARNING", "-q", ready=False) as worker:
        time.sleep(2)
        assert ".> app:" not in worker.log


def test_lines_of_the_log(project):
    with project.worker("-c", "1") as worker:
        result = project.proj.noisy.delay()
        result.get(timeout=20)
        worker.wait_for_log("succeeded in")
        log = worker.log
    assert f"Task proj.noisy[{result.id}] received" in log
    assert "INFO/MainProcess]" in log
    assert "WARNING/ForkPoolWorker-1] printed by a task" in log
    assert f"INFO/ForkPoolWorker-1] proj.noisy[{result.id}]: logged by a task" in log
    assert f"INFO/ForkPoolWorker-1] Task proj.noisy[{result.id}] succeeded in" in log


def test_a_log_file(project):
    logfile = project.directory / "w1.log"
    with project.worker("-n", "w1@box", "-f", str(project.directory / "%n.log"), ready=False):
        wait_until(lambda: logfile.exists() and "ready." in logfile.read_text())


@pytest.mark.parametrize(
    ("sig", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 1), (signal.SIGQUIT, 0)]
)
def test_exit_status(project, sig, status):
    with project.worker("-P", "solo") as worker:
        assert worker.stop(sig) == status


@pytest.mark.parametrize(("sig", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 1)])
def test_a_warm_shutdown_lets_tasks_finish(project, sig, status):
    with project.worker("-c", "1") as worker:
        result = project.proj.slow.delay(3)
        wait_until(has(project, "started"))
        assert worker.stop(sig) == status
        assert "worker: Warm shutdown (MainProcess)" in worker.log
    assert result.get(timeout=5) == "slept"


@pytest.mark.parametrize(
    "signals", [(signal.SIGQUIT,), (signal.SIGINT, signal.SIGINT)], ids=["quit", "int-int"]
)
def test_a_cold_shutdown_gives_tasks_back(project, signals):
    with project.worker("-c", "1") as worker:
        result = project.proj.slow.delay(6)
        wait_until(has(project, "started"))
        began = time.monotonic()
        for sig in signals:
            os.kill(worker.pid, sig)
            time.sleep(0.5)
        worker.process.wait(20)
        assert time.monotonic() - began < 5
        assert "Cold shutdown" in worker.log
    assert not has(project, "finished")()
    with project.worker("-c", "1"):
        assert result.get(timeout=40) == "slept"


def test_a_soft_shutdown_has_a_deadline(make_project, sqlite_url):
    project = make_project(
        CODE, broker=sqlite_url, backend=sqlite_url, conf={"worker_soft_shutdown_timeout": 3.0}
    )
    with project.worker("-c", "2") as worker:
        quick = project.proj.slow.delay(2)
        project.proj.slow.delay(30)
        wait_until(lambda: len((project.directory / "started").read_text()) == 2
                   if has(project, "started")() else False)  # fmt: skip
        assert worker.stop(signal.SIGQUIT) == 0
        assert "Initiating Soft Shutdown, terminating in 3" in worker.log
    assert quick.get(timeout=5) == "slept"
    assert (project.directory / "finished").read_text() == "x"


@pytest.mark.parametrize("also_idle", [True, False])
def test_an_idle_worker_spends_the_time_of_a_soft_shutdown_if_told_to(
    make_project, sqlite_url, also_idle
):
    conf = {
        "worker_soft_shutdown_timeout": 1.5,
        "worker_enable_soft_shutdown_on_idle": also_idle,
    }
    project = make_project(CODE, broker=sqlite_url, backend=sqlite_url, conf=conf)
    with project.worker("-c", "1") as worker:
        asked = time.monotonic()
        assert worker.stop(signal.SIGQUIT) == 0
        assert ("Initiating Soft Shutdown" in worker.log) is also_idle
        assert not also_idle or time.monotonic() - asked >= 1.5


def test_term_can_be_made_cold(project, monkeypatch):
    monkeypatch.setenv("REMAP_SIGTERM", "SIGQUIT")
    with project.worker("-c", "1") as worker:
        project.proj.slow.delay(20)
        wait_until(has(project, "started"))
        assert worker.stop(signal.SIGTERM, timeout=10) == 0


def test_hup_starts_it_again(project):
    pidfile = project.directory / "w.pid"
    with project.worker("-c", "1", "--pidfile", str(pidfile)) as worker:
        os.kill(worker.pid, signal.SIGHUP)
        wait_until(lambda: worker.log.count(" ready.") == 2)
        assert int(pidfile.read_text()) == worker.pid
        assert project.proj.add.delay(1, 2).get(timeout=20) == 3
        assert worker.stop() == 0
    assert not pidfile.exists()


def test_usr1_shows_every_thread(project):
    with project.worker("-c", "1") as worker:
        os.kill(worker.pid, signal.SIGUSR1)
        worker.wait_for_log("MainThread")
        assert project.proj.add.delay(1, 2).get(timeout=20) == 3


def test_purge_at_start(project):
    project.proj.add.delay(1, 2)
    with project.worker("--purge") as worker:
        worker.wait_for_log(" ready.")
        assert "Erased 1 message from the queue." in worker.log


def test_pidfile(project):
    pidfile = project.directory / "w.pid"
    with project.worker("--pidfile", str(pidfile)) as worker:
        assert int(pidfile.read_text()) == worker.pid
        second = project.run("-A", "proj", "worker", "--pidfile", str(pidfile))
        assert second.returncode != 0
        assert "already exists" in second.stdout + second.stderr
        worker.stop()
    assert not pidfile.exists()


def test_detach(project):
    pidfile = project.directory / "w.pid"
    logfile = project.directory / "w.log"
    done = project.run(
        "-A", "proj", "worker", "-D", "-c", "1", "-l", "INFO", "--umask", "077",
        "--workdir", ".", "--pidfile", "w.pid", "--logfile", "w.log",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pid = int(wait_until(lambda: pidfile.exists() and pidfile.read_text()))
    try:
        assert project.proj.add.delay(1, 2).get(timeout=20) == 3
        assert " ready." in logfile.read_text()
        assert logfile.stat().st_mode & 0o077 == 0
        assert os.getsid(pid) != os.getsid(0)
        again = project.run("-A", "proj", "worker", "-D", "--pidfile", "w.pid")
        assert again.returncode != 0
        assert "already exists" in again.stderr
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    assert not pidfile.exists()


def test_root_with_pickle_is_refused(make_project, sqlite_url):
    if os.getuid() != 0:
        pytest.skip("only root is refused")
    project = make_project(
        CODE, broker=sqlite_url, backend=sqlite_url, conf={"accept_content": ["pickle", "json"]}
    )
    env = {name: value for name, value in project.env.items() if name != "C_FORCE_ROOT"}
    done = subprocess.run(
        [sys.executable, "-m", "taskq", "-A", "proj", "worker", "-P", "solo"],
        cwd=project.directory,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "superuser privileges" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_an_unreachable_broker_is_waited_for(make_project, sqlite_url):
    project = make_project(CODE, broker="redis://127.0.0.1:1/0", backend=sqlite_url)
    with project.worker("-P", "solo", ready=False) as worker:
        worker.wait_for_log("Cannot connect to redis://")
        assert worker.stop() == 0


def test_a_worker_on_a_damaged_database_says_so_and_ends(make_project, tmp_path):
    damaged = tmp_path / "damaged.db"
    damaged.write_text("no database" * 20)
    project = make_project(CODE, broker=f"sqlite:///{damaged}", backend="cache+memory://")
    with project.worker(ready=False) as worker:
        assert worker.process.wait(30) == 1
        assert worker.log.count(f"The file {damaged} is damaged or is not an SQLite") <= 2
        assert "Unrecoverable error: DatabaseCorrupt" in worker.log
    assert damaged.read_text() == "no database" * 20


HERE = """
from taskq.concurrency.thread import TaskPool

class Mine(TaskPool):
    pass
"""
LOOKS = """
@app.task
def look():
    import here
    return here.Mine.__name__
"""


def test_modules_in_its_directory_are_found_whenever_they_are_imported(make_project, sqlite_url):
    project = make_project(LOOKS, broker=sqlite_url, backend=sqlite_url)
    project.in_path = False
    project.directory.joinpath("here.py").write_text(HERE)
    with project.worker("-c", "1", "-P", "here:Mine") as worker:
        assert "(here)" in worker.log
        assert project.proj.look.delay().get(timeout=20) == "Mine"
    with project.worker("-c", "1"):
        assert project.proj.look.delay().get(timeout=20) == "Mine"


def test_a_worker_whose_result_database_is_away_says_so(make_project, sqlite_url):
    project = make_project(
        CODE, broker=sqlite_url, backend="db+postgresql://me:s3cret@127.0.0.1:1/results"
    )
    with project.worker(ready=False) as worker:
        assert worker.process.wait(30) == 69
        assert "result backend at db+postgresql://me:**@127.0.0.1:1/results" in worker.log
        assert "Traceback" not in worker.log
        assert "s3cret" not in worker.log


@pytest.mark.parametrize(
    ("setting", "value", "at_start"),
    [
        ("broker_connection_retry_on_startup", False, True),
        ("broker_connection_retry", False, False),
        ("broker_connection_max_retries", 1, True),
    ],
)
def test_a_worker_that_is_not_to_connect_again_ends(
    make_project, own_redis, setting, value, at_start
):
    url, _, stop = own_redis
    project = make_project(CODE, broker=url, backend=None, conf={setting: value})
    if at_start:
        stop()
    worker = project.start_worker("-c", "1", ready=not at_start)
    if not at_start:
        stop()
    assert worker.process.wait(30) == 1
    log = worker.log
    assert f"again: {setting} is off" in log or f"{setting} (1) says" in log
    assert "Traceback" not in log.partition("The worker ends")[2]
