"""Logging of an app: who gets handlers, what lines look like, what is printed."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator

import pytest

from taskq import TaskQ, signals
from taskq.app.log import Logging, TaskFormatter
from taskq.utils.log import get_logger, get_task_logger

NAMES = ("", "taskq", "taskq.task", "celery", "celery.task", "celery.redirected", "multiprocessing")


@pytest.fixture(autouse=True)
def _own_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test logging that was never set up, and put the process's back afterwards."""
    for name in ("LEVEL", "FILE", "REDIRECT", "REDIRECT_LEVEL"):
        monkeypatch.delenv(f"CELERY_LOG_{name}", raising=False)
    loggers = [logging.getLogger(name) for name in NAMES]
    kept = [(log, log.handlers[:], log.level, log.propagate) for log in loggers]
    streams = sys.stdout, sys.stderr
    was_setup = Logging.already_setup
    Logging._setup = False
    for log in loggers:
        log.handlers = []
    yield
    sys.stdout, sys.stderr = streams
    Logging._setup = was_setup
    for log, handlers, level, propagate in kept:
        log.handlers, log.level, log.propagate = handlers, level, propagate


@pytest.fixture
def app() -> TaskQ:
    return TaskQ("logs", broker="memory://", set_as_current=False)


def test_root_and_task_loggers_get_a_handler_each(app):
    stream = io.StringIO()
    assert not app.log.setup("INFO", stream)
    get_logger("celery.worker.strategy").info("from the worker")
    logging.getLogger("a.users.module").info("from the user")
    get_task_logger("tasks").info("from a task")
    get_task_logger("tasks").debug("not shown")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].endswith("INFO/MainProcess] from the worker")
    assert lines[1].endswith("INFO/MainProcess] from the user")
    assert lines[2].endswith("INFO/MainProcess] ???[???]: from a task")


def test_task_loggers_name_the_running_task(app):
    stream = io.StringIO()
    app.log.setup("INFO", stream)

    @app.task(name="t.speak")
    def speak():
        get_task_logger("tasks").info("speaking")

    result = speak.apply()
    assert f"t.speak[{result.id}]: speaking" in stream.getvalue()


def test_setup_happens_once(app):
    app.log.setup("INFO", io.StringIO())
    handlers = logging.getLogger().handlers[:]
    assert app.log.already_setup
    assert app.log.setup("DEBUG", io.StringIO()) is None
    assert logging.getLogger().handlers == handlers


def test_the_root_logger_is_taken_over_or_left(app):
    theirs = logging.StreamHandler(io.StringIO())
    logging.getLogger().addHandler(theirs)
    before = logging.getLogger().handlers[:]  # pytest has some of its own there
    app.conf.worker_hijack_root_logger = False
    app.log.setup("INFO", io.StringIO())
    assert logging.getLogger().handlers == before

    Logging._setup = False
    app.conf.worker_hijack_root_logger = True
    app.log.setup("INFO", io.StringIO())
    assert theirs not in logging.getLogger().handlers


def test_receivers_of_setup_logging_do_it_themselves(app):
    seen = {}
    before = logging.getLogger().handlers[:]

    @signals.setup_logging.connect
    def ours(**kwargs):
        seen.update(kwargs)

    try:
        assert app.log.setup("DEBUG", "%n.log", hostname="w1@box")
    finally:
        signals.setup_logging.disconnect(ours)
    assert (seen["loglevel"], seen["logfile"]) == (logging.DEBUG, "w1.log")
    assert logging.getLogger().handlers == before


def test_setup_is_announced_with_the_logger(app):
    seen = []

    def after(logger, loglevel, **kwargs):
        seen.append((logger.name, loglevel))

    signals.after_setup_logger.connect(after)
    signals.after_setup_task_logger.connect(after)
    try:
        app.log.setup("INFO", io.StringIO())
    finally:
        signals.after_setup_logger.disconnect(after)
        signals.after_setup_task_logger.disconnect(after)
    assert seen == [("root", logging.INFO), ("celery.task", logging.INFO)]


def test_a_log_file_for_each_node(app, tmp_path):
    app.log.setup("INFO", str(tmp_path / "%n.log"), hostname="w1@box")
    logging.getLogger("x").info("héllo")
    assert "héllo" in (tmp_path / "w1.log").read_text(encoding="utf-8")


def test_what_is_printed_is_logged(app):
    stream = io.StringIO()
    app.log.setup("INFO", stream, redirect_stdouts=True, redirect_level="ERROR")
    print("printed")
    print("to stderr", file=sys.stderr)
    lines = stream.getvalue().splitlines()
    assert [line.rpartition("] ")[2] for line in lines] == ["printed", "to stderr"]
    assert all("ERROR/MainProcess" in line for line in lines)


def test_pool_processes_are_told_by_the_environment(app):
    app.log.setup("INFO", io.StringIO(), redirect_stdouts=True, redirect_level="WARNING")
    assert os.environ["CELERY_LOG_LEVEL"] == "20"
    assert os.environ["CELERY_LOG_REDIRECT"] == "1"
    assert os.environ["CELERY_LOG_REDIRECT_LEVEL"] == "WARNING"


def test_formats_are_settings(app):
    app.conf.worker_log_format = "W %(message)s"
    app.conf.worker_task_log_format = "T %(task_name)s %(message)s"
    stream = io.StringIO()
    app.log.setup("INFO", stream)
    logging.getLogger("x").info("one")
    get_task_logger("tasks").info("two")
    assert stream.getvalue().splitlines() == ["W one", "T ??? two"]


class TestColour:
    @pytest.mark.parametrize("setting", [None, True, False])
    @pytest.mark.parametrize("allowed", [None, True, False])
    @pytest.mark.parametrize("logfile", [None, "x.log"])
    @pytest.mark.parametrize("terminal", [True, False])
    def test_only_to_a_terminal_and_if_allowed(
        self, monkeypatch, setting, allowed, logfile, terminal
    ):
        app = TaskQ("logs", broker="memory://", set_as_current=False)
        app.conf.worker_log_color = setting
        stderr = io.StringIO()
        stderr.isatty = lambda: terminal
        monkeypatch.setattr(sys, "stderr", stderr)
        wanted = terminal and not logfile and (setting if allowed is None else allowed) is not False
        assert app.log.supports_color(allowed, logfile) == wanted
        assert app.log.colored(logfile, allowed).enabled == wanted

    def test_lines_have_the_colour_of_their_level(self):
        record = logging.LogRecord("x", logging.ERROR, "p", 1, "bad", (), None)
        line = TaskFormatter("%(message)s", use_color=True).format(record)
        assert line != "bad"
        assert "bad" in line
        assert TaskFormatter("%(message)s", use_color=False).format(record) == "bad"
