"""Dead letters: kept with the reason, shown, sent again, deleted; messages that kill workers."""

from __future__ import annotations

import json
import os
import time

import pytest
from click.testing import CliRunner

from taskq.bin.celery import celery
from taskq.exceptions import ImproperlyConfigured
from tests.integration.project import wait_until

LONG = os.environ.get("TASKQ_CHAOS") == "long"

CODE = """
import signal

def line(name, text):
    with open(name, "a") as out:
        out.write(text + "\\n")

@app.task(bind=True, max_retries=1)
def fail(self, number, secret=None):
    if os.path.exists("mended"):
        return number
    try:
        raise ValueError(f"no {number}")
    except ValueError as exc:
        raise self.retry(exc=exc, countdown=0)

@app.task(acks_late=True)
def refuse():
    from taskq.exceptions import Reject
    raise Reject("not me", requeue=False)

@app.task(acks_late=True)
def late_failure():
    raise KeyError("late")

@app.task
def add(x, y):
    return x + y

@app.task(acks_late=True, reject_on_worker_lost=True)
def kill(who):
    line("starts", who)
    os.kill(os.getppid() if who == "main" else os.getpid(), signal.SIGKILL)
    time.sleep(30)

@app.task(acks_late=True, reject_on_worker_lost=True)
def innocent(number):
    return number
"""


@pytest.fixture(scope="module", params=["redis", "sqlite", "amqp"])
def broker(request, tmp_path_factory, redis_server):
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('dead')}/dead.db"
        return url, url
    if request.param == "amqp":
        return request.getfixturevalue("amqp_url"), redis_server
    return redis_server, redis_server


@pytest.fixture
def project(broker, make_project, unique):
    conf = {
        "task_dead_letter_queue": f"dead-{unique}",
        "task_delivery_limit": 3,
        "broker_transport_options": {} if broker[0].startswith("amqp") else {"lease": 1},
        "task_publish_retry": False,
    }
    made = make_project(CODE, broker=broker[0], backend=broker[1], conf=conf)
    yield made
    with made.proj.app.connection_for_write() as connection:
        channel = connection.channel()
        for queue in (conf["task_dead_letter_queue"], made.queue):
            channel.queue_delete(queue)


@pytest.fixture
def letters(project):
    return project.proj.app.dead_letters


def test_what_came_to_nothing_is_kept_shown_and_sent_again(project, letters):
    proj = project.proj
    with project.worker("-c", "1") as worker:
        failed = proj.fail.apply_async((1,), {"secret": 2}, expires=300)
        refused, late = proj.refuse.delay(), proj.late_failure.delay()
        unknown = proj.app.send_task("proj.unknown", (1,))
        good = proj.add.delay(1, 2)
        assert good.get(timeout=20) == 3
        wait_until(lambda: len(letters) == 4)
        found = {letter.task_id: letter for letter in letters.list()}
        assert set(found) == {failed.id, refused.id, late.id, unknown.id}

        epitaph = found[failed.id].epitaph
        assert (epitaph.reason, found[failed.id].retries) == ("failed", 1)
        assert "no 1" in epitaph.exception
        assert 'raise ValueError(f"no {number}")' in epitaph.traceback
        assert epitaph.queue == project.queue
        assert epitaph.hostname.startswith("w0-")
        assert abs(epitaph.died - time.time()) < 60
        assert found[refused.id].epitaph.reason == "rejected"
        assert found[late.id].epitaph.reason == "failed"
        assert found[unknown.id].epitaph.reason == "invalid"
        assert letters.counts()["proj.fail", "failed"] == 1

        # Looking changed nothing.
        assert [letter.key for letter in letters.list()] == [one.key for one in found.values()]
        assert letters.get(failed.id).headers["argsrepr"] == "(1,)"
        assert json.loads(letters.get(failed.id).body)[0] == [1]

        (project.directory / "mended").touch()
        assert letters.retry(lambda letter: letter.task_id == failed.id) == 1
        # A handle that has seen an end does not look again.
        wait_until(lambda: proj.app.AsyncResult(failed.id).state == "SUCCESS")
        assert letters.purge(lambda letter: letter.epitaph.reason == "rejected") == 1
        assert {letter.task_id for letter in letters.list()} == {late.id, unknown.id}
        with pytest.raises(KeyError, match="no dead letter"):
            letters.get(failed.id)
        assert worker.process.poll() is None


