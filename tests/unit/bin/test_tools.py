"""Commands that need no broker: logtool, upgrade, graph, completion, repl."""

from __future__ import annotations

import json

import pytest
from click.shell_completion import ShellComplete

from taskq.bin.celery import celery

LOG = """\
[2026-01-01 10:00:00,000: INFO/MainProcess] Task proj.add[aaa1] received
[2026-01-01 10:00:00,100: INFO/ForkPoolWorker-1] Task proj.add[aaa1] succeeded in 0.1s: 3
[2026-01-01 10:00:00,000: INFO/MainProcess] Task proj.add[aaa2] received
[2026-01-01 10:00:00,000: INFO/MainProcess] Task proj.bad[aaa3] received
[2026-01-01 10:00:00,100: ERROR/ForkPoolWorker-1] Task proj.bad[aaa3] raised: ValueError('x')
Traceback (most recent call last):
ValueError: x
[2026-01-01 10:00:01,000: INFO/MainProcess] Connected to redis
"""
SETTINGS = """\
# CELERYD_CONCURRENCY stays in comments
BROKER_URL = 'amqp://'  # and behind: BROKER_URL
CELERY_QUEUES = NAME = "CELERY_QUEUES"
app.conf.update(CELERYD_CONCURRENCY=3)
"""


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "w.log"
    path.write_text(LOG)
    return str(path)


def test_logtool(taskq, log):
    stats = taskq("logtool", "stats", log).output
    assert "Task total: 3" in stats
    assert "Task errors: 1" in stats
    assert "Task success: 1" in stats
    assert "proj.add: 2" in stats
    assert taskq("logtool", "incomplete", log).output == "Did not complete: proj.add[aaa2]\n"
    counts = {"total": 3, "errors": 1, "success": 1, "completed": 2}
    names = {"proj.add": 2, "proj.bad": 1}
    assert json.loads(taskq("logtool", "stats", "--json", log).output) == counts | {"tasks": names}
    left = json.loads(taskq("logtool", "incomplete", "--json", log).output)
    assert left == [{"id": "aaa2", "name": "proj.add"}]
    failed = taskq("logtool", "errors", log).output
    assert failed.startswith("[2026-01-01 10:00:00,100: ERROR")
    assert "ValueError: x" in failed
    assert taskq("logtool", "traces", log).output == failed
    assert taskq("logtool", "debug", log).output.count("\n") == 1
    assert "Connected to redis" in taskq("logtool", "debug", "-", input=LOG).output


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "conf.py"
    path.write_text(SETTINGS)
    return path


def test_upgrade_settings(taskq, settings):
    result = taskq("upgrade", "settings", str(settings))
    assert "-BROKER_URL = 'amqp://'" in result.output
    assert settings.read_text() == (
        "# CELERYD_CONCURRENCY stays in comments\n"
        "broker_url = 'amqp://'  # and behind: BROKER_URL\n"
        'task_queues = NAME = "CELERY_QUEUES"\n'
        "app.conf.update(worker_concurrency=3)\n"
    )
    assert settings.with_name("conf.py.orig").read_text() == SETTINGS
    assert "No changes needed" in taskq("upgrade", "settings", str(settings)).output


def test_upgrade_settings_of_django(taskq, settings):
    taskq("upgrade", "settings", "--django", "--no-backup", str(settings))
    assert "CELERY_BROKER_URL = " in settings.read_text()
    assert "CELERY_WORKER_CONCURRENCY=3" in settings.read_text()
    assert not settings.with_name("conf.py.orig").exists()


def test_upgrade_can_only_look(taskq, settings):
    assert "+broker_url" in taskq("upgrade", "settings", "--dry-run", str(settings)).output
    assert settings.read_text() == SETTINGS


def test_upgrade_refuses_what_is_not_python(taskq, settings):
    settings.write_text("BROKER_URL = (")
    result = taskq("upgrade", "settings", str(settings))
    assert result.exit_code == 1
    assert "is not Python" in result.output


