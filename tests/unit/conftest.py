"""What a unit test must leave as it found it, whoever runs next."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from kombu.transport import memory


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    """Restore handlers, levels and switches of all loggers: some tests run whole workers."""
    loggers = [logging.getLogger()]
    loggers += [
        logger
        for logger in logging.Logger.manager.loggerDict.values()
        if isinstance(logger, logging.Logger)
    ]
    before = [
        (logger, logger.handlers[:], logger.level, logger.propagate, logger.disabled)
        for logger in loggers
    ]
    disabled = logging.root.manager.disable
    yield
    logging.disable(disabled)
    for logger, handlers, level, propagate, off in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate
        logger.disabled = off


@pytest.fixture(autouse=True)
def _an_empty_memory_broker() -> Iterator[None]:
    """Forget what tests left in the queues of ``memory://``, which are the process's."""
    yield
    for queue in memory.Channel.queues.values():
        with queue.mutex:
            queue.queue.clear()