@pytest.mark.parametrize("broker", ["sqlite"], indirect=True)
def test_the_command(project, letters):
    proj = project.proj
    with project.worker("-c", "1"):
        results = [proj.late_failure.delay() for _ in range(3)]
        wait_until(lambda: len(letters) == 3)

        def dead(*arguments, code=0):
            ran = CliRunner().invoke(celery, ["-A", "proj", "dead", *arguments])
            assert ran.exit_code == code, ran.output
            return ran.output

        shown = dead("list")
        assert all(result.id in shown for result in results)
        assert "KeyError('late')" in shown
        assert dead("list", "--counts").split() == ["3", "failed", "proj.late_failure"]
        assert len(json.loads(dead("list", "--json", "-t", "proj.late_failure"))) == 3
        assert "Traceback" in dead("show", results[0].id)
        assert "not found" in dead("purge", "nobody", code=1)
        assert "Say which" in dead("retry", code=1)
        assert "Deleted 1." in dead("purge", results[0].id)
        assert "Sent 2 again." in dead("retry", "--all", "-Q", project.queue)
        wait_until(lambda: len(letters) == 2)  # they failed once more
        assert "Deleted 2." in dead("purge", "--reason", "failed")
        assert "No dead letters." in dead("list")


@pytest.mark.parametrize(
    ("broker", "who"),
    [
        ("redis", "main"),
        ("sqlite", "child"),
        ("amqp", "child"),
        *([("redis", "child"), ("sqlite", "main"), ("amqp", "main")] if LONG else []),
    ],
    indirect=["broker"],
)
def test_a_message_that_kills_is_stopped(project, letters, who):
    proj = project.proj
    killer = proj.kill.apply_async((who,))
    innocents = [proj.innocent.delay(number) for number in range(5)]
    workers = [project.start_worker("-c", "1")]

    def settled():
        if workers[-1].process.poll() is not None:
            workers.append(project.start_worker("-c", "1"))
        return killer.state == "FAILURE"

    wait_until(settled, 90)
    assert (project.directory / "starts").read_text().split() == [who] * 3
    assert "DeliveryLimitExceeded" in repr(killer.result)
    if who == "child" or not project.broker.startswith("amqp"):
        # RabbitMQ counts what was held beside it as well.
        assert [result.get(timeout=30) for result in innocents] == list(range(5))
    (letter,) = letters.list(matching=lambda letter: letter.task_id == killer.id)
    assert (letter.task_id, letter.epitaph.reason) == (killer.id, "delivery-limit")
    assert letter.epitaph.deliveries == 3
    workers[-1].stop()


@pytest.mark.parametrize("broker", ["redis", "amqp"], indirect=True)
def test_retention(project, letters):
    app = project.proj.app
    app.conf.task_dead_letter_max = 3
    with project.worker("-c", "1"):
        results = [project.proj.late_failure.delay() for _ in range(5)]
        wait_until(lambda: len(letters) == 5)
    assert letters.trim() == 2
    wait_until(lambda: len(letters) == 3)
    assert [letter.task_id for letter in letters.list()] == [result.id for result in results[2:]]
    app.conf.task_dead_letter_expires = 0.001
    assert letters.list() == []
    wait_until(lambda: len(letters) == 0)


def test_without_a_queue_nothing_is_kept(make_project, sqlite_url):
    project = make_project(CODE, broker=sqlite_url, backend=sqlite_url)
    with project.worker("-c", "1"):
        result = project.proj.late_failure.delay()
        wait_until(lambda: result.state == "FAILURE")
    with pytest.raises(ImproperlyConfigured, match="task_dead_letter_queue"):
        project.proj.app.dead_letters.list()
    ran = CliRunner().invoke(celery, ["-A", "proj", "dead", "list"])
    assert ran.exit_code != 0
    assert "task_dead_letter_queue" in ran.output
