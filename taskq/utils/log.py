"""Loggers and their family tree, colored formatting, and stdout that writes to a logger.

Every module gets its logger here; the app's ``log`` attaches handlers.
"""

from __future__ import annotations

import logging
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from taskq.utils.encoding import safe_str
from taskq.utils.processes import current_process as current_process
from taskq.utils.processes import current_process_index as current_process_index
from taskq.utils.term import colored

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = (
    "LOG_LEVELS",
    "ColorFormatter",
    "LoggingProxy",
    "base_logger",
    "get_logger",
    "get_multiprocessing_logger",
    "get_task_logger",
    "in_sighandler",
    "mlevel",
    "reset_multiprocessing_logger",
    "set_in_sighandler",
)

#: Names of log levels to their numbers, and the other way round.
LOG_LEVELS: dict[Any, Any] = {
    **{name: number for number, name in logging._levelToName.items()},
    "WARN": logging.WARNING,
    "FATAL": logging.FATAL,
    **logging._levelToName,
}

RESERVED_LOGGER_NAMES = {"taskq", "taskq.task", "celery", "celery.task"}

#: True if billiard's log of its own doings is wanted.
MP_LOG = False

#: Loggers may lock; a signal handler that logs could wait for the code that it interrupted.
_in_sighandler = False


def set_in_sighandler(value: bool) -> None:
    """Say whether a signal handler runs now; redirected output is then dropped."""
    global _in_sighandler
    _in_sighandler = value


@contextmanager
def in_sighandler() -> Iterator[None]:
    """Say that the ``with`` block is a signal handler."""
    set_in_sighandler(True)
    try:
        yield
    finally:
        set_in_sighandler(False)


def _bare_logger(name: str) -> logging.Logger:
    logger = logging.getLogger(name)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return logger


def logger_isa(
    l: logging.Logger,  # noqa: E741 - Celery's name
    p: logging.Logger,
    max: int = 1000,
) -> bool:
    """Return True if logger ``l`` is ``p`` or below it.

    Raises RuntimeError after ``max`` ancestors, since then the loggers form a cycle.
    """
    ancestor: logging.Logger | None = l
    for _ in range(max):
        if ancestor is p:
            return True
        if ancestor is None:
            return False
        ancestor = ancestor.parent
    raise RuntimeError(f"logger {l.name!r} has more than {max} ancestors: they form a cycle")


def _under(parent: logging.Logger, logger: logging.Logger) -> logging.Logger:
    if not logger_isa(logger, parent):
        logger.parent = parent
    return logger


#: Logger of everything here.
base_logger = logger = _bare_logger("taskq")
#: Parent of the loggers that tasks use.
task_logger = _bare_logger("taskq.task")
#: Logger of the worker.
worker_logger = _bare_logger("taskq.worker")

# Handlers and levels that were configured for Celery's names hold for ours: the ancestors of a
# task's logger are taskq.task, celery.task, taskq, celery, root.
base_logger.parent = logging.getLogger("celery")
_celery_task_logger = logging.getLogger("celery.task")
_celery_task_logger.parent = base_logger
task_logger.parent = _celery_task_logger


def get_logger(name: str) -> logging.Logger:
    """Return logger ``name``; one inside of a package is put under the base logger."""
    found = _bare_logger(name)
    if found is not base_logger and logging.root not in (found, found.parent):
        found = _under(base_logger, found)
    return found


def get_task_logger(name: str) -> logging.Logger:
    """Return logger ``name`` for use in tasks, whose lines show the task's name and id.

    Raises RuntimeError if the name belongs to taskq itself.
    """
    if name in RESERVED_LOGGER_NAMES:
        raise RuntimeError(f"Logger name {name!r} is reserved; use get_task_logger(__name__)")
    return _under(task_logger, get_logger(name))


def mlevel(level: Any) -> Any:
    """Return the number of log level ``level``, a name in any case or a number already."""
    if level and not isinstance(level, int):
        return LOG_LEVELS[level.upper()]
    return level


