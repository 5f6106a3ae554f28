"""A task from call to result, through the real command line, on each broker and pool."""

from __future__ import annotations

import datetime as dt

import pytest

from taskq.exceptions import TimeoutError as ResultTimeout
from tests.integration.project import wait_until

CODE = """
@app.task
def add(x, y):
    return x + y

@app.task(bind=True)
def request_info(self):
    r = self.request
    return {"id": r.id, "hostname": r.hostname, "retries": r.retries, "args": list(r.args),
            "direct": r.called_directly, "eager": r.is_eager, "pid": os.getpid(),
            "queue": r.delivery_info["routing_key"]}

@app.task
def fail(text):
    raise ValueError(text)

@app.task(bind=True)
def progress(self):
    self.update_state(state="PROGRESS", meta={"done": 50})
    time.sleep(0.3)
    return "done"

@app.task(bind=True, max_retries=2, default_retry_delay=0.1)
def flaky(self):
    if self.request.retries < 2:
        raise self.retry(exc=RuntimeError("not yet"))
    return self.request.retries

@app.task(ignore_result=True)
def silent():
    return 1

@app.task(track_started=True)
def slow():
    time.sleep(1.5)

@app.task(acks_late=True)
def late(x):
    return x
"""


@pytest.fixture
def project(make_project, urls):
    return make_project(CODE, broker=urls.broker, backend=urls.backend)


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_tasks_run_and_results_come_back(project, pool):
    proj = project.proj
    with project.worker("-c", "2", "-P", pool) as worker:
        assert proj.add.delay(2, 2).get(timeout=10) == 4
        assert [r.get(timeout=10) for r in [proj.add.delay(i, i) for i in range(50)]] == [
            2 * i for i in range(50)
        ]
        assert proj.late.delay("x").get(timeout=10) == "x"
        info = proj.request_info.apply_async(task_id=None).get(timeout=10)
        assert info["retries"] == 0
        assert not info["direct"]
        assert info["queue"] == project.queue
        assert ("@" in info["hostname"]) is True
        failed = proj.fail.delay("oops")
        with pytest.raises(ValueError, match="oops"):
            failed.get(timeout=10)
        assert failed.state == "FAILURE"
        assert "ValueError: oops" in failed.traceback
        assert proj.flaky.delay().get(timeout=15) == 2
        states = []
        assert proj.progress.delay().get(timeout=10, on_message=states.append) == "done"
        assert {"done": 50} in [message["result"] for message in states]
    assert worker.process.returncode == 0
    assert "succeeded in" in worker.log
    assert "raised unexpected: ValueError('oops')" in worker.log


def test_countdown_and_expiry(project):
    proj = project.proj
    with project.worker("-c", "1"):
        eta = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1.2)
        result = proj.request_info.apply_async(countdown=1)
        later = proj.add.apply_async((1, 1), eta=eta)
        with pytest.raises(ResultTimeout):
            later.get(timeout=0.5)
        assert result.get(timeout=10)
        assert later.get(timeout=10) == 2
        assert dt.datetime.now(dt.UTC) >= eta
        expired = proj.add.apply_async((1, 1), expires=0.2, countdown=1)
        with pytest.raises(Exception, match=r"expired|revoked"):
            expired.get(timeout=10)


def test_an_ignored_result_is_not_stored(project):
    proj = project.proj
    with project.worker("-c", "1") as worker:
        result = proj.silent.delay()
        worker.wait_for_log(f"{result.id}] succeeded")
        assert result.get() is None


def test_started_is_reported(make_project, sqlite_url):
    project = make_project(CODE, broker=sqlite_url, backend=sqlite_url)
    with project.worker("-c", "1"):
        result = project.proj.slow.delay()
        wait_until(lambda: result.state == "STARTED")
        assert set(result.info) == {"pid", "hostname"}
        result.get(timeout=10)


def test_unknown_task_fails_visibly(project, urls):
    proj = project.proj
    with project.worker("-c", "1") as worker:
        result = proj.app.send_task("proj.nothing")
        worker.wait_for_log("Received unregistered task of type 'proj.nothing'")
        if urls.backend != "rpc://":
            wait_until(lambda: result.state == "FAILURE")
        assert proj.add.delay(1, 1).get(timeout=10) == 2
