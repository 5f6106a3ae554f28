"""Whatever is put on its queues, a worker says what it was, goes on, and loses nothing else."""

from __future__ import annotations

import json
import os
import random
import time
import uuid
import zlib

import pytest

from tests.integration.project import wait_until

LONG = os.environ.get("TASKQ_CHAOS") == "long"

CODE = """
@app.task
def add(x, y):
    return x + y

@app.task(acks_late=True)
def late(x):
    return x
"""

BODY = b'[[1, 2], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
JSON = "application/json"


def headers(**changes):
    return {
        "lang": "py",
        "task": "proj.add",
        "id": str(uuid.uuid4()),
        "root_id": None,
        "parent_id": None,
        "group": None,
        **changes,
    }


def bomb(size: int) -> bytes:
    return zlib.compress(b"[" + b" " * size + b"]", 9)


#: Name of what is wrong -> (body, content type, content encoding, headers).
BAD = {
    "not JSON": (b"{", JSON, "utf-8", {}),
    "binary": (bytes(range(256)), JSON, "utf-8", headers()),
    "nothing": (b"", JSON, "utf-8", {}),
    "empty body": (b"", JSON, "utf-8", headers()),
    "wrong content type": (BODY, "application/x-nonsense", "utf-8", headers()),
    "pickle": (b"\x80\x04N.", "application/x-python-serialize", "binary", headers()),
    "wrong encoding": (BODY, JSON, "klingon", headers()),
    "no content type": (BODY, None, None, headers()),
    "unknown task": (BODY, JSON, "utf-8", headers(task="proj.nobody")),
    "task is a number": (BODY, JSON, "utf-8", headers(task=7)),
    "task is a list": (BODY, JSON, "utf-8", headers(task=["proj.add"])),
    "task is an object": (BODY, JSON, "utf-8", headers(task={"a": 1})),
    "no id": (BODY, JSON, "utf-8", {"task": "proj.add"}),
    "id is an object": (BODY, JSON, "utf-8", headers(id={"a": 1})),
    "body is a number": (b"7", JSON, "utf-8", headers()),
    "body is too short": (b"[[1, 2]]", JSON, "utf-8", headers()),
    "arguments are text": (b'["ab", {}, {}]', JSON, "utf-8", headers()),
    "keywords are a list": (b"[[1, 2], [], {}]", JSON, "utf-8", headers()),
    "links are a number": (b"[[1, 2], {}, 7]", JSON, "utf-8", headers()),
    "callbacks are nonsense": (b'[[1, 2], {}, {"callbacks": 5}]', JSON, "utf-8", headers()),
    "ETA is nonsense": (BODY, JSON, "utf-8", headers(eta="soon")),
    "ETA is NaN": (BODY, JSON, "utf-8", headers(eta="NaN")),
    "ETA is a number": (BODY, JSON, "utf-8", headers(eta=1e300)),
    "ETA in year 10000": (BODY, JSON, "utf-8", headers(eta="10000-01-01T00:00:00+00:00")),
    "expires is a list": (BODY, JSON, "utf-8", headers(expires=[1])),
    "retries is text": (BODY, JSON, "utf-8", headers(retries="many")),
    "time limits are text": (BODY, JSON, "utf-8", headers(timelimit="soon")),
    "time limits of text": (BODY, JSON, "utf-8", headers(timelimit=["a", "b"])),
    "stamps are a number": (BODY, JSON, "utf-8", headers(stamps=3, stamped_headers=4)),
    "deep": (b"[" * 100_000 + b"]" * 100_000, JSON, "utf-8", headers()),
    "huge": (b'[["' + b"x" * 2_000_000 + b'"], {}, {}]', JSON, "utf-8", headers()),
    "unknown compression": (BODY, JSON, "utf-8", headers(compression="application/x-magic")),
    "not compressed": (BODY, JSON, "utf-8", headers(compression="application/x-gzip")),
    "half of it": (
        zlib.compress(BODY)[:-9],
        JSON,
        "utf-8",
        headers(compression="application/x-gzip"),
    ),
    "a bomb": (bomb(50_000_000), JSON, "utf-8", headers(compression="application/x-gzip")),
    "protocol 1 without task": (b'{"id": "a", "args": []}', JSON, "utf-8", {}),
    "protocol 1 with wrong arguments": (
        b'{"task": "proj.add", "id": "a", "args": 5, "kwargs": []}',
        JSON,
        "utf-8",
        {},
    ),
}

#: Remote control by strangers.
CONTROL = (
    7,
    "text",
    [],
    {},
    {"method": "nonsense"},
    {"method": 7, "arguments": 7},
    {"method": "ping", "arguments": [1]},
    {"method": "ping", "reply_to": 7, "ticket": 7},
    {"method": "ping", "reply_to": {"exchange": "nowhere"}},
    {"method": "rate_limit", "arguments": {"task_name": 3, "rate_limit": {}}},
    {"method": "revoke", "arguments": {"task_id": {"a": 1}}},
    {"method": "time_limit", "arguments": {}},
    {"method": "ping", "destination": 7},
    {"method": "ping", "pattern": "[", "matcher": "pcre"},
)


@pytest.fixture(params=["redis", "sqlite", "amqp"])
def project(request, make_project):
    url = request.getfixturevalue(f"{request.param}_url")
    backend = request.getfixturevalue("redis_url") if request.param == "amqp" else url
    return make_project(
        CODE, broker=url, backend=backend, conf={"task_max_decompressed_size": 1_000_000}
    )