def iter_open_logger_fds() -> Iterator[Any]:
    """Yield the open files that handlers of any logger write to, each once."""
    seen = set()
    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    for owner in (logging.root, *loggers):
        for handler in owner.handlers:
            stream = getattr(handler, "stream", None)
            if stream is not None and id(stream) not in seen:
                seen.add(id(stream))
                yield stream


class ColorFormatter(logging.Formatter):
    """Formats lines in a color that depends on their level.

    Parameters:
        fmt: the format, as in :class:`logging.Formatter`.
        use_color: False leaves lines plain.
        datefmt: format of times.
    """

    #: Color name -> what colors a text.
    COLORS = colored().names
    #: Level name -> what colors its lines.
    colors = {
        "DEBUG": COLORS["blue"],
        "WARNING": COLORS["yellow"],
        "ERROR": COLORS["red"],
        "CRITICAL": COLORS["magenta"],
    }

    def __init__(
        self, fmt: str | None = None, use_color: bool = True, datefmt: str | None = None
    ) -> None:
        super().__init__(fmt, datefmt)
        self.use_color = use_color

    def formatException(self, ei: Any) -> str:
        """Return the traceback as text that can be printed."""
        if ei and not isinstance(ei, tuple):
            ei = sys.exc_info()
        return safe_str(super().formatException(ei))

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line. Text that cannot be formatted is shown as it is."""
        try:
            line = safe_str(super().format(record))
        except (TypeError, ValueError, KeyError) as exc:
            line = f"<Unrepresentable {record.msg!r} {record.args!r}: {exc!r}>"
        color = self.colors.get(record.levelname)
        return str(color(line)) if color and self.use_color else line


class LoggingProxy:
    """File that writes each line to a logger; stands in for stdout and stderr.

    Parameters:
        logger: where lines go.
        loglevel: level of the lines (default: the logger's, else ERROR).
    """

    mode = "w"
    name: str | None = None
    closed = False
    loglevel: int = logging.ERROR
    _thread = threading.local()

    def __init__(self, logger: logging.Logger, loglevel: int | str | None = None) -> None:
        self.logger = logger
        self.loglevel = mlevel(loglevel or self.logger.level or self.loglevel)
        self._safewrap_handlers()

    def _safewrap_handlers(self) -> None:
        # logging reports a failing handler on stderr, which may be this very object.
        for handler in self.logger.handlers:
            handler.handleError = _report_on_real_stderr  # type: ignore[method-assign]

    def write(self, data: str | bytes) -> int:
        """Log ``data`` without the newlines around it; return how many characters that was."""
        if _in_sighandler:
            return self._write_plainly(data)
        if getattr(self._thread, "recurse_protection", False):
            return 0  # The logger wrote to us: it must not be given its own output.
        if not data or self.closed:
            return 0
        text = safe_str(data).rstrip("\n")
        if not text:
            return 0
        self._thread.recurse_protection = True
        try:
            self.logger.log(self.loglevel, "%s", text)
        finally:
            self._thread.recurse_protection = False
        return len(text)

    def _write_plainly(self, data: str | bytes) -> int:
        text = safe_str(data)
        if sys.__stderr__ is not None:
            print(text, file=sys.__stderr__)
        return len(text)

    def writelines(self, sequence: Iterable[str | bytes]) -> None:
        """Log every item."""
        for part in sequence:
            self.write(part)

    def flush(self) -> None:
        """Do nothing: lines are logged at once."""

    def close(self) -> None:
        """Drop everything that is written from now on."""
        self.closed = True

    def isatty(self) -> bool:
        """Return False: a logger is no terminal."""
        return False


def _report_on_real_stderr(record: logging.LogRecord) -> None:
    import traceback

    exc = sys.exc_info()[1]
    if exc is None or sys.__stderr__ is None:
        return
    try:
        traceback.print_exception(exc, file=sys.__stderr__)
    except OSError:
        pass  # stderr is gone as well, so nobody can be told.


def get_multiprocessing_logger() -> Any:
    """Return billiard's logger."""
    from billiard import util

    return util.get_logger()


def reset_multiprocessing_logger() -> None:
    """Have billiard set up its logger anew."""
    util: Any = sys.modules.get("billiard.util")
    if util is not None and hasattr(util, "_logger"):
        util._logger = None
