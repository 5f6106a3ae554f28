"""Cameras: programs that look at the cluster's state from time to time.

Subclass `Polaroid` and run it with ``taskq events --camera=proj.camera:MyCamera``.
"""

from __future__ import annotations

from typing import Any

from kombu.utils.limits import TokenBucket

from taskq.app import app_or_default
from taskq.events.capture import capture_events
from taskq.platforms import create_pidlock
from taskq.utils.dispatch import Signal
from taskq.utils.imports import instantiate
from taskq.utils.log import get_logger
from taskq.utils.time import humanize_seconds, rate
from taskq.utils.timer2 import Timer

__all__ = ("Polaroid", "evcam")

logger = get_logger("celery.evcam")


class Polaroid:
    """Takes snapshots of a state.

    - state: the `taskq.events.state.State`.
    - freq: seconds between snapshots; cleanup_freq: seconds between clean-ups.
    - maxrate: at most so many snapshots, as ``10/m``.
    - timer: calls it; a thread of its own by default.

    Subclasses override `on_shutter` and `on_cleanup`.
    """

    timer: Any = None
    #: Sent with each snapshot and each clean-up; the sender is the state.
    shutter_signal = Signal(name="shutter_signal", providing_args={"state"})
    cleanup_signal = Signal(name="cleanup_signal")
    #: Forget what is finished after each snapshot.
    clear_after = False

    _tref: Any = None
    _ctref: Any = None

    def __init__(
        self,
        state: Any,
        freq: float = 1.0,
        maxrate: str | float | None = None,
        cleanup_freq: float = 3600.0,
        timer: Any = None,
        app: Any = None,
    ) -> None:
        self.app = app_or_default(app)
        self.state = state
        self.freq = freq
        self.cleanup_freq = cleanup_freq
        self.timer = timer or self.timer or Timer()
        self.logger = logger
        self.maxrate = TokenBucket(rate(maxrate)) if maxrate else None

    def install(self) -> None:
        """Begin to take snapshots."""
        self._tref = self.timer.call_repeatedly(self.freq, self.capture)
        self._ctref = self.timer.call_repeatedly(self.cleanup_freq, self.cleanup)

    def on_shutter(self, state: Any) -> None:
        """Take a snapshot; no event changes the state meanwhile."""

    def on_cleanup(self) -> None:
        """Delete what is old."""

    def cleanup(self) -> None:
        """Clean up."""
        logger.debug("Cleanup: Running...")
        self.cleanup_signal.send(sender=self.state)
        self.on_cleanup()

    def shutter(self) -> None:
        """Take a snapshot, unless there were too many lately."""
        if self.maxrate is None or self.maxrate.can_consume():
            logger.debug("Shutter: %s", self.state)
            self.shutter_signal.send(sender=self.state, state=self.state)
            self.on_shutter(self.state)

    def capture(self) -> None:
        """Take a snapshot while the state stands still."""
        self.state.freeze_while(self.shutter, clear_after=self.clear_after)

    def cancel(self) -> None:
        """Take a last snapshot, and no more."""
        if self._tref is not None:
            self._tref.cancel()
            self._tref = None
            self.capture()
        if self._ctref is not None:
            self._ctref.cancel()
            self._ctref = None

    def __enter__(self) -> Polaroid:
        self.install()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.cancel()


def evcam(
    camera: Any,
    freq: float = 1.0,
    maxrate: str | float | None = None,
    loglevel: Any = 0,
    logfile: str | None = None,
    pidfile: str | None = None,
    timer: Any = None,
    app: Any = None,
    **kwargs: Any,
) -> None:
    """Take snapshots until interrupted; connects again when the connection is lost.

    - camera: class or its path; other parameters are those of `Polaroid`.
    - loglevel, logfile: of the log; pidfile: path of a file for the process id.
    """
    app = app_or_default(app)
    lock = create_pidlock(pidfile) if pidfile else None
    try:
        app.log.setup_logging_subsystem(loglevel, logfile)
        print(f"-> evcam: Taking snapshots with {camera} (every {freq} secs.)", flush=True)
        state = app.events.State()
        cam = instantiate(camera, state, app=app, freq=freq, maxrate=maxrate, timer=timer)
        _take_snapshots(app, cam)
    except KeyboardInterrupt:
        raise SystemExit from None
    finally:
        if lock is not None:
            lock.release()


def _take_snapshots(app: Any, cam: Any) -> None:
    """Feed the camera's state with events, until interrupted."""
    url = app.connection_for_read().as_uri()

    def on_error(exc: BaseException, interval: float) -> None:
        when = humanize_seconds(interval, "in", " ")
        logger.error("Cannot connect to %s: %s. Trying again %s", url, exc, when)

    cam.install()
    try:
        capture_events(
            app,
            {"*": cam.state.event},
            on_error=on_error,
            on_lost=lambda: logger.warning("Connection lost, connecting again"),
        )
    finally:
        cam.cancel()