@pytest.fixture
def celery_project(tmp_path):
    (tmp_path / "tasks.py").write_text("from celery import Celery\n")
    return tmp_path


def test_upgrade_project_shows_and_asks(taskq, celery_project):
    tasks = celery_project / "tasks.py"
    result = taskq("upgrade", "project", str(celery_project), input="n\n")
    assert "-from celery import Celery\n+from taskq import Celery\n" in result.output
    assert "Change one file?" in result.output
    assert tasks.read_text() == "from celery import Celery\n"
    assert taskq("upgrade", "project", "--dry-run", str(celery_project)).exit_code == 0
    assert tasks.read_text() == "from celery import Celery\n"
    result = taskq("upgrade", "project", str(celery_project), input="y\n")
    assert result.exit_code == 0
    assert tasks.read_text() == "from taskq import Celery\n"
    assert (celery_project / "tasks.py.orig").read_text() == "from celery import Celery\n"
    assert "No changes needed" in taskq("upgrade", "project", str(celery_project)).output


def test_upgrade_project_tells_what_is_left(taskq, celery_project):
    (celery_project / "odd.py").write_text("from celery.nowhere import thing\n")
    result = taskq("upgrade", "project", "--yes", "--no-backup", str(celery_project))
    assert "odd.py:1: taskq.nowhere has no thing: left as it is" in result.output
    assert result.exit_code == 1
    assert (celery_project / "tasks.py").read_text() == "from taskq import Celery\n"
    assert not (celery_project / "tasks.py.orig").exists()


def test_graph_of_steps_has_those_of_the_app(taskq, module):
    module(
        "proj",
        """
        from taskq import TaskQ, bootsteps
        app = TaskQ("proj", broker="memory://", set_as_current=False)
        class Extra(bootsteps.StartStopStep):
            requires = ("taskq.worker.components:Pool",)
        app.steps["worker"].add(Extra)
        """,
    )
    both = taskq("-A", "proj", "graph", "bootsteps").stdout
    assert '"Extra" -> "Pool"' in both
    assert '"Tasks" -> "Mingle"' in both
    consumer = taskq("-A", "proj", "graph", "bootsteps", "consumer").stdout
    assert "Extra" not in consumer
    assert '"Tasks" -> "Mingle"' in consumer
    assert taskq("graph", "bootsteps", "other").exit_code == 2


def test_graph_of_workers(taskq, project):
    drawn = taskq("-A", "proj", "graph", "workers", "nodes:a,b", "threads:2,30").stdout
    assert '"a" -> "broker memory://' in drawn
    assert '"a thread 2" -> "a"' in drawn
    assert '"b threads" -> "b"' in drawn
    assert "(30)" in drawn
    few = taskq("-A", "proj", "graph", "workers", "nodes:a,b,c", "wmax:2").stdout
    assert 'label="3 workers"' in few


def test_names_of_remote_commands_are_completed():
    complete = ShellComplete(celery, {}, "taskq", "_TASKQ_COMPLETE")
    found = {item.value for item in complete.get_completions(["inspect"], "re")}
    assert found == {"registered", "report", "reserved", "revoked"}
    found = {item.value for item in complete.get_completions(["control"], "pool_")}
    assert found == {"pool_grow", "pool_restart", "pool_shrink"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(taskq, shell):
    script = taskq("completion", shell).output
    assert f"_TASKQ_COMPLETE={shell}_complete" in script


def test_repl(taskq, project):
    typed = '# nothing\nbogus\nlogtool stats missing.log\n"\nreport\nexit\nreport\n'
    result = taskq("-A", "proj", "repl", input=typed)
    assert "No such command 'bogus'" in result.output
    assert "missing.log" in result.output
    assert "No closing quotation" in result.output
    assert result.output.count("software ->") == 1
