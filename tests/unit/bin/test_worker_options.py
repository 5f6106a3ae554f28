"""What ``taskq worker`` gives to the worker, and what it refuses."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture
def project(module):
    """An app whose worker only remembers its options."""
    module(
        "proj",
        """
        from taskq import TaskQ

        class Recorder:
            exitcode = None

            def __init__(self, **options):
                self.options = options

            def start(self):
                self.exitcode = self.options.get("concurrency")

        class App(TaskQ):
            seen = []

            @property
            def Worker(self):
                def make(**options):
                    self.seen.append(options)
                    return Recorder(**options)
                return make

        app = App("proj", broker="memory://", set_as_current=False)
        app.conf.worker_prefetch_multiplier = 7
        app.conf.worker_pidfile = "/run/%n.pid"
        """,
    )


def options(result):
    assert "Traceback" not in result.output
    return sys.modules["proj"].app.seen[-1]


def test_options_have_celerys_names(taskq, project):
    given = options(
        taskq(
            "-A", "proj", "worker", "-n", "w1@box", "-c", "3", "-P", "solo", "-l", "info",
            "-Q", "a,b", "-X", "c", "-I", "mod1,mod2", "--purge", "--max-tasks-per-child", "9",
            "--time-limit", "5", "--soft-time-limit", "4", "-O", "fair", "--without-gossip",
        )
    )  # fmt: skip
    assert given["hostname"] == "w1@box"
    assert given["concurrency"] == 3
    assert given["pool"].__module__.endswith("solo")
    assert given["loglevel"] == 20
    assert given["queues"] == ["a", "b"]
    assert given["exclude_queues"] == ["c"]
    assert given["include"] == ["mod1", "mod2"]
    assert given["purge"] is True
    assert given["max_tasks_per_child"] == 9
    assert (given["time_limit"], given["soft_time_limit"]) == (5.0, 4.0)
    assert given["optimization"] == "fair"
    assert given["without_gossip"] is True


def test_settings_stand_in_for_options(taskq, project):
    given = options(taskq("-A", "proj", "worker", "-n", "w1@box", "-P", "solo"))
    assert given["prefetch_multiplier"] == 7
    assert given["pidfile"] == "/run/w1.pid"
    assert given["loglevel"] == 30


def test_the_exit_status_is_the_workers(taskq, project):
    assert taskq("-A", "proj", "worker", "-P", "solo", "-c", "5").exit_code == 5


def test_settings_as_words(taskq, project):
    result = taskq("-A", "proj", "worker", "-P", "solo", "--", "worker.prefetch_multiplier=11")
    assert result.exit_code == 0, result.output
    assert sys.modules["proj"].app.conf.worker_prefetch_multiplier == 11


def test_words_that_are_no_settings(taskq, project):
    result = taskq("-A", "proj", "worker", "-P", "solo", "foo")
    assert result.exit_code == 2
    assert "'foo'" in result.output
    assert "worker.prefetch_multiplier=8" in result.output


def test_auto_concurrency(taskq, project):
    assert (
        options(taskq("-A", "proj", "worker", "-P", "solo", "-c", "auto"))["concurrency"] == "auto"
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-c", "many"], "many"),
        (["-c", "-1"], "-1"),
        (["--time-limit", "-2"], "-2"),
        (["--soft-time-limit", "-2.5"], "-2.5"),
        (["--max-tasks-per-child", "-3"], "-3"),
        (["--max-memory-per-child", "-4"], "-4"),
        (["-P", "magic"], "magic"),
        (["-P", "no.such:Pool"], "no.such"),
        (["-l", "LOUD"], "LOUD"),
        (["-P", "solo", "--uid", "surely-no-such-user"], "surely-no-such-user"),
        (["-P", "solo", "--umask", "xyz"], "xyz"),
        (["-P", "solo", "--executable", "python3"], "--detach"),
        (["-P", "solo", "-D", "-f", "/no/such/dir/w.log"], "/no/such/dir/w.log"),
    ],
)
def test_what_cannot_be_is_refused_with_the_value(taskq, project, words, says):
    result = taskq("-A", "proj", "worker", *words)
    assert result.exit_code != 0
    assert says in result.output
    assert "Traceback" not in result.output