def memory(pid: int) -> int:
    """Return the resident memory of a process in MB."""
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096 // 1024**2


def test_bad_messages_are_logged_and_valid_ones_are_done(project):
    proj = project.proj
    results = []
    with project.worker("-c", "2") as worker:
        proj.add.delay(1, 1).get(timeout=20)
        before = memory(worker.pid)
        with proj.app.connection_for_write() as connection:
            producer = connection.Producer(auto_declare=False)
            for number, (body, content_type, encoding, given) in enumerate(BAD.values()):
                producer.publish(
                    body,
                    routing_key=project.queue,
                    content_type=content_type,
                    content_encoding=encoding,
                    headers=given,
                )
                results.append(proj.add.delay(number, 1))
                results.append(proj.late.delay(number + 1))
            if project.broker.startswith("redis"):
                client = connection.channel().client
                for raw in (b"", b"null", b"[1]", b'"', b"\xff\xfe", b'{"body": 1}', b"[" * 99_999):
                    client.lpush(project.queue, raw)
        expected = [number + 1 for number in range(len(BAD)) for _ in range(2)]
        assert [result.get(timeout=30) for result in results] == expected
        assert worker.process.poll() is None
        assert len(worker.children()) == 2
        assert memory(worker.pid) - before < 60
        log = worker.log
        for name in ("proj.nobody", "application/x-nonsense", "soon", "10000-01-01", "x-magic"):
            assert name in log, name
        assert "task_max_decompressed_size" in log
        assert log.count("Unrecoverable error") == 0


@pytest.mark.parametrize("project", ["sqlite"], indirect=True)
def test_the_same_id_many_times(project):
    proj = project.proj
    with project.worker("-c", "2"):
        for number in range(20):
            proj.add.apply_async((number, 0), task_id="the-same")
        other = proj.add.delay(40, 2)
        assert other.get(timeout=20) == 42
        assert proj.app.AsyncResult("the-same").get(timeout=20) in range(20)
        wait_until(lambda: not proj.app.control.inspect(timeout=2).reserved().popitem()[1])


@pytest.mark.parametrize("project", ["redis", "amqp"], indirect=True)
def test_control_messages_from_strangers(project):
    proj = project.proj
    with project.worker("-c", "1") as worker:
        with proj.app.connection_for_write() as connection:
            exchange = proj.app.control.mailbox.exchange
            producer = connection.Producer(exchange=exchange, auto_declare=True)
            for message in CONTROL:
                producer.publish(message, serializer="json")
            for body, content_type in (
                (b"{", JSON),
                (b"\x80\x04N.", "application/x-python-serialize"),
                (b"x", "application/x-nonsense"),
                (b"[" * 100_000, JSON),
            ):
                producer.publish(body, content_type=content_type, content_encoding="utf-8")
        assert proj.add.delay(2, 2).get(timeout=20) == 4
        wait_until(lambda: proj.app.control.inspect(timeout=1).ping())
        assert worker.process.poll() is None


def test_commands_that_are_not_allowed(make_project, redis_url):
    project = make_project(
        CODE,
        broker=redis_url,
        backend=redis_url,
        conf={"worker_control_commands_allowed": ["ping", "query_*"]},
    )
    app = project.proj.app
    with project.worker("-c", "1") as worker:
        control = app.control
        assert [list(answer.values())[0] for answer in control.ping(timeout=2)] == [{"ok": "pong"}]
        (answer,) = control.broadcast("shutdown", reply=True, timeout=2)
        assert "not allowed" in json.dumps(answer)
        control.broadcast("pool_shrink", arguments={"n": 1})
        worker.wait_for_log("'pool_shrink' refused")
        assert app.control.inspect(timeout=2).query_task("nobody")
        assert project.proj.add.delay(1, 1).get(timeout=20) == 2
        assert worker.process.poll() is None


#: What a header may be that nobody expects.
JUNK = (
    *(None, True, 0, 7, -1, 1e308, float("nan"), float("inf"), 10**30),
    *("", "x", "NaN", "9999-12-31T23:59:59", "0001-01-01T00:00:00+14:00", "\x00", "\ud800"),
    *([], [None], [1, 2, 3], [[[]]], {}, {"a": 1}, {"task": "proj.add"}, "y" * 10_000),
)
FIELDS = (
    *("lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries"),
    *("timelimit", "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result"),
    *("replaced_task_nesting", "stamped_headers", "stamps", "compression", "redelivered"),
)


@pytest.mark.parametrize("project", ["redis", "sqlite"] if LONG else ["redis"], indirect=True)
def test_headers_by_chance(project):
    proj, seed = project.proj, int(os.environ.get("TASKQ_CHAOS_SEED") or time.time())
    print(f"TASKQ_CHAOS_SEED={seed}")
    chance = random.Random(seed)
    results = []
    with project.worker("-c", "2", "-E") as worker:
        with proj.app.connection_for_write() as connection:
            producer = connection.Producer(auto_declare=False)
            for number in range(2000 if LONG else 200):
                fields = chance.sample(FIELDS, chance.randint(1, 3))
                producer.publish(
                    BODY,
                    routing_key=project.queue,
                    content_type=JSON,
                    content_encoding="utf-8",
                    headers=headers(**{field: chance.choice(JUNK) for field in fields}),
                )
                if number % 10 == 0:
                    results.append(proj.late.delay(number))
        assert [result.get(timeout=60) for result in results] == list(
            range(0, 10 * len(results), 10)
        )
        assert worker.process.poll() is None, worker.log[-2000:]
        assert "Unrecoverable error" not in worker.log
