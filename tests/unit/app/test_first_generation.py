"""Code written for the first releases finds its names, and hears of today's once."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings

import pytest

from taskq import TaskQ

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from taskq import registry
    from taskq.decorators import task
    from taskq.task import Task


@pytest.fixture
def app():
    app = TaskQ("old", broker="memory://", backend="cache+memory://")
    app.conf.task_always_eager = True
    app.set_current()
    return app


class AddTask(Task):
    def run(self, x, y, **kwargs):
        logger = self.get_logger(**kwargs)
        logger.info("Adding %s + %s", x, y)
        return x + y


@task(serializer="json")
def create_user(username, password):
    return username


@task()
def describe(x, task_id=None, task_name=None, task_retries=None, task_is_eager=None, **kwargs):
    describe.get_logger(**kwargs).info("describing")
    return [x, task_id, task_name, task_retries, task_is_eager, sorted(kwargs)]


@task
def who(task_id, task_name):
    return [task_id, task_name]


@task()
def tweet(text, **kwargs):
    try:
        raise ConnectionError("whale")
    except ConnectionError as exc:
        tweet.retry([text], kwargs, exc=exc, countdown=0)


class Retrying(Task):
    max_retries = 2
    default_retry_delay = 0

    def run(self, x, y, **kwargs):
        if kwargs["task_retries"] < 2:
            self.retry([x, y], kwargs, exc=ValueError("again"))
        return [x, y, kwargs["task_retries"]]


class Common(Task):
    abstract = True


class Concrete(Common):
    name = "concrete"

    def run(self):
        return self.name


def test_a_class_is_registered_by_its_definition(app, caplog):
    assert AddTask.name in registry.tasks
    with caplog.at_level(logging.INFO):
        assert AddTask.delay(2, 3).get() == 5
        assert AddTask().delay(2, 3).get() == 5
    assert "Adding 2 + 3" in caplog.text


def test_abstract_classes_are_not(app):
    assert Common.name is None
    assert Concrete.delay().get() == "concrete"
    assert Concrete.apply_async().get() == "concrete"


def test_functions(app):
    assert create_user.delay("u", "p").get() == "u"
    assert create_user("u", password="p") == "u"
    assert create_user.serializer == "json"
    again = task()(lambda: 1)
    again.__name__ = "again"
    assert again.__name__ == "again"


def test_default_keyword_arguments(app):
    seen = describe.apply_async((1,), task_id="the-id").get()
    assert seen == [1, "the-id", describe.name, 0, True, ["delivery_info", "logfile", "loglevel"]]
    assert who.apply_async(task_id="the-id").get() == ["the-id", who.name]


def test_they_are_not_sent_again_by_a_retry(app):
    assert Retrying.delay(1, y=2).get() == [1, 2, 2]
    with pytest.raises(ConnectionError):
        tweet.delay("hello").get()


@pytest.mark.parametrize(
    "line",
    [
        "from taskq import registry",
        "import taskq.task, taskq.decorators, taskq.registry",
        "from taskq.decorators import task",
    ],
)
def test_importing_warns_once(line):
    done = subprocess.run(
        [sys.executable, "-W", "always::DeprecationWarning", "-c", line],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("first generation") == 1
    assert "app.register_task()" in done.stderr


def test_functions_that_work_with_the_current_app():
    import taskq

    app = TaskQ("first", broker="memory://", backend="cache+memory://")
    app.set_current()
    app.conf.task_default_queue = "first-generation"

    task_id = taskq.execute.send_task("elsewhere", (1,)).id
    with taskq.messaging.establish_connection() as connection:
        got = []
        consumer = taskq.messaging.TaskConsumer(connection.default_channel)
        consumer.callbacks = [lambda body, message: got.append(message)]
        with consumer:
            connection.drain_events(timeout=5)

    assert got[0].headers["id"] == task_id
    assert taskq.messaging.get_consumer_set is taskq.messaging.TaskConsumer
    assert taskq.log.get_default_logger("first").name == "first"


def test_the_loggers_of_tasks_warn_once():
    code = """
from taskq import TaskQ
task = TaskQ("old").task(name="task")(lambda: None)
assert task.get_logger().name == task.get_logger().name == "task"
"""
    done = subprocess.run(
        [sys.executable, "-W", "always::DeprecationWarning", "-c", code],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("get_task_logger(__name__)") == 1
