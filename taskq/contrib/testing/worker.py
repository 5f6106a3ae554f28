"""A worker in a thread of the test's own process.

Used by the pytest plugin and by test suites of any kind.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from taskq import _state
from taskq.result import allow_join_result
from taskq.utils.dispatch import Signal
from taskq.utils.nodenames import anon_nodename
from taskq.worker import WorkController, state

#: Level of the worker's log in tests.
WORKER_LOGLEVEL = os.environ.get("WORKER_LOGLEVEL", "error")

test_worker_starting = Signal(name="test_worker_starting", providing_args=set())
test_worker_started = Signal(name="test_worker_started", providing_args={"worker", "consumer"})
test_worker_stopped = Signal(name="test_worker_stopped", providing_args={"worker"})

#: Seconds between looks at whether the thread of a worker that should start has died.
_START_POLL = 0.1


class TestWorkController(WorkController):
    """A worker that says when it is ready.

    With prefork, what its processes log is logged here again, so that a test can look at it.
    """

    __test__ = False  # pytest takes it for a test class otherwise

    #: Queue that pool processes put their log records into; None where there are no processes.
    logger_queue: Any = None

    class QueueHandler(logging.handlers.QueueHandler):
        """Marks the records it sends, so that they are not sent round in circles."""

        def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
            """Return the record made fit for another process."""
            record = super().prepare(record)
            record.from_queue = True
            return record

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._on_started = threading.Event()
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        super().__init__(*args, **kwargs)
        self.pid = os.getpid()
        pool = self.pool_cls if isinstance(self.pool_cls, str) else self.pool_cls.__module__
        if "prefork" in pool:
            import multiprocessing

            self.logger_queue = multiprocessing.get_context("fork").Queue()

    def start(self) -> None:
        """Run the worker until it is stopped; what ends it otherwise is kept for the test."""
        try:
            if self.logger_queue is None:
                super().start()
            else:
                with self._records_of_processes():
                    super().start()
        except BaseException as exc:
            self._failure = exc
            raise
        finally:
            self._ended.set()

    @contextmanager
    def _records_of_processes(self) -> Iterator[None]:
        root = logging.getLogger()
        handler = self.QueueHandler(self.logger_queue)
        handler.addFilter(
            lambda record: record.process != self.pid and not getattr(record, "from_queue", False)
        )
        root.addHandler(handler)
        listener = logging.handlers.QueueListener(self.logger_queue, _Again())
        listener.start()
        try:
            yield
        finally:
            listener.stop()
            root.removeHandler(handler)

    def on_consumer_ready(self, consumer: Any) -> None:
        """Say that tasks are taken from now on."""
        super().on_consumer_ready(consumer)
        self._on_started.set()
        test_worker_started.send(sender=self.app, worker=self, consumer=consumer)

    def ensure_started(self) -> None:
        """Wait until the worker takes tasks.

        Raises RuntimeError if it ended instead, with the reason as its cause.
        """
        while not self._on_started.wait(_START_POLL):
            if self._ended.is_set():
                reason = self._failure and repr(self._failure)
                raise RuntimeError(
                    f"the test worker did not start: {reason or 'it ended; its log says why'}"
                ) from self._failure


class _Again(logging.Handler):
    """Logs records that came from another process."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)


@contextmanager
def start_worker(
    app: Any,
    concurrency: int = 1,
    pool: str = "solo",
    loglevel: str | int = WORKER_LOGLEVEL,
    logfile: str | None = None,
    perform_ping_check: bool = True,
    ping_task_timeout: float = 10.0,
    shutdown_timeout: float = 10.0,
    **kwargs: Any,
) -> Iterator[Any]:
    """Run a worker in a thread while the ``with`` block runs; gives the worker.

    Parameters:
        concurrency, pool, loglevel, logfile: as of ``taskq worker``.
        perform_ping_check: first wait until a task has run.
        ping_task_timeout: seconds that task may take.
        shutdown_timeout: seconds the worker may take to stop.

    Further arguments are the worker's. Raises RuntimeError if it does not start or stop in time.
    """
    test_worker_starting.send(sender=app)
    worker = None
    try:
        with _start_worker_thread(
            app,
            concurrency=concurrency,
            pool=pool,
            loglevel=loglevel,
            logfile=logfile,
            perform_ping_check=perform_ping_check,
            shutdown_timeout=shutdown_timeout,
            **kwargs,
        ) as worker:
            if perform_ping_check:
                _ping(app, ping_task_timeout)
            yield worker
    finally:
        test_worker_stopped.send(sender=app, worker=worker)


def _ping(app: Any, timeout: float) -> None:
    """Wait until a task has run, in a queue that the worker takes tasks from."""
    queues = [*app.amqp.queues.consume_from]
    default = app.conf.task_default_queue
    queue = default if default in queues or not queues else queues[0]
    with allow_join_result():
        answer = app.tasks["celery.ping"].apply_async(queue=queue).get(timeout=timeout)
    if answer != "pong":
        raise RuntimeError(f"celery.ping answered {answer!r}, not 'pong'")


@contextmanager
def _start_worker_thread(
    app: Any,
    concurrency: int = 1,
    pool: str = "solo",
    loglevel: str | int = WORKER_LOGLEVEL,
    logfile: str | None = None,
    WorkController: Any = TestWorkController,  # noqa: N803 - the public name
    perform_ping_check: bool = True,
    shutdown_timeout: float = 10.0,
    **kwargs: Any,
) -> Iterator[Any]:
    setup_app_for_worker(app, loglevel, logfile)
    if perform_ping_check and "celery.ping" not in app.tasks:
        raise RuntimeError(
            "The app has no task celery.ping, which tells that the worker runs: import "
            "taskq.contrib.testing.tasks, or give perform_ping_check=False."
        )
    with app.connection(hostname=os.environ.get("TEST_BROKER")) as connection:
        # Declared here so that a task sent before the worker consumes is not lost.
        connection.default_channel.queue_declare(app.conf.task_default_queue)
    worker = WorkController(
        app=app,
        concurrency=concurrency,
        hostname=kwargs.pop("hostname", anon_nodename()),
        pool=pool,
        loglevel=loglevel,
        logfile=logfile,
        # A test has one worker: there is nobody to listen to.
        ready_callback=None,
        without_heartbeat=kwargs.pop("without_heartbeat", True),
        without_mingle=True,
        without_gossip=True,
        **kwargs,
    )
    thread = threading.Thread(target=worker.start, daemon=True)
    thread.start()
    try:
        worker.ensure_started()
        _state._set_task_join_will_block(False)
        yield worker
    finally:
        _stop(thread, shutdown_timeout)


def _stop(thread: threading.Thread, timeout: float) -> None:
    state.should_terminate = 0
    try:
        thread.join(timeout)
        if thread.is_alive():
            raise RuntimeError(
                f"The test worker did not stop within {timeout} seconds. Give a longer "
                "shutdown_timeout if its tasks take that long."
            )
    finally:
        state.should_terminate = None


def setup_app_for_worker(app: Any, loglevel: str | int, logfile: str | None) -> None:
    """Make ``app`` ready for a worker in this process: current, final, with its log set up."""
    app.finalize()
    app.set_current()
    app.set_default()
    type(app.log)._setup = False
    app.log.setup(loglevel=loglevel, logfile=logfile)
