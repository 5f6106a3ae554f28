"""Commands that send tasks, read results and look at queues."""

from __future__ import annotations

import json
import sys

import pytest


def app():
    return sys.modules["proj"].app


def test_call_sends_and_prints_the_id(taskq, project):
    result = taskq(
        "-A", "proj", "call", "proj.add", "-a", "[1, 2]", "--queue", "q1", "--countdown", "5"
    )
    assert result.exit_code == 0, result.output
    with app().connection_for_read() as connection:
        message = connection.SimpleQueue("q1").get(timeout=1)
    assert message.headers["id"] == result.output.strip()
    assert message.headers["task"] == "proj.add"
    assert message.headers["eta"]
    assert message.payload[0] == [1, 2]
    message.ack()


def test_call_and_report_as_json(taskq, project):
    sent = taskq("-A", "proj", "call", "proj.add", "-a", "[1, 2]", "--json")
    assert list(json.loads(sent.output)) == ["id"]
    app().conf.update(redis_password="hush", beat_schedule={"x": {"task": "t", "schedule": 5}})
    report = taskq("-A", "proj", "report", "--json")
    told = json.loads(report.output)
    assert told["software"]["taskq"] in taskq("-A", "proj", "report").output
    assert set(told["platform"]) == {"arch", "implementation", "kernel_version", "system"}
    assert told["settings"]["redis_password"] == "********"
    assert told["settings"]["beat_schedule"]["x"]["task"] == "t"
    assert "hush" not in report.output


def test_call_refuses_what_is_no_array(taskq, project):
    result = taskq("-A", "proj", "call", "proj.add", "-a", "{}")
    assert result.exit_code == 2
    assert "was not an array" in result.output


def test_call_without_a_broker_says_what_to_do(taskq, project, module):
    module(
        "away",
        """
        from taskq import TaskQ
        app = TaskQ("away", broker="amqp://guest:secret@127.0.0.1:1//", set_as_current=False)
        app.conf.task_publish_retry = False
        """,
    )
    result = taskq("-A", "away", "call", "t")
    assert result.exit_code == 69
    assert "Cannot reach the message broker" in result.output
    assert "secret" not in result.output
    assert "sqlite:///" in result.output


def test_an_unknown_kind_of_broker(taskq, project):
    result = taskq("-A", "proj", "-b", "rabbit://localhost", "call", "t")
    assert result.exit_code == 1
    assert "No such transport: rabbit" in result.output
    assert "amqp://" in result.output


class TestResult:
    def test_a_value(self, taskq, project):
        taskq("-A", "proj", "report")
        app().backend.store_result("done", 3, "SUCCESS")
        assert taskq("-A", "proj", "result", "done").output == "3\n"
        assert json.loads(taskq("-A", "proj", "result", "done", "--json").output) == 3

    def test_a_failure_is_told_in_its_own_words(self, taskq, project):
        taskq("-A", "proj", "report")
        app().backend.store_result("failed", KeyError("x"), "FAILURE", traceback="the trace")
        result = taskq("-A", "proj", "result", "failed")
        assert result.exit_code == 1
        assert "KeyError: 'x'" in result.output
        assert "the trace" not in result.output
        assert "the trace" in taskq("-A", "proj", "result", "failed", "--traceback").output

    def test_waiting_ends(self, taskq, project):
        result = taskq("-A", "proj", "result", "never", "--timeout", "0.05")
        assert result.exit_code == 1
        assert "its state is PENDING" in result.output

    def test_an_unknown_task_name(self, taskq, project):
        result = taskq("-A", "proj", "result", "done", "-t", "proj.nope")
        assert result.exit_code == 1
        assert "proj.add" in result.output


class TestPurge:
    def send(self, taskq, count: int, queue: str = "celery") -> None:
        for _ in range(count):
            assert taskq("-A", "proj", "call", "t", "--queue", queue).exit_code == 0

    def test_all_known_queues(self, taskq, project):
        self.send(taskq, 2)
        result = taskq("-A", "proj", "purge", "-f")
        assert result.output == "Purged 2 messages from 1 known task queue.\n"
        assert taskq("-A", "proj", "purge", "-f").output == "No messages purged from 1 queue.\n"

    def test_as_json(self, taskq, project):
        self.send(taskq, 2)
        assert json.loads(taskq("-A", "proj", "purge", "-f", "--json").output) == {"celery": 2}
        assert taskq("-A", "proj", "purge", "-f", "--json", "-X", "celery").output == "{}\n"
        refused = taskq("-A", "proj", "purge", "--json")
        assert refused.exit_code == 2
        assert "add -f" in refused.output

    def test_it_asks(self, taskq, project):
        self.send(taskq, 1)
        refused = taskq("-A", "proj", "purge", input="n\n")
        assert refused.exit_code == 1
        assert "There is no undo" in refused.output
        assert "Purged 1 message" in taskq("-A", "proj", "purge", input="y\n").output

    def test_chosen_queues(self, taskq, project):
        self.send(taskq, 1, "a")
        self.send(taskq, 1, "b")
        result = taskq("-A", "proj", "purge", "-f", "-Q", "a,b", "-X", "b")
        assert result.output == "Purged 1 message from 1 known task queue.\n"
        assert "Purged 1" in taskq("-A", "proj", "purge", "-f", "-Q", "b").output

    def test_nothing_left_to_purge(self, taskq, project):
        assert "all are excluded" in taskq("-A", "proj", "purge", "-f", "-X", "celery").output


def test_list_bindings_of_a_broker_that_cannot(taskq, project):
    result = taskq("-A", "proj", "list", "bindings")
    assert result.exit_code in (0, 1)
    assert "Traceback" not in result.output


def test_shell_has_the_app_and_its_tasks(taskq, project):
    result = taskq(
        "-A", "proj", "shell", "--python",
        input="print(app.main, add.name, chain.__name__, celery is app)\n",
    )  # fmt: skip
    assert "proj proj.add" in result.output
    assert "True" in result.output


def test_shell_without_tasks(taskq, project):
    result = taskq("-A", "proj", "shell", "--python", "-T", input="print('add' in globals())\n")
    assert "False" in result.output


def test_a_shell_that_is_not_installed(taskq, project):
    result = taskq("-A", "proj", "shell", "--bpython")
    assert result.exit_code == 1
    assert "pip install bpython" in result.output


@pytest.mark.parametrize(
    "url",
    [
        "redis://:secret@127.0.0.1:1/0",
        "sqlite:///nowhere/results.db",
        "sqlite:///damaged.db",
        "db+postgresql://me:secret@127.0.0.1:1/results",
        "mongodb://me:secret@127.0.0.1:1/results?serverSelectionTimeoutMS=10",
    ],
)
def test_a_result_store_that_cannot_be_reached(taskq, project, tmp_path, url):
    (tmp_path / "damaged.db").write_text("no database" * 20)
    result = taskq("-A", "proj", "--result-backend", url, "result", "some-id", "--timeout", "1")
    assert result.exit_code == 69
    where = url.partition("?")[0].replace("secret", "**")
    assert f"Cannot reach the result backend at {where}" in result.output
    assert "--result-backend" in result.output
    assert "secret" not in result.output
    assert "Traceback" not in result.output


def test_results_as_messages_need_the_broker(taskq, project):
    result = taskq(
        *("-A", "proj", "-b", "redis://:secret@127.0.0.1:1/0", "--result-backend", "rpc://"),
        *("result", "some-id", "--timeout", "1"),
    )
    assert result.exit_code == 69
    assert "Cannot reach the message broker" in result.output
    assert "secret" not in result.output
