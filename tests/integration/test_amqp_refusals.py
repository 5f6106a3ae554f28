"""RabbitMQ that does not let us in: errors say which broker that was and what may be wrong."""

from __future__ import annotations

import pytest
from amqp.exceptions import AccessRefused, NotAllowed
from sqlalchemy.engine import make_url

from taskq import TaskQ

SECRET = "s3cret-s3cret"


@pytest.fixture(params=["password", "vhost"])
def refused(request, amqp_url):
    """A URL that RabbitMQ refuses, and the error it does that with."""
    url = make_url(amqp_url)
    if request.param == "password":
        return url.set(password=SECRET).render_as_string(hide_password=False), AccessRefused
    return url.set(database="nowhere").render_as_string(hide_password=False), NotAllowed


@pytest.mark.parametrize(
    "use",
    [
        lambda task: task.delay(),
        lambda task: task.apply_async(retry=False),
        lambda task: task.app.send_task("x", countdown=1),
        lambda task: task.app.control.revoke("some-id"),
        lambda task: task.app.control.ping(timeout=0.1),
    ],
    ids=["delay", "no-retry", "by-name", "broadcast", "ping"],
)
def test_the_error_names_the_broker(refused, use):
    url, error = refused
    app = TaskQ("refused", broker=url, backend=None, set_as_current=False)
    task = app.task(lambda: None, name="x")
    with pytest.raises(error) as caught:
        use(task)
    (note,) = caught.value.__notes__
    assert "The message broker at amqp://" in note
    assert "check the user, its password" in note
    assert SECRET not in note


@pytest.mark.parametrize(
    "command", [("call", "x"), ("inspect", "ping"), ("status",), ("events", "--dump")], ids=" ".join
)
def test_commands_end_with_a_message(make_project, refused, command):
    project = make_project("", broker=refused[0], backend=None)
    ended = project.run("-A", "proj", *command)
    assert ended.returncode == 69
    assert "The message broker at amqp://" in ended.stderr
    assert "--broker" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert SECRET not in ended.stdout + ended.stderr


def test_a_worker_says_it_and_ends(make_project, amqp_url):
    url = make_url(amqp_url).set(password=SECRET).render_as_string(hide_password=False)
    project = make_project("", broker=url, backend=None)
    ended = project.run("-A", "proj", "worker", "-P", "solo")
    assert ended.returncode == 1
    assert "The message broker at amqp://" in ended.stderr
    assert SECRET not in ended.stdout + ended.stderr
