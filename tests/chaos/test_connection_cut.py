"""The connection to the broker breaks, again and again, while tasks are sent and run."""

from __future__ import annotations

import os
import time
from urllib.parse import urlsplit

import pytest

from tests.chaos.proxy import Proxy
from tests.integration.project import wait_until

LONG = os.environ.get("TASKQ_CHAOS") == "long"

CODE = """
def note(text):
    with open("notes", "a") as notes:
        notes.write(text + "\\n")

@app.task(acks_late=True)
def late(number):
    note(f"{number}")
    time.sleep(0.02)

@app.task
def early(number):
    note(f"{number}")
    time.sleep(0.02)
"""


@pytest.fixture(params=["redis", "amqp"])
def proxied(request, make_project, redis_url):
    """A project whose worker reaches its broker through a proxy; the client does not."""
    url = redis_url if request.param == "redis" else request.getfixturevalue("amqp_url")
    parts = urlsplit(url)
    proxy = Proxy((parts.hostname, parts.port or {"redis": 6379, "amqp": 5672}[request.param]))
    userinfo = f"{parts.username or ''}:{parts.password or ''}@" if parts.username else ""
    through = f"{parts.scheme}://{userinfo}127.0.0.1:{proxy.port}{parts.path}"
    project = make_project(
        CODE,
        broker=url,
        backend=redis_url,
        conf={"broker_read_url": through, "broker_write_url": url, "broker_heartbeat": 4},
    )
    yield project, proxy
    proxy.close()


def numbers(project) -> list[int]:
    path = project.directory / "notes"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.mark.parametrize("name", ["late", "early"])
def test_every_task_runs_though_the_connection_is_cut(proxied, name):
    project, proxy = proxied
    task = getattr(project.proj, name)
    with project.worker("-c", "2") as worker:
        for number in range(200):
            task.delay(number)
            if number % 50 == 25:
                proxy.cut()
                time.sleep(0.3)
        wait_until(lambda: set(numbers(project)) == set(range(200)), 60)
        time.sleep(0.5)
        ran = numbers(project)
        if name == "early":
            # Begun once is begun for good.
            assert len(ran) == len(set(ran))
        assert worker.process.poll() is None


@pytest.mark.parametrize("proxied", ["amqp"], indirect=True)
def test_acknowledgements_lost_on_their_way_start_nothing_twice(proxied):
    project, proxy = proxied
    with project.worker("-c", "2") as worker:
        project.proj.early.delay(0)
        wait_until(lambda: numbers(project) == [0])
        proxy.mute()
        for number in range(1, 9):
            project.proj.early.delay(number)
        wait_until(lambda: len(numbers(project)) == 9)
        proxy.unmute()
        project.proj.early.delay(9)
        wait_until(lambda: 9 in numbers(project), 30)
        wait_until(lambda: worker.log.count("started already") >= 8, 30)
        assert sorted(numbers(project)) == list(range(10))


def test_consuming_resumes_after_the_broker_was_away(proxied):
    project, proxy = proxied
    with project.worker("-c", "2") as worker:
        project.proj.late.delay(0)
        wait_until(lambda: numbers(project) == [0])
        proxy.refuse()
        project.proj.late.delay(1)
        time.sleep(2.5)
        assert numbers(project) == [0]
        proxy.accept()
        wait_until(lambda: 1 in numbers(project), 30)
        # It said so, and did not spin.
        assert 1 <= worker.log.count("Connection to broker lost") <= 3
        assert worker.log.count("Cannot connect") <= 10
        # Nothing is left of the connections that broke.
        before = len(os.listdir(f"/proc/{worker.pid}/fd"))
        for number in range(2, 5):
            proxy.cut()
            project.proj.late.delay(number)
            wait_until(lambda number=number: number in numbers(project), 30)
        assert len(os.listdir(f"/proc/{worker.pid}/fd")) <= before + 1


@pytest.mark.skipif(not LONG, reason="takes a minute; TASKQ_CHAOS=long runs it")
@pytest.mark.timeout(240)
def test_half_open_connections_are_noticed(proxied):
    """Both ends think that they are connected; what one says never reaches the other."""
    project, proxy = proxied
    with project.worker("-c", "2") as worker:
        project.proj.late.delay(0)
        wait_until(lambda: numbers(project) == [0])
        proxy.kill_silently()
        for number in range(1, 21):
            project.proj.late.delay(number)
        wait_until(lambda: set(numbers(project)) == set(range(21)), 60, worker.log[-3000:])
        wait_until(lambda: project.proj.app.control.ping(timeout=1), 90)
        assert worker.process.poll() is None


def test_a_slow_network(proxied):
    project, proxy = proxied
    with project.worker("-c", "2") as worker:
        project.proj.late.delay(0)
        wait_until(lambda: numbers(project) == [0])
        proxy.slow(0.2)
        for number in range(1, 41):
            project.proj.early.delay(number)
        wait_until(lambda: len(numbers(project)) >= 41, 60, worker.log[-3000:])
        assert sorted(numbers(project)) == list(range(41))
        assert "Connection to broker lost" not in worker.log
