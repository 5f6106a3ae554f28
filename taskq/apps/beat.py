"""Beat as a program: banner, logging, signals and pidfile around the service.

``app.Beat``; started by ``taskq beat``.
"""

from __future__ import annotations

import socket
import sys
from datetime import datetime
from typing import Any

from taskq import VERSION_BANNER, beat, platforms
from taskq.exceptions import ImproperlyConfigured
from taskq.utils.imports import qualname
from taskq.utils.log import LOG_LEVELS, get_logger, mlevel
from taskq.utils.time import humanize_seconds

__all__ = ("Beat",)

logger = get_logger("celery.beat")

STARTUP_INFO_FMT = """\
LocalTime -> {timestamp}
Configuration ->
    . broker -> {conninfo}
    . loader -> {loader}
    . scheduler -> {scheduler}
{scheduler_info}
    . logfile -> {logfile}@%{loglevel}
    . maxinterval -> {hmax_interval} ({max_interval}s){remote_control}
"""


class Beat:
    """Beat that owns its process.

    Parameters:
        max_interval: longest sleep in seconds, ``beat_max_loop_interval`` by default.
        app: the app.
        socket_timeout: seconds after which a broker that says nothing counts as gone.
        pidfile: file that holds the process id; it must not run already.
        no_color: no colours in log and banner.
        loglevel: name or number.
        logfile: file for the log, stderr by default.
        schedule: file for the schedule, ``beat_schedule_filename`` by default.
        scheduler, scheduler_cls: class of the scheduler, ``beat_scheduler`` by default.
        redirect_stdouts: log what is printed, ``worker_redirect_stdouts`` by default.
        redirect_stdouts_level: log level for that.
        quiet: no banner.
        remote_control: answer pings, ``beat_enable_remote_control`` by default.
        hostname: node name for these.
    """

    Service = beat.Service
    app: Any = None

    def __init__(
        self,
        max_interval: float | None = None,
        app: Any = None,
        socket_timeout: float = 30,
        pidfile: str | None = None,
        no_color: bool | None = None,
        loglevel: str | int = "WARN",
        logfile: str | None = None,
        schedule: str | None = None,
        scheduler: Any = None,
        scheduler_cls: Any = None,
        redirect_stdouts: bool | None = None,
        redirect_stdouts_level: str | int | None = None,
        quiet: bool = False,
        remote_control: bool | None = None,
        hostname: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.app = app = app or self.app
        either = app.either
        self.loglevel = mlevel(loglevel)
        self.logfile = logfile
        self.schedule = either("beat_schedule_filename", schedule)
        self.scheduler_cls = either("beat_scheduler", scheduler, scheduler_cls)
        self.redirect_stdouts = either("worker_redirect_stdouts", redirect_stdouts)
        self.redirect_stdouts_level = either(
            "worker_redirect_stdouts_level", redirect_stdouts_level
        )
        self.quiet = quiet
        self.remote_control: bool = either("beat_enable_remote_control", remote_control)
        self.hostname = hostname
        self.max_interval = max_interval
        self.socket_timeout = socket_timeout
        self.no_color = no_color
        self.colored = app.log.colored(self.logfile, enabled=not no_color if no_color else None)
        self.pidfile = pidfile

    def run(self) -> None:
        """Run until told to stop."""
        if not self.quiet:
            print(str(self.colored.cyan(f"taskq beat v{VERSION_BANNER} is starting.")), flush=True)
        self.init_loader()
        self.set_process_title()
        self.start_scheduler()

    def setup_logging(self, colorize: bool | None = None) -> None:
        """Set up the log."""
        if colorize is None and self.no_color is not None:
            colorize = not self.no_color
        self.app.log.setup(
            self.loglevel,
            self.logfile,
            self.redirect_stdouts,
            self.redirect_stdouts_level,
            colorize=colorize,
        )

    def start_scheduler(self) -> None:
        """Take the pidfile, print the banner and run the service."""
        if self.pidfile:
            platforms.create_pidlock(self.pidfile)
        service = self.Service(
            app=self.app,
            max_interval=self.max_interval,
            scheduler_cls=self.scheduler_cls,
            schedule_filename=self.schedule,
            remote_control=self.remote_control,
            hostname=self.hostname,
        )
        # Before the log takes over what is printed; a scheduler that there isn't is told here.
        banner = self.banner(service)
        if not self.quiet:
            print(banner, flush=True)
        self.setup_logging()
        if self.socket_timeout:
            logger.debug("Setting default socket timeout to %r", self.socket_timeout)
            socket.setdefaulttimeout(self.socket_timeout)
        try:
            self.install_sync_handler(service)
            service.start()
        except (ImproperlyConfigured, OSError):
            raise  # Told to the user by who started this, without its insides.
        except Exception as exc:
            logger.critical("beat raised exception %s: %r", type(exc), exc, exc_info=True)
            raise

    def banner(self, service: Any) -> str:
        """Return what is printed at the start."""
        return str(self.colored.blue(self.startup_info(service)))

    def init_loader(self) -> None:
        """Import the app's modules and read its settings."""
        # Tasks are imported, so that their own options and routes count when they are sent.
        self.app.loader.init_worker()
        self.app.finalize()

    def startup_info(self, service: Any) -> str:
        """Return the settings that matter, as text."""
        scheduler = service.get_scheduler(lazy=True)
        return STARTUP_INFO_FMT.format(
            conninfo=self.app.connection_for_write().as_uri(),
            timestamp=datetime.now().replace(microsecond=0),
            logfile=self.logfile or "[stderr]",
            loglevel=LOG_LEVELS[self.loglevel],
            loader=qualname(self.app.loader),
            scheduler=qualname(scheduler),
            scheduler_info=scheduler.info,
            hmax_interval=humanize_seconds(scheduler.max_interval),
            max_interval=scheduler.max_interval,
            remote_control=self._remote_control_info(service),
        )

    def _remote_control_info(self, service: Any) -> str:
        if not service.remote_control:
            return ""
        return f"\n    . remote control -> {beat.beat_nodename(service.hostname)}"

    def set_process_title(self) -> None:
        """Show what this is in the process title; needs the setproctitle package."""

        platforms.set_process_title("celery beat", info=platforms.strargv(sys.argv))

    def install_sync_handler(self, service: Any) -> None:
        """Have TERM and INT end the service, which stores its schedule then."""

        def handle(*_: Any) -> None:
            service.stop_from_signal()

        platforms.signals.update(SIGTERM=handle, SIGINT=handle)
