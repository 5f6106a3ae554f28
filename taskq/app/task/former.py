"""Methods that tasks had under the first releases, for code that was written for those."""

from __future__ import annotations

import logging
import warnings
from functools import cache
from typing import Any

from taskq.app.task.binding import BoundTask
from taskq.utils.log import get_task_logger

__all__ = ("FormerMethods",)


class FormerMethods(BoundTask):
    """What today has another spelling; each says which."""

    def get_logger(
        self, loglevel: Any = None, logfile: Any = None, **kwargs: Any
    ) -> logging.Logger:
        """Return the logger of this task: today ``get_task_logger(__name__)`` of `taskq.utils.log`.

        - loglevel: its level, when given.
        - logfile and anything else: taken for the sake of old calls; the worker decides.
        """
        _warn_of_get_logger()
        logger: logging.Logger = get_task_logger(self.name)
        if loglevel:
            logger.setLevel(loglevel)
        return logger

    def get_publisher(self, connection: Any = None, **options: Any) -> Any:
        """Return a producer on a connection: today ``app.amqp.Producer(connection)``."""
        app = self._get_app()
        return app.amqp.Producer(connection or app.connection_for_write(), **options)


@cache
def _warn_of_get_logger() -> None:
    warnings.warn(
        "Task.get_logger() is a name of the first generation of the API. Today's is "
        "taskq.utils.log.get_task_logger(__name__).",
        DeprecationWarning,
        stacklevel=3,
    )
