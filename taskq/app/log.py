"""Where log records go: handlers, formats and colours of a worker's (or beat's) loggers.

``app.log``; the programs call ``setup`` when they start, and pool processes once more.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from logging.handlers import WatchedFileHandler
from typing import Any

from taskq import signals
from taskq._state import get_current_task
from taskq.exceptions import CDeprecationWarning, CPendingDeprecationWarning
from taskq.local import class_property
from taskq.platforms import isatty
from taskq.utils.log import (
    ColorFormatter,
    LoggingProxy,
    get_logger,
    get_multiprocessing_logger,
    mlevel,
    reset_multiprocessing_logger,
)
from taskq.utils.nodenames import node_format
from taskq.utils.term import colored

__all__ = ("Logging", "TaskFormatter")

#: Show multiprocessing's own messages as verbosely as ours, not its errors only.
MP_LOG = bool(os.environ.get("TASKQ_MP_LOG") or os.environ.get("MP_LOG"))

#: Loggers of ours that get their handlers back from us when the root logger is taken over.
_OUR_LOGGERS = ("taskq", "taskq.task", "celery", "celery.task", "celery.redirected")


class TaskFormatter(ColorFormatter):
    """Formatter of task loggers: adds ``task_name`` and ``task_id`` of the running task.

    Outside a task both are ``???``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line, with the two task fields filled in."""
        task = get_current_task()
        running = task is not None and task.request is not None
        record.__dict__.update(
            task_id=task.request.id if running else "???",
            task_name=task.name if running else "???",
        )
        return super().format(record)


class Logging:
    """Sets up logging for an app, once in a process.

    Levels are names or numbers; ``format`` and ``datefmt`` are as in the standard library.
    """

    #: Whether a setup has run in this process; shared by all apps in it.
    _setup = False

    def __init__(self, app: Any) -> None:
        self.app = app
        conf = app.conf
        self.loglevel: int = logging.WARNING
        self.format: str = conf.worker_log_format
        self.datefmt: str | None = conf.worker_log_datefmt
        self.task_format: str = conf.worker_task_log_format
        self.task_datefmt: str | None = conf.worker_task_log_datefmt
        self.colorize: bool | None = conf.worker_log_color

    @class_property
    def already_setup(cls) -> bool:  # noqa: N805 - a property of the class
        """Whether logging has been set up in this process."""
        return bool(cls._setup)

    @already_setup.setter  # type: ignore[no-redef]
    def already_setup(cls, was_setup: bool) -> None:  # noqa: N805
        cls._setup = was_setup

    def setup(
        self,
        loglevel: str | int | None = None,
        logfile: Any = None,
        redirect_stdouts: bool = False,
        redirect_level: str | int = "WARNING",
        colorize: bool | None = None,
        hostname: str | None = None,
    ) -> Any:
        """Set up all loggers, and stdout and stderr too if asked.

        Parameters:
            loglevel: what is logged; warnings and worse when not given.
            logfile: path (node formats such as ``%n`` are expanded), stream, or None for stderr.
            redirect_stdouts: log what is printed.
            redirect_level: the level of what is printed.
            colorize: force colours on or off.
            hostname: node name for the node formats in ``logfile``.

        Returns the receivers of ``signals.setup_logging``, if there are any: then they alone
        are responsible, and nothing was set up here.
        """
        level = mlevel(loglevel) if loglevel else None
        handled = self.setup_logging_subsystem(level, logfile, colorize=colorize, hostname=hostname)
        if not handled and redirect_stdouts:
            self.redirect_stdouts(redirect_level)
        # Pool processes that do not inherit our memory are told by the environment.
        os.environ.update(
            CELERY_LOG_LEVEL=str(level) if level else "",
            CELERY_LOG_FILE=str(logfile) if logfile else "",
        )
        warnings.filterwarnings("always", category=CDeprecationWarning)
        warnings.filterwarnings("always", category=CPendingDeprecationWarning)
        return handled

    def redirect_stdouts(
        self, loglevel: str | int | None = None, name: str = "celery.redirected"
    ) -> None:
        """Send what is printed to the logger ``name``, here and in the processes we start."""
        self.redirect_stdouts_to_logger(get_logger(name), loglevel=loglevel)
        os.environ.update(
            CELERY_LOG_REDIRECT="1",
            CELERY_LOG_REDIRECT_LEVEL=str(loglevel or ""),
        )

    def setup_logging_subsystem(
        self,
        loglevel: str | int | None = None,
        logfile: Any = None,
        format: str | None = None,
        colorize: bool | None = None,
        hostname: str | None = None,
        datefmt: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Set up the root logger and ours, unless ``signals.setup_logging`` has receivers.

        Parameters as in `setup`. Does nothing the second time in a process, and returns None then;
        else the list of what the receivers returned.
        """
        if self.already_setup:
            return None
        Logging._setup = True
        if logfile and hostname and isinstance(logfile, str):
            logfile = node_format(logfile, hostname)
        level = mlevel(loglevel or self.loglevel)
        options: dict[str, Any] = {
            "loglevel": level,
            "logfile": logfile,
            "format": format or self.format,
            "colorize": self.supports_color(colorize, logfile),
        }
        reset_multiprocessing_logger()
        receivers = signals.setup_logging.send(sender=None, **options)
        if not receivers:
            self._setup_loggers(datefmt=datefmt or self.datefmt, **options, **kwargs)
        return receivers

    def _setup_loggers(self, *, loglevel: int, logfile: Any, **options: Any) -> None:
        root = logging.getLogger()
        if self.app.conf.worker_hijack_root_logger:
            root.handlers = []
            for name in _OUR_LOGGERS:
                get_logger(name).handlers = []
        self._configure_logger(root, logfile, loglevel, **options)
        self._configure_logger(
            get_multiprocessing_logger(),
            logfile,
            loglevel if MP_LOG else logging.ERROR,
            **options,
        )
        signals.after_setup_logger.send(
            sender=None,
            logger=root,
            loglevel=loglevel,
            logfile=logfile,
            format=options["format"],
            colorize=options["colorize"],
        )
        self.setup_task_loggers(loglevel, logfile, colorize=options["colorize"])

    def _configure_logger(
        self,
        logger: logging.Logger | None,
        logfile: Any,
        loglevel: int,
        format: str,
        colorize: bool | None,
        **kwargs: Any,
    ) -> None:
        if logger is None:
            return
        self.setup_handlers(logger, logfile, format, colorize, **kwargs)
        if loglevel:
            logger.setLevel(loglevel)

    def setup_task_loggers(
        self,
        loglevel: str | int | None = None,
        logfile: Any = None,
        format: str | None = None,
        colorize: bool | None = None,
        propagate: bool = False,
        datefmt: str | None = None,
        **kwargs: Any,
    ) -> logging.Logger:
        """Set up and return the parent of all task loggers, ``celery.task``.

        - propagate: hand its records to the root logger too.
        """
        level = mlevel(loglevel or self.loglevel)
        format = format or self.task_format
        colorize = self.supports_color(colorize, logfile)
        logger = self.setup_handlers(
            get_logger("celery.task"),
            logfile,
            format,
            colorize,
            formatter=TaskFormatter,
            datefmt=datefmt or self.task_datefmt,
            **kwargs,
        )
        logger.setLevel(level)
        logger.propagate = propagate
        signals.after_setup_task_logger.send(
            sender=None,
            logger=logger,
            loglevel=level,
            logfile=logfile,
            format=format,
            colorize=colorize,
        )
        return logger

    def redirect_stdouts_to_logger(
        self,
        logger: logging.Logger,
        loglevel: str | int | None = None,
        stdout: bool = True,
        stderr: bool = True,
    ) -> Any:
        """Replace ``sys.stdout`` and ``sys.stderr`` by a file that logs; return that file.

        - loglevel: the level of what is printed; the logger's own when not given.
        """
        proxy = LoggingProxy(logger, mlevel(loglevel) if loglevel else loglevel)
        if stdout:
            sys.stdout = proxy
        if stderr:
            sys.stderr = proxy
        return proxy

    def supports_color(self, colorize: bool | None = None, logfile: Any = None) -> bool:
        """Return whether to print in colour: only to a terminal, and only if allowed.

        - colorize: whether colours are allowed; the setting `worker_log_color` when None.
        - logfile: the file that is written to instead of a terminal.
        """
        if colorize is None:
            colorize = self.colorize
        return colorize is not False and logfile is None and isatty(sys.stderr)

    def colored(self, logfile: Any = None, enabled: bool | None = None) -> colored:
        """Return the colours for text that goes where the log goes."""
        return colored(enabled=self.supports_color(enabled, logfile))

    def setup_handlers(
        self,
        logger: logging.Logger,
        logfile: Any,
        format: str,
        colorize: bool | None,
        formatter: type[logging.Formatter] = ColorFormatter,
        datefmt: str | None = None,
        **kwargs: Any,
    ) -> logging.Logger:
        """Give ``logger`` a handler if it has none, and return it.

        Parameters:
            logfile: path, stream, or None for stderr.
            format, datefmt: as in the standard library.
            colorize: whether the formatter uses colour.
            formatter: class of the formatter.
        """
        if not self._has_handler(logger):
            handler = self._detect_handler(logfile)
            handler.setFormatter(
                formatter(format, use_color=colorize, datefmt=datefmt)  # type: ignore[call-arg]
            )
            logger.addHandler(handler)
        return logger

    def _detect_handler(self, logfile: Any = None) -> logging.Handler:
        if logfile is None:
            return logging.StreamHandler(sys.__stderr__)
        if hasattr(logfile, "write"):
            return logging.StreamHandler(logfile)
        return WatchedFileHandler(logfile, encoding="utf-8")

    def _has_handler(self, logger: logging.Logger) -> bool:
        return any(not isinstance(h, logging.NullHandler) for h in logger.handlers or ())

    def get_default_logger(self, name: str = "celery", **kwargs: Any) -> logging.Logger:
        """Return the logger ``name``; set up by `setup` like every other."""
        return get_logger(name)
