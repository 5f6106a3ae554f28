"""Flower as it comes from PyPI, through the ``celery`` alias: it shows workers and acts on them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from taskq.exceptions import TaskRevokedError
from tests.integration.project import Project, Worker, wait_until

pytest.importorskip("flower", reason="needs flower")

CODE = """
@app.task(name="proj.add")
def add(x, y):
    return x + y

@app.task(name="proj.boom")
def boom():
    raise ValueError("on purpose")

@app.task(name="proj.slow")
def slow():
    time.sleep(60)
"""


@dataclass(frozen=True)
class Site:
    """A Flower that watches a worker."""

    url: str
    project: Project
    worker: Worker
    node: str

    def get(self, path: str) -> Any:
        """What the API answers."""
        with urllib.request.urlopen(self.url + path, timeout=30) as response:
            return json.load(response)

    def post(self, path: str, body: Any = None, **form: Any) -> Any:
        """What the API answers to an action."""
        data = urllib.parse.urlencode(form) if body is None else json.dumps(body)
        request = urllib.request.Request(self.url + path, data.encode(), method="POST")
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def inspect(self, command: str) -> Any:
        """What the worker says of itself."""
        inspect = self.project.proj.app.control.inspect([self.node], timeout=20, limit=1)
        return getattr(inspect, command)()[self.node]

    def pool_size(self) -> int:
        """The number of processes in the pool."""
        return self.inspect("stats")["pool"]["max-concurrency"]  # type: ignore[no-any-return]

    def task(self, task_id: str) -> dict[str, Any]:
        """What Flower knows of a task; empty before it knows it."""
        try:
            return self.get(f"/api/task/info/{task_id}")  # type: ignore[no-any-return]
        except urllib.error.HTTPError as exc:
            if exc.code == 404:
                return {}
            raise

    def wait_for_state(self, task_id: str, state: str) -> dict[str, Any]:
        """Wait until Flower has a task in a state."""
        return wait_until(  # type: ignore[no-any-return]
            lambda: (info := self.task(task_id)).get("state") == state and info
        )


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture(scope="module")
def site(redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("flower")
    name = directory.name
    conf = {
        "event_exchange": f"ev-{name}",
        "control_exchange": f"ct-{name}",
        "worker_pool_restarts": True,
    }
    project = Project(directory, CODE, broker=redis_server, backend=redis_server, conf=conf)
    node = f"{name}@flower"
    port = free_port()
    command = ["-m", "taskq.compat", "celery", "-A", "proj", "flower", "--address=127.0.0.1"]
    with project.worker("-c", "1", "-E", "-n", node) as worker:
        log = directory / "flower.log"
        with log.open("wb") as out:
            flower = subprocess.Popen(
                [sys.executable, *command, f"--port={port}"],
                cwd=directory,
                env={**project.env, "FLOWER_UNAUTHENTICATED_API": "1"},
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        site = Site(f"http://127.0.0.1:{port}", project, worker, node)

        def shows_the_worker() -> bool:
            assert flower.poll() is None, log.read_text()
            try:
                return "registered" in site.get("/api/workers?refresh=1").get(node, {})
            except (OSError, ValueError):
                return False

        try:
            wait_until(shows_the_worker, 60, f"Flower does not show the worker:\n{log}")
            yield site
        finally:
            flower.terminate()
            flower.wait(20)
    project.close()


def test_it_shows_a_worker_and_its_tasks(site: Site) -> None:
    worker = site.get("/api/workers?refresh=1")[site.node]
    assert worker["registered"] == ["proj.add", "proj.boom", "proj.slow"]
    assert [queue["name"] for queue in worker["active_queues"]] == [site.project.queue]
    assert worker["stats"]["pool"]["max-concurrency"] == site.pool_size()

    added, failed = site.project.proj.add.delay(2, 3), site.project.proj.boom.delay()
    info = site.wait_for_state(added.id, "SUCCESS")
    assert (info["name"], info["args"], info["result"]) == ("proj.add", "(2, 3)", "5")
    assert info["worker"] == site.node
    assert "on purpose" in site.wait_for_state(failed.id, "FAILURE")["exception"]
    assert site.get(f"/api/task/result/{added.id}")["result"] == 5
    assert set(site.get("/api/task/types")["task-types"]) >= {"proj.add", "proj.boom"}


def test_it_sends_tasks(site: Site) -> None:
    answer = site.post("/api/task/apply/proj.add", {"args": [4, 4]})
    assert (answer["state"], answer["result"]) == ("SUCCESS", 8)
    site.post("/api/task/async-apply/proj.add", {"args": [1], "kwargs": {"y": 1}})
    sent = site.post("/api/task/send-task/proj.add", {"args": [5, 5]})
    assert site.project.proj.app.AsyncResult(sent["task-id"]).get(timeout=20) == 10


def test_it_controls_the_worker(site: Site) -> None:
    node = site.node
    site.post(f"/api/worker/queue/add-consumer/{node}", queue="extra")
    assert "extra" in {queue["name"] for queue in site.inspect("active_queues")}
    site.post(f"/api/worker/queue/cancel-consumer/{node}", queue="extra")
    assert "extra" not in {queue["name"] for queue in site.inspect("active_queues")}
    site.post("/api/task/timeout/proj.boom", workername=node, soft=30, hard=40)
    site.worker.wait_for_log("proj.boom")
    site.post(f"/api/worker/pool/restart/{node}")
    assert site.project.proj.add.delay(1, 1).get(timeout=30) == 2


class TestInABrowser:
    @pytest.fixture(autouse=True)
    def _browser(self, browser: Any, site: Site) -> None:
        self.browser, self.site = browser, site

    def open(self, path: str) -> None:
        self.browser.get(self.site.url + path)

    def click(self, element_id: str) -> None:
        """Click what has the id, as soon as it can be clicked."""
        from selenium.common.exceptions import WebDriverException

        def clicked() -> bool:
            try:
                self.browser.find_element("id", element_id).click()
            except WebDriverException:
                return False
            return True

        wait_until(clicked, message=f"{element_id} can't be clicked")

    def wait_for_text(self, text: str, element_id: str = "main-content") -> None:
        """Wait until the page shows a text."""
        shown = ""

        def is_shown() -> bool:
            nonlocal shown
            shown = self.browser.find_element("id", element_id).text
            return text in shown.replace("\n", "")  # long names are broken

        try:
            wait_until(is_shown)
        except AssertionError:
            raise AssertionError(f"the page does not show {text!r}, but:\n{shown}") from None

    def test_the_list_of_workers(self, tmp_path: Path) -> None:
        self.open("/workers")
        self.wait_for_text(self.site.node)
        self.wait_for_text("Online")
        self.picture(tmp_path / "workers.png")

    def test_the_list_of_tasks(self, tmp_path: Path) -> None:
        result = self.site.project.proj.add.delay(20, 22)
        self.site.wait_for_state(result.id, "SUCCESS")
        self.open("/tasks")
        self.wait_for_text(result.id)
        self.wait_for_text("SUCCESS")
        self.picture(tmp_path / "tasks.png")

    def test_growing_and_shrinking_the_pool(self) -> None:
        before = self.site.pool_size()
        self.open(f"/worker/{self.site.node}")
        self.click("worker-pool-grow")
        self.wait_for_text("Growing", "toast-container")
        wait_until(lambda: self.site.pool_size() == before + 1)
        self.open(f"/worker/{self.site.node}")
        self.click("worker-pool-shrink")
        self.wait_for_text("Shrinking", "toast-container")
        wait_until(lambda: self.site.pool_size() == before)

    def test_a_rate_limit(self) -> None:
        self.open(f"/worker/{self.site.node}")
        self.click("worker-tab-limits")
        self.wait_for_text("proj.boom", "limits-table")
        field = self.browser.find_element(
            "css selector", "input[aria-label^='Rate limit for proj.boom']"
        )
        field.send_keys("7")
        self.click("task-rate-limit-proj.boom")
        self.wait_for_text("rate limit", "toast-container")
        wait_until(lambda: "proj.boom [rate_limit=7" in str(self.site.inspect("registered")))

    def test_terminating_a_task(self, tmp_path: Path) -> None:
        result = self.site.project.proj.slow.delay()
        self.site.wait_for_state(result.id, "STARTED")
        self.open(f"/task/{result.id}")
        self.wait_for_text("proj.slow")
        self.picture(tmp_path / "task.png")
        self.click("task-terminate")
        with pytest.raises(TaskRevokedError):
            result.get(timeout=20)
        self.site.wait_for_state(result.id, "REVOKED")
        self.open(f"/task/{result.id}")
        self.wait_for_text("REVOKED")

    def test_zz_shutting_the_worker_down(self) -> None:
        self.open(f"/worker/{self.site.node}")
        self.click("worker-group")
        self.click("worker-shutdown")
        assert self.site.worker.process.wait(30) == 0

    def picture(self, path: Path) -> None:
        """Keep a picture of the page: where ``TASKQ_TEST_PICTURES`` says, if it does."""
        kept = os.environ.get("TASKQ_TEST_PICTURES")
        target = Path(kept, path.name) if kept else path
        assert self.browser.save_screenshot(str(target))
        assert target.stat().st_size > 1000
