"""Loggers' family tree, colors by level, and files that write to a logger."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from taskq.utils import log
from taskq.utils.log import (
    ColorFormatter,
    LoggingProxy,
    base_logger,
    get_logger,
    get_task_logger,
    in_sighandler,
    iter_open_logger_fds,
    logger_isa,
    mlevel,
    task_logger,
    worker_logger,
)


@pytest.fixture
def captured():
    """A logger of its own and the buffer that it writes to."""
    logger = logging.getLogger("captured")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    buffer = io.StringIO()
    handler = logging.StreamHandler(buffer)
    handler.setFormatter(logging.Formatter("%(levelname)s:%(message)s"))
    logger.addHandler(handler)
    yield logger, buffer
    logger.removeHandler(handler)


def test_family_tree():
    assert logger_isa(worker_logger, base_logger)
    assert logger_isa(task_logger, base_logger)
    assert logger_isa(get_task_logger("family.tasks"), task_logger)
    assert not logger_isa(logging.getLogger("family.other"), task_logger)


def test_handlers_configured_for_celerys_names_still_hear_everything(captured):
    _, buffer = captured
    handler = logging.StreamHandler(buffer)
    for name, logger in [
        ("celery", worker_logger),
        ("celery", get_task_logger("proj.a")),
        ("celery.task", get_task_logger("proj.b")),
        ("taskq", get_task_logger("proj.c")),
    ]:
        owner = logging.getLogger(name)
        owner.addHandler(handler)
        try:
            logger.warning("from %s for %s", logger.name, name)
        finally:
            owner.removeHandler(handler)
        assert buffer.getvalue().splitlines()[-1] == f"from {logger.name} for {name}"


def test_logger_isa_of_a_cycle():
    a, b = logging.Logger("a"), logging.Logger("b")
    a.parent, b.parent = b, a
    with pytest.raises(RuntimeError, match="cycle"):
        logger_isa(a, base_logger)


@pytest.mark.parametrize("name", ["taskq", "celery.task"])
def test_reserved_names(name):
    with pytest.raises(RuntimeError, match="reserved"):
        get_task_logger(name)


def test_loggers_of_programs_keep_their_place():
    assert get_logger("vocab_toplevel").parent is logging.root


def test_mlevel():
    assert (mlevel("info"), mlevel(30), mlevel(None), mlevel("WARN")) == (20, 30, None, 30)
    with pytest.raises(KeyError):
        mlevel("nope")


class Test_ColorFormatter:
    def record(self, level=logging.ERROR, msg="hello %s", args=("you",)):
        return logging.LogRecord("n", level, "p", 1, msg, args, None)

    def test_color_by_level(self):
        formatter = ColorFormatter("%(message)s")
        assert formatter.format(self.record()) == "\033[1;31mhello you\033[0m"
        assert formatter.format(self.record(logging.INFO)) == "hello you"
        plain = ColorFormatter("%(message)s", use_color=False)
        assert plain.format(self.record()) == "hello you"

    def test_record_is_left_alone(self):
        record = self.record()
        ColorFormatter("%(message)s").format(record)
        assert record.getMessage() == "hello you"

    def test_text_that_cannot_be_formatted(self):
        assert "Unrepresentable" in ColorFormatter().format(self.record(args=(1, 2)))

    def test_traceback(self):
        record = self.record()
        try:
            raise ValueError("broken")
        except ValueError:
            record.exc_info = sys.exc_info()
        assert "ValueError: broken" in ColorFormatter().format(record)


class Test_LoggingProxy:
    def test_writes_lines(self, captured):
        logger, buffer = captured
        proxy = LoggingProxy(logger, "INFO")
        assert proxy.write("hello\n") == 5
        assert proxy.write("\n") == 0
        proxy.write(b"100% bytes")
        proxy.writelines(["a", "b"])
        proxy.flush()
        assert buffer.getvalue().splitlines() == [
            "INFO:hello", "INFO:100% bytes", "INFO:a", "INFO:b"
        ]  # fmt: skip
        assert not proxy.isatty()

    def test_closed(self, captured):
        logger, buffer = captured
        proxy = LoggingProxy(logger)
        proxy.close()
        assert proxy.write("x") == 0
        assert buffer.getvalue() == ""

    def test_logger_that_writes_to_it(self, captured):
        logger, _ = captured
        proxy = LoggingProxy(logger)
        handler = logging.StreamHandler(proxy)
        logger.addHandler(handler)
        try:
            assert proxy.write("once") == 4
        finally:
            logger.removeHandler(handler)

    def test_inside_of_a_signal_handler_nothing_is_logged(self, captured, monkeypatch):
        logger, buffer = captured
        stderr = io.StringIO()
        monkeypatch.setattr(sys, "__stderr__", stderr)
        with in_sighandler():
            LoggingProxy(logger).write("careful")
        assert buffer.getvalue() == ""
        assert "careful" in stderr.getvalue()
        assert not log._in_sighandler

    def test_level(self, captured):
        assert LoggingProxy(captured[0]).loglevel == logging.DEBUG
        assert LoggingProxy(logging.getLogger("levelless")).loglevel == logging.ERROR


def test_open_files_of_handlers(captured):
    assert captured[1] in list(iter_open_logger_fds())
