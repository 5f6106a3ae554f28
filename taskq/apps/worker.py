"""The worker as a program: banner, logging, signals and exit status around the worker itself.

``app.Worker``; started by ``taskq worker``.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from taskq import platforms, signals
from taskq.app import trace
from taskq.apps import banner, signal_handlers
from taskq.apps.signal_handlers import (
    install_cry_handler,
    install_rdb_handler,
    install_worker_int_handler,
    install_worker_restart_handler,
    install_worker_term_handler,
    install_worker_term_hard_handler,
    on_cold_shutdown,
    on_hard_shutdown,
)
from taskq.exceptions import WorkerTerminate
from taskq.platforms import EX_FAILURE, EX_OK, check_privileges, isatty
from taskq.utils.log import get_logger
from taskq.utils.text import pluralize
from taskq.worker import WorkController, state

__all__ = (
    "EX_FAILURE",
    "EX_OK",
    "Worker",
    "install_cry_handler",
    "install_rdb_handler",
    "install_worker_int_handler",
    "install_worker_restart_handler",
    "install_worker_term_handler",
    "install_worker_term_hard_handler",
    "on_cold_shutdown",
    "on_hard_shutdown",
)

logger = get_logger("celery.apps.worker")


class Worker(WorkController):
    """A worker that owns its process.

    Its life: `on_before_init` (settings may still change), `on_after_init`, `on_init_blueprint`
    (logging), `on_start` (banner, signal handlers), `on_consumer_ready`; then, if HUP asked for
    it, the process is replaced by a new one.
    """

    quiet = False
    #: Set by HUP: start again once stopped.
    restart_requested = False

    def on_before_init(self, quiet: bool = False, **kwargs: Any) -> None:
        """Prepare the app for tasks and let ``signals.celeryd_init`` change its settings.

        Raises SecurityError where root would run pickled messages, and ImproperlyConfigured for a
        result backend that cannot be used, before anything has started.
        """
        self.pid = os.getpid()
        self.quiet = quiet
        trace.setup_worker_optimizations(self.app, self.hostname)
        signals.celeryd_init.send(
            sender=self.hostname, instance=self, conf=self.app.conf, options=kwargs
        )
        check_privileges(self.app.conf.accept_content)
        self.results_url = self.app.backend.as_uri()

    def on_after_init(
        self,
        purge: bool = False,
        no_color: bool | None = None,
        redirect_stdouts: bool | None = None,
        redirect_stdouts_level: str | int | None = None,
        **kwargs: Any,
    ) -> None:
        """Take the program's own options; settings stand in for those not given."""
        conf = self.app.conf
        self.redirect_stdouts = (
            conf.worker_redirect_stdouts if redirect_stdouts is None else redirect_stdouts
        )
        self.redirect_stdouts_level = redirect_stdouts_level or conf.worker_redirect_stdouts_level
        super().setup_defaults(**kwargs)
        self.purge = purge
        self.no_color = no_color
        self._isatty = isatty(sys.stdout)
        self.colored = self.app.log.colored(self.logfile, enabled=False if no_color else None)

    def on_init_blueprint(self) -> None:
        """Set up logging before any step is made."""
        self._custom_logging = self.setup_logging()
        trace.setup_worker_optimizations(self.app, self.hostname)

    def on_start(self) -> None:
        """Announce the worker: signal, purge, banner, process title, signal handlers."""
        app = self.app
        super().on_start()
        signals.celeryd_after_setup.send(sender=self.hostname, instance=self, conf=app.conf)
        if self.purge:
            self.purge_messages()
        if not self.quiet:
            self.emit_banner()
        self.set_process_status("-active-")
        self.install_platform_tweaks(self)
        if not self._custom_logging and self.redirect_stdouts:
            app.log.redirect_stdouts(self.redirect_stdouts_level)
        app.conf.maybe_warn_deprecated_settings()

    def on_consumer_ready(self, consumer: Any) -> None:
        """Say that tasks are taken from now on."""
        signals.worker_ready.send(sender=consumer)
        logger.info("%s ready.", self.hostname)

    def start(self) -> None:
        """Run until stopped; on HUP the process is then replaced by a new one."""
        super().start()
        if self.restart_requested:
            if self.pidlock is not None:
                self.pidlock.release()
            signal_handlers.restart()

    def terminate(self, in_sighandler: bool = False) -> None:
        """Shut down at once, but for the time that a soft shutdown gives to what runs."""
        if not in_sighandler:
            self._soften()
        super().terminate(in_sighandler)

    def _finish_running_tasks(self) -> None:
        try:
            super()._finish_running_tasks()
        except WorkerTerminate:
            self._soften()
            raise

    def _soften(self) -> None:
        """Wait as long as a soft shutdown allows, or until the next signal says to end it."""
        asked, state.should_terminate = state.should_terminate, None
        try:
            if self.consumer is not None and self.app.conf.worker_soft_shutdown_timeout:
                self.consumer.stop()
                self.wait_for_soft_shutdown()
        except WorkerTerminate:
            return  # asked again
        finally:
            state.should_terminate = asked

    def setup_logging(self, colorize: bool | None = None) -> Any:
        """Set up the log, and return the receivers of ``signals.setup_logging`` if they did."""
        if colorize is None and self.no_color:
            colorize = False
        return self.app.log.setup(
            self.loglevel,
            self.logfile,
            redirect_stdouts=False,
            colorize=colorize,
            hostname=self.hostname,
        )

    def emit_banner(self) -> None:
        """Print the banner where stdout was before the log took it."""
        text = self.colored.cyan(f"\n{self.startup_info()}\n")
        print(f"{text}{self.extra_info()}", file=sys.__stdout__, flush=True)

    def startup_info(self, artlines: bool = True) -> str:
        """Return the banner's text; ``artlines`` draws beside it."""
        return banner.startup_text(self, art=artlines)

    def extra_info(self) -> str:
        """Return the list of tasks where the log level shows information, else nothing."""
        if self.loglevel is None or self.loglevel > 20:  # logging.INFO
            return ""
        return banner.tasks_text(self._task_names(include_builtins=self.loglevel <= 10))

    def tasklist(
        self, include_builtins: bool = True, sep: str = "\n", int_: str = "celery."
    ) -> str:
        """Return the names of the tasks, one a line.

        - include_builtins: with those whose name starts with ``int_``.
        """
        names = self._task_names(include_builtins=include_builtins, prefix=int_)
        return sep.join(f"  . {name}" for name in names)

    def _task_names(self, *, include_builtins: bool, prefix: str = "celery.") -> list[str]:
        return sorted(
            name for name in self.app.tasks if include_builtins or not name.startswith(prefix)
        )

    def purge_messages(self) -> None:
        """Delete what waits in the queues, as ``--purge`` asks."""
        with self.app.connection_for_write() as connection:
            count = self.app.control.purge(connection=connection)
        if count:
            print(f"purge: Erased {count} {pluralize(count, 'message')} from the queue.\n")

    def install_platform_tweaks(self, worker: Any) -> None:
        """Install the signal handlers.

        HUP restarts only without a terminal: a terminal sends it when it is closed.
        """
        if platforms.IS_macOS:
            self.macOS_proxy_detection_workaround()
        signal_handlers.install(worker, restart_on_hup=not self._isatty)

    def macOS_proxy_detection_workaround(self) -> None:  # noqa: N802 - the public name
        """Keep Python from asking macOS for its proxies, which crashes in a forked process.

        Python does not ask where any variable named ``*_proxy`` is set.
        """
        os.environ.setdefault("celery_dummy_proxy", "set_by_celeryd")

    def set_process_status(self, info: str) -> Any:
        """Show what the worker does in its process title; needs the setproctitle package."""
        return platforms.set_mp_process_title(
            "celeryd",
            info=f"{info} ({platforms.strargv(sys.argv)})",
            hostname=self.hostname,
        )
