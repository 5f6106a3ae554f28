"""Chords counted in Redis, by us, by Celery, and by both at once."""

from __future__ import annotations

import threading

import pytest

from taskq import TaskQ
from tests.integration.redis_support import bodies_in

BOTH = ["ours", "theirs"]


def with_tasks(app):
    @app.task(name="proj.add", shared=False)
    def add(x, y):
        return x + y

    @app.task(name="proj.total", shared=False)
    def total(values):
        return sum(values)

    return app


@pytest.fixture
def apps(redis_url):
    from celery import Celery

    return {
        "ours": with_tasks(TaskQ("proj", broker=redis_url, backend=redis_url)),
        "theirs": with_tasks(Celery("proj", broker=redis_url, backend=redis_url)),
    }


def request_of(app, task_id, index, body, group="gid", size=2):
    import importlib

    package = "celery" if type(app).__module__.startswith("celery") else "taskq"
    context = importlib.import_module(f"{package}.app.task").Context
    return context(
        {"id": task_id, "group": group, "chord": {**body, "chord_size": size},
         "group_index": index, "delivery_info": {}}
    )  # fmt: skip


def body_of(app):
    return app.tasks["proj.total"].s().set(task_id="body")


def count(app, task_id, index, state="SUCCESS", result=None, **kwargs):
    request = request_of(app, task_id, index, body_of(app), **kwargs)
    app.backend.on_chord_part_return(request, state, index if result is None else result)


def sent(client):
    return bodies_in(client, "celery")


@pytest.mark.parametrize("last", BOTH)
@pytest.mark.parametrize("first", BOTH)
@pytest.mark.parametrize("sizing", BOTH)
def test_either_side_counts(apps, client, sizing, first, last):
    apps[sizing].backend.set_chord_size("gid", 2)
    count(apps[first], "b", 1, result=20)
    assert sent(client) == []
    count(apps[last], "a", 0, result=10)
    [[args, _, _]] = sent(client)
    assert args == [[10, 20]]
    assert client.get("celery-taskset-meta-gid.c") == b"done"
    assert client.keys("celery-taskset-meta-*") == [b"celery-taskset-meta-gid.c"]


@pytest.mark.parametrize("again", BOTH)
def test_redelivered_part_counts_once(apps, client, again):
    ours = apps["ours"]
    ours.backend.set_chord_size("gid", 2)
    count(ours, "a", 0)
    count(apps[again], "a", 0)
    assert sent(client) == []
    count(ours, "b", 1)
    assert len(sent(client)) == 1
    count(apps[again], "b", 1)
    count(apps[again], "a", 0)
    assert len(sent(client)) == 1


def test_parts_at_the_same_time_send_one_body(apps, client):
    ours = apps["ours"]
    ours.backend.set_chord_size("gid", 20)
    threads = [
        threading.Thread(target=count, args=(ours, f"id-{n}", n), kwargs={"size": 20})
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [[args, _, _]] = sent(client)
    assert args == [list(range(20))]


def test_part_of_a_worker_that_died_before_sending_sends_later(apps, client):
    ours = apps["ours"]
    ours.backend.set_chord_size("gid", 1)
    client.set("celery-taskset-meta-gid.c", "token-of-the-dead", ex=1)
    client.sadd("celery-taskset-meta-gid.d", "a:0")
    client.zadd("celery-taskset-meta-gid.j", {'[1, "a", "SUCCESS", 7]': 0})
    count(ours, "a", 0, result=7, size=1)  # delivered again
    [[args, _, _]] = sent(client)
    assert args == [[7]]


def test_failed_part_fails_the_body(apps, client):
    ours = apps["ours"]
    ours.backend.set_chord_size("gid", 2)
    count(ours, "a", 0, state="FAILURE", result=ValueError("boom"))
    count(ours, "b", 1)
    assert sent(client) == []
    meta = ours.backend.get_task_meta("body")
    assert meta["status"] == "FAILURE"
    assert "Dependency a raised ValueError('boom')" in str(meta["result"])
    count(ours, "b", 1)
    assert sent(client) == []


def test_results_in_order_of_completion(redis_url, client):
    app = TaskQ("proj", broker=redis_url, backend=redis_url)
    app.conf.result_backend_transport_options = {"result_chord_ordered": False}
    with_tasks(app)
    app.backend.set_chord_size("gid", 2)
    count(app, "b", 1)
    count(app, "a", 0)
    [[args, _, _]] = sent(client)
    assert args == [[1, 0]]


def test_added_tasks_are_waited_for(apps, client):
    ours = apps["ours"]
    ours.backend.set_chord_size("gid", 1)
    ours.backend.add_to_chord("gid", ours.AsyncResult("extra"))
    count(ours, "a", 0)
    assert sent(client) == []
    count(ours, "extra", 1)
    assert len(sent(client)) == 1


@pytest.mark.parametrize("side", BOTH)
def test_nested_groups_keep_their_shape(apps, client, side):
    ours = apps["ours"]
    inner = ours.GroupResult("inner", [ours.AsyncResult("b"), ours.AsyncResult("c")])
    ours.backend.apply_chord(("gid", [ours.AsyncResult("a"), inner]), body_of(ours))
    ours.backend.set_chord_size("gid", 3)
    for number, task_id in enumerate("abc"):
        ours.backend.store_result(task_id, number, "SUCCESS")
        count(apps[side], task_id, number, size=3)
    [[args, _, _]] = sent(client)
    assert args == [[0, [1, 2]]]


def test_keys_expire(apps, client):
    ours = apps["ours"]
    ours.conf.result_chord_expires = 100
    ours.backend.set_chord_size("gid", 2)
    count(ours, "a", 0)
    for key in client.keys("celery-taskset-meta-gid*"):
        assert 0 < client.ttl(key) <= 100


def test_part_of_an_unknown_chord_sends_nothing(apps, client):
    count(apps["ours"], "a", 0, group="unknown")
    assert sent(client) == []
