"""Beside real Celery workers: each side runs what a dead process of the other left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from kombu import Consumer, Exchange, Queue

from taskq.transport import Connection
from tests.integration.redis_support import receiving, script, wait_for

pytest.importorskip("celery")

APP = """
import time
from celery import Celery
app = Celery("proj", broker={url!r}, set_as_current=False)
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=4,
    broker_transport_options={{
        "visibility_timeout": 3, "unacked_restore_interval": 1, "unacked_restore_throttle": 1,
    }},
)

@app.task(shared=False)
def note(value, seconds=0):
    import redis
    client = redis.Redis.from_url({url!r})
    client.rpush("begun", value)
    time.sleep(seconds)
    client.rpush("done", value)
"""

HOLDER = """
import sys
from tests.integration.redis_support import Receiver
receiver = Receiver(sys.argv[1], "celery", lease=60)
receiver.receive(3)
print("holding", flush=True)
while True:
    receiver.turn()
"""


@pytest.fixture
def project(redis_url, tmp_path):
    (tmp_path / "proj.py").write_text(APP.format(url=redis_url))
    return tmp_path


@pytest.fixture
def celery_app(project, redis_url):
    namespace = {"__name__": "proj"}
    exec(APP.format(url=redis_url), namespace)
    return namespace["app"]


def start_worker(project):
    return subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "proj", "worker", "-c", "1", "-l", "WARNING",
         "--without-gossip", "--without-mingle"],
        cwd=project, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "C_FORCE_ROOT": "1"},
    )  # fmt: skip


@pytest.fixture
def worker(project):
    processes = []

    def start():
        processes.append(start_worker(project))
        return processes[-1]

    yield start
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def done(client):
    return sorted(int(value) for value in client.lrange("done", 0, -1))


@pytest.mark.slow
def test_celery_runs_what_our_dead_process_held(celery_app, redis_url, client, worker):
    for value in range(3):
        celery_app.send_task("proj.note", [value])
    with script(HOLDER, redis_url) as process:
        assert process.stdout.readline() == "holding\n"
    worker()
    wait_for(lambda: done(client) == [0, 1, 2], timeout=40)
    wait_for(lambda: not client.exists("unacked", "unacked_index", "celery"))


@pytest.mark.slow
def test_we_get_what_a_dead_celery_worker_held(celery_app, redis_url, client, worker):
    for value in range(3):
        celery_app.send_task("proj.note", [value, 60])
    process = worker()
    wait_for(lambda: client.llen("begun") == 1 and client.hlen("unacked") == 3, timeout=40)
    os.killpg(process.pid, signal.SIGKILL)
    killed = time.monotonic()
    options = {"visibility_timeout": 3, "unacked_restore_interval": 1, "ack": True}
    with receiving(redis_url, "celery", **options) as receiver:
        receiver.run_until(lambda: len(receiver.messages) == 3, timeout=20)
        assert time.monotonic() - killed < 10
        assert all(message.headers["redelivered"] for message in receiver.messages)
        receiver.turn(5)
    assert not client.exists("unacked", "unacked_index", "celery")


@pytest.mark.slow
def test_celery_worker_runs_what_we_publish(celery_app, redis_url, client, worker):
    with Connection(redis_url) as connection:
        message = celery_app.amqp.as_task_v2("id-1", "proj.note", [7])
        connection.Producer().publish(
            message.body, exchange="", routing_key="celery", headers=message.headers,
            serializer="json", **{k: v for k, v in message.properties.items() if v},
        )  # fmt: skip
        worker()
        wait_for(lambda: done(client) == [7], timeout=40)


@pytest.mark.slow
def test_events_of_a_celery_worker(celery_app, redis_url, worker):
    got = []
    with Connection(redis_url) as connection:
        exchange = Exchange("celeryev", type="fanout")
        queue = Queue("celeryev.us", exchange, routing_key="#", auto_delete=True, durable=False)
        Consumer(
            connection.channel(), [queue], no_ack=True, accept=["json"],
            callbacks=[lambda body, message: got.append(body)],
        ).consume()  # fmt: skip
        process = worker()
        deadline = time.monotonic() + 40
        while not got:
            assert time.monotonic() < deadline
            assert process.poll() is None
            with contextlib.suppress(TimeoutError):
                connection.drain_events(timeout=0.5)
        first = got[0][0] if isinstance(got[0], list) else got[0]
        assert first["type"].startswith("worker-")
