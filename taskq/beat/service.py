"""Beat as a service: a scheduler that ticks until it is told to stop, alone or inside a worker."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any

from billiard import ensure_multiprocessing
from billiard.common import reset_signals
from billiard.context import Process
from kombu.utils.objects import cached_property

from taskq import signals
from taskq.beat.leader import Leadership, leadership_for
from taskq.beat.persistent import PersistentScheduler
from taskq.beat.pidbox import BeatPidbox
from taskq.beat.scheduler import DEFAULT_MAX_INTERVAL, Scheduler
from taskq.exceptions import ImproperlyConfigured
from taskq.platforms import set_process_title
from taskq.platforms import signals as process_signals
from taskq.utils.imports import load_extension_class_names, symbol_by_name
from taskq.utils.log import get_logger
from taskq.utils.process.parent_death import send_on_parent_death
from taskq.utils.time import humanize_seconds

__all__ = ("EmbeddedService", "Service")

logger = get_logger("celery.beat")

#: Short names of our schedulers.
ALIASES = {
    "database": "taskq.beat.stored:DatabaseScheduler",
    "persistent": "taskq.beat:PersistentScheduler",
}
#: Entry points that name schedulers, the later ones first in line.
EXTENSIONS = ("celery.beat_schedulers", "taskq.beat_schedulers")


class Service:
    """Runs a scheduler.

    Parameters:
        app: the app.
        max_interval: longest sleep in seconds, ``beat_max_loop_interval`` by default.
        schedule_filename: file for the schedule, ``beat_schedule_filename`` by default.
        scheduler_cls: class of the scheduler, its import path, or the name of an entry point.
        remote_control: answer pings; ``beat_enable_remote_control`` by default.
        hostname: node name for these, ``celerybeat@`` and the host's name by default.
    """

    scheduler_cls: Any = PersistentScheduler

    def __init__(
        self,
        app: Any,
        max_interval: float | None = None,
        schedule_filename: str | None = None,
        scheduler_cls: Any = None,
        remote_control: bool | None = None,
        hostname: str | None = None,
    ) -> None:
        self.app = app
        self.max_interval = max_interval or app.conf.beat_max_loop_interval
        self.scheduler_cls = scheduler_cls or self.scheduler_cls
        self.schedule_filename = schedule_filename or app.conf.beat_schedule_filename
        self.remote_control: bool = (
            app.conf.beat_enable_remote_control if remote_control is None else remote_control
        )
        self.hostname = hostname
        #: Longest sleep of the scheduler, known once it runs.
        self.effective_max_interval: float | None = None
        self._pidbox: BeatPidbox | None = None
        self._leadership: Leadership | None = None
        self._last_tick: float | None = None
        self._is_shutdown = threading.Event()
        self._is_stopped = threading.Event()
        #: Whether a signal's handler may end it by an exception: it is not about to send anything.
        self._is_asleep = False
        self._stop_asked = False

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (
            self.app,
            self.max_interval,
            self.schedule_filename,
            self.scheduler_cls,
            self.remote_control,
            self.hostname,
        )

    def start(self, embedded_process: bool = False) -> None:
        """Run until stopped.

        - embedded_process: it runs inside a worker.
        """
        logger.info("beat: Starting...")
        scheduler = self.scheduler
        self.effective_max_interval = scheduler.max_interval
        logger.debug(
            "beat: Ticking with max interval->%s", humanize_seconds(scheduler.max_interval)
        )
        signals.beat_init.send(sender=self)
        if embedded_process:
            signals.beat_embedded_init.send(sender=self)
            set_process_title("celery beat")
        try:
            self._leadership = leadership_for(self.app, scheduler)
            if self.remote_control:
                self._pidbox = BeatPidbox(self)
                self._pidbox.start()
            while not (self._is_shutdown.is_set() or self._stop_asked):
                self._sleep(self._tick(scheduler))
        except (KeyboardInterrupt, SystemExit):
            self._is_shutdown.set()
        finally:
            self._end()

    def _tick(self, scheduler: Scheduler) -> float:
        self._last_tick = time.monotonic()
        leadership = self._leadership
        if leadership is None:
            return float(scheduler.tick())
        wait = leadership.standby()
        if wait:
            return wait
        return min(float(scheduler.tick()), leadership.patience())

    def _sleep(self, seconds: float) -> None:
        if seconds and seconds > 0.0:
            logger.debug("beat: Waking up %s.", humanize_seconds(seconds, prefix="in "))
            self._is_asleep = True
            try:
                # Looked at last, or a signal that came just before would be slept over.
                if not self._stop_asked:
                    self._is_shutdown.wait(seconds)
            finally:
                self._is_asleep = False
            if self.scheduler.should_sync():
                self.scheduler._do_sync()

    def _end(self) -> None:
        try:
            if self._pidbox is not None:
                self._pidbox.stop()
            self.sync()
            if self._leadership is not None:
                self._leadership.resign()
        finally:
            self._is_stopped.set()

    def sync(self) -> None:
        """Store the schedule, and let go of file and broker."""
        self.scheduler.close()

    def stop(self, wait: bool = False) -> None:
        """Have the service end.

        - wait: until it has.
        """
        logger.info("beat: Shutting down...")
        self._is_shutdown.set()
        if wait:
            self._is_stopped.wait()

    def stop_from_signal(self) -> None:
        """Have the service end; to be called by the handler of a signal, in the main thread.

        What is being sent is sent and written down first, unless asked twice. Raises SystemExit.
        """
        asked_before, self._stop_asked = self._stop_asked, True
        if self._is_asleep or asked_before:
            raise SystemExit

    @property
    def scheduler_max_interval(self) -> float:
        """Longest sleep in seconds of a scheduler that has not been made yet."""
        return float(getattr(self.scheduler_cls, "max_interval", None) or DEFAULT_MAX_INTERVAL)

    def get_scheduler(
        self, lazy: bool = False, extension_namespace: str = "celery.beat_schedulers"
    ) -> Any:
        """Return a new scheduler.

        - lazy: don't read the settings yet.
        - extension_namespace: entry points that name schedulers, besides ours.
        """
        namespaces = dict.fromkeys((extension_namespace, *EXTENSIONS))
        aliases = dict(ALIASES)
        for namespace in namespaces:
            aliases.update(load_extension_class_names(namespace))
        return symbol_by_name(self.scheduler_cls, aliases=aliases)(
            app=self.app,
            schedule_filename=self.schedule_filename,
            max_interval=self.max_interval,
            lazy=lazy,
        )

    @cached_property
    def scheduler(self) -> Any:
        """The scheduler."""
        return self.get_scheduler()


def _run_embedded(service: Service) -> bool:
    """Run a service until it ends; return whether that was without an error, which is told."""
    try:
        service.start(embedded_process=True)
    except Exception as exc:
        told = isinstance(exc, ImproperlyConfigured)
        logger.critical(
            "beat: ended, and the worker goes on without it: %s",
            exc if told else repr(exc),
            exc_info=None if told else exc,
        )
        return False
    return True


class _Threaded(threading.Thread):
    """Beat in a thread."""

    def __init__(self, app: Any, **kwargs: Any) -> None:
        super().__init__(name="Beat", daemon=True)
        self.app = app
        self.service = Service(app, **kwargs)

    def run(self) -> None:
        self.app.set_current()
        _run_embedded(self.service)

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        self.service.stop(wait=self.is_alive())


class _Process(Process):
    """Beat in a process of its own."""

    #: Signals that end it; see `start`.
    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, app: Any, **kwargs: Any) -> None:
        super().__init__()
        self.app = app
        self.service = Service(app, **kwargs)
        self.name = "Beat"
        self.daemon = True
        self._worker_pid = os.getpid()

    def start(self) -> None:
        """Start it. Signals wait until it has handlers of its own, those of the worker do nothing.

        Else one that comes at once would be lost.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self.SIGNALS)
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def run(self) -> None:
        # The worker's handlers are not for this process: TERM ends it in its sleep, see `stop`.
        reset_signals(full=False)
        process_signals.ignore("INT")
        process_signals["TERM"] = lambda *_: self.service.stop_from_signal()
        if sys.platform == "linux":
            send_on_parent_death(signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self.SIGNALS)
        if os.getppid() != self._worker_pid:
            return  # The worker died before the system was told to say so.
        self.app.set_default()
        self.app.set_current()
        if not _run_embedded(self.service):
            raise SystemExit(1)

    def stop(self) -> None:
        """End it, and wait until it has ended. One that hangs is told again, then killed."""
        for end, seconds in ((self.terminate, 10), (self.terminate, 2), (self._kill, 10)):
            if not self.is_alive():
                return
            end()
            self.join(seconds)

    def _kill(self) -> None:
        logger.error("beat: it does not end, and is killed.")
        os.kill(self.pid, signal.SIGKILL)


def EmbeddedService(  # noqa: N802 - the public name
    app: Any, max_interval: float | None = None, **kwargs: Any
) -> Any:
    """Return beat as a process with `start` and `stop`, to run beside a worker.

    - max_interval: longest sleep in seconds.
    - thread: as a thread instead.
    - kwargs: see `Service`.
    """
    if kwargs.pop("thread", False) or not _can_fork():
        return _Threaded(app, max_interval=max_interval or 1, **kwargs)
    return _Process(app, max_interval=max_interval, **kwargs)


def _can_fork() -> bool:
    try:
        ensure_multiprocessing()
    except NotImplementedError:
        return False
    return True
