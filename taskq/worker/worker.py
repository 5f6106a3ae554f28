"""The worker's controller: puts the parts of a worker together, runs and stops them.

`taskq.apps.worker.Worker` is the program around it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from kombu.utils.compat import detect_environment

from taskq import bootsteps, concurrency, signals
from taskq.app import trace
from taskq.bootsteps import RUN, TERMINATE
from taskq.exceptions import ImproperlyConfigured, TaskRevokedError, WorkerTerminate
from taskq.platforms import EX_FAILURE, create_pidlock
from taskq.utils import leaseclock
from taskq.utils.decompression import limit_decompression
from taskq.utils.log import get_logger, mlevel
from taskq.utils.nodenames import default_nodename, worker_direct
from taskq.utils.sysinfo import cpu_budget
from taskq.utils.text import str_to_list
from taskq.utils.threads import default_socket_timeout
from taskq.worker import loops, state
from taskq.worker.reloading import import_again

__all__ = ("WorkController",)

logger = get_logger("celery.worker")

#: Seconds that a socket may block while the worker shuts down.
SHUTDOWN_SOCKET_TIMEOUT = 5.0

SELECT_UNKNOWN_QUEUE = (
    "Trying to select queue subset of {0!r}, but queue {1} isn't defined in the `task_queues` "
    "setting. To have unknown queues declared by themselves, enable "
    "`task_create_missing_queues`."
)
DESELECT_UNKNOWN_QUEUE = (
    "Trying to deselect queue subset of {0!r}, but queue {1} isn't defined in the `task_queues` "
    "setting."
)


class WorkController:
    """A worker without a program around it: no signals, no logging, no banner.

    - app: the app; hostname: node name.
    - queues, exclude_queues: names to consume from or not to; include: modules to import.
    - ready_callback: called when the worker consumes; pidfile: path.

    Other options are those of `setup_defaults`.
    """

    app: Any = None
    pidlock: Any = None
    blueprint: Any = None
    pool: Any = None
    #: Kept for extensions; the pools limit themselves.
    semaphore: Any = None
    #: Exit code of the process, known when the worker stops.
    exitcode: int | None = None
    consumer: Any = None
    hub: Any = None
    timer: Any = None
    concurrency: Any
    loglevel: Any
    pool_cls: Any

    class Blueprint(bootsteps.Blueprint):
        """The steps of a worker."""

        name = "Worker"
        default_steps = {
            "taskq.worker.components:Hub",
            "taskq.worker.components:Pool",
            "taskq.worker.components:Beat",
            "taskq.worker.components:Timer",
            "taskq.worker.components:StateDB",
            "taskq.worker.components:Consumer",
            "taskq.worker.autoscale:WorkerComponent",
            "taskq.worker.health:HealthProbe",
            "taskq.worker.systemd:SystemdNotifier",
        }

    def __init__(self, app: Any = None, hostname: str | None = None, **kwargs: Any) -> None:
        self.app = app or self.app
        self.hostname = default_nodename(hostname)
        self.startup_time = time.time()
        self.app.loader.init_worker()
        self.on_before_init(**kwargs)
        self.setup_defaults(**kwargs)
        self.on_after_init(**kwargs)
        self.setup_instance(**self.prepare_args(**kwargs))

    def setup_instance(
        self,
        queues: Any = None,
        ready_callback: Callable[[Any], None] | None = None,
        pidfile: str | None = None,
        include: Any = None,
        use_eventloop: bool | None = None,
        exclude_queues: Any = None,
        **kwargs: Any,
    ) -> None:
        """Put the worker together."""
        self.pidfile = pidfile
        self.setup_queues(queues, exclude_queues)
        self.setup_includes(str_to_list(include))
        limit_decompression(self.app.conf.task_max_decompressed_size)
        leaseclock.share()
        if not self.concurrency:
            pool = concurrency.get_implementation(self.pool_cls)
            self.concurrency = getattr(pool, "default_concurrency", None) or self._available_cpus()
        self.loglevel = mlevel(self.loglevel)
        self.ready_callback = ready_callback or self.on_consumer_ready
        self.use_eventloop = True if use_eventloop is None else use_eventloop
        self.options = kwargs
        signals.worker_init.send(sender=self)
        # Which class a pool is depends on its name only, so it's known before any step runs.
        self.pool_cls = concurrency.get_implementation(self.pool_cls)
        self.steps: list[Any] = []
        self.on_init_blueprint()
        self.blueprint = self.Blueprint(
            steps=self.app.steps["worker"],
            on_start=self.on_start,
            on_close=self.on_close,
            on_stopped=self.on_stopped,
        )
        self.blueprint.apply(self, **kwargs)

    @staticmethod
    def _available_cpus() -> int:
        """Return the number of processors that affinity and the container leave to us."""
        return cpu_budget().count

    # -- hooks of the program around it

    def on_init_blueprint(self) -> None:
        """About to put the steps together."""

    def on_before_init(self, **kwargs: Any) -> None:
        """About to read the options."""

    def on_after_init(self, **kwargs: Any) -> None:
        """The options have been read."""

    def on_start(self) -> None:
        """The worker starts."""
        if self.pidfile:
            self.pidlock = create_pidlock(self.pidfile)

    def on_consumer_ready(self, consumer: Any) -> None:
        """The worker consumes."""

    def on_close(self) -> None:
        """The worker stops taking work."""
        self.app.loader.shutdown_worker()

    def on_stopped(self) -> None:
        """The worker has stopped."""
        self.timer.stop()
        if self.consumer is not None:
            self.consumer.shutdown()
        if self.pidlock:
            self.pidlock.release()

    # -- setting up

    def setup_queues(self, include: Any, exclude: Any = None) -> None:
        """Consume from some of the queues only.

        Raises ImproperlyConfigured when one isn't known.
        """
        include = str_to_list(include)
        exclude = str_to_list(exclude)
        try:
            self.app.amqp.queues.select(include)
        except KeyError as exc:
            raise ImproperlyConfigured(SELECT_UNKNOWN_QUEUE.strip().format(include, exc)) from exc
        try:
            self.app.amqp.queues.deselect(exclude)
        except KeyError as exc:
            raise ImproperlyConfigured(DESELECT_UNKNOWN_QUEUE.strip().format(exclude, exc)) from exc
        if self.app.conf.worker_direct:
            self.app.amqp.queues.select_add(worker_direct(self.hostname))

    def setup_includes(self, includes: Any) -> None:
        """Import the modules with tasks; the children import them too."""
        previous = tuple(self.app.conf.include or ())
        if includes:
            previous += tuple(includes)
            for module in includes:
                self.app.loader.import_task_module(module)
        self.include = includes
        task_modules = {task.__class__.__module__ for task in self.app.tasks.values()}
        self.app.conf.include = tuple(sorted({*previous, *task_modules}))

    def prepare_args(self, **kwargs: Any) -> dict[str, Any]:
        """Return the options as they are used; for subclasses."""
        return kwargs

    def setup_defaults(
        self,
        concurrency: Any = None,
        loglevel: Any = "WARN",
        logfile: str | None = None,
        task_events: bool | None = None,
        pool: Any = None,
        consumer_cls: Any = None,
        timer_cls: Any = None,
        timer_precision: float | None = None,
        autoscaler_cls: Any = None,
        pool_putlocks: bool | None = None,
        pool_restarts: bool | None = None,
        optimization: str | None = None,
        O: str | None = None,  # noqa: E741, N803 - the public name
        statedb: str | None = None,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        scheduler: Any = None,
        pool_cls: Any = None,
        state_db: str | None = None,
        task_time_limit: float | None = None,
        task_soft_time_limit: float | None = None,
        scheduler_cls: Any = None,
        schedule_filename: str | None = None,
        max_tasks_per_child: int | None = None,
        prefetch_multiplier: int | None = None,
        disable_rate_limits: bool | None = None,
        worker_lost_wait: float | None = None,
        max_memory_per_child: int | None = None,
        pool_start_method: str | None = None,
        disable_prefetch: bool | None = None,
        **_kw: Any,
    ) -> None:
        """Take options from the call, else from the settings.

        - concurrency: tasks at the same time; pool: alias or class.
        - time_limit, soft_time_limit: of tasks that have none, in seconds.
        - max_tasks_per_child: tasks after which a process is replaced; max_memory_per_child: kB.
        - prefetch_multiplier: messages to hold per process; statedb: path of the state file.
        - pool_start_method: how processes are started: fork, spawn, forkserver.
        """
        either = self.app.either
        self.loglevel = loglevel
        self.logfile = logfile
        self.concurrency = either("worker_concurrency", concurrency)
        if self.concurrency == "auto":
            self.concurrency = self._available_cpus()
        self.task_events = either("worker_send_task_events", task_events)
        self.pool_cls = either("worker_pool", pool, pool_cls)
        self.consumer_cls = either("worker_consumer", consumer_cls)
        self.timer_cls = either("worker_timer", timer_cls)
        self.timer_precision = either("worker_timer_precision", timer_precision)
        self.optimization = optimization or O
        self.autoscaler_cls = either("worker_autoscaler", autoscaler_cls)
        self.pool_putlocks = either("worker_pool_putlocks", pool_putlocks)
        self.pool_restarts = either("worker_pool_restarts", pool_restarts)
        self.statedb = either("worker_state_db", statedb, state_db)
        self.schedule_filename = either("beat_schedule_filename", schedule_filename)
        self.scheduler = either("beat_scheduler", scheduler, scheduler_cls)
        self.time_limit = either("task_time_limit", time_limit, task_time_limit)
        self.soft_time_limit = either("task_soft_time_limit", soft_time_limit, task_soft_time_limit)
        self.max_tasks_per_child = either("worker_max_tasks_per_child", max_tasks_per_child)
        self.max_memory_per_child = either("worker_max_memory_per_child", max_memory_per_child)
        self.prefetch_multiplier = int(either("worker_prefetch_multiplier", prefetch_multiplier))
        if either("worker_disable_prefetch", disable_prefetch):
            # One message for each process, and only when it is free: see the Tasks step.
            self.app.conf.worker_disable_prefetch = True
            self.prefetch_multiplier = 1
        self.disable_rate_limits = either("worker_disable_rate_limits", disable_rate_limits)
        self.worker_lost_wait = either("worker_lost_wait", worker_lost_wait)
        self.pool_start_method = pool_start_method

    # -- running

    def start(self) -> None:
        """Run until told to stop; sets `exitcode`."""
        try:
            self.blueprint.start(self)
        except WorkerTerminate:
            self.terminate()
        except Exception as exc:
            logger.critical("Unrecoverable error: %r", exc, exc_info=True)
            self.stop(exitcode=EX_FAILURE)
        except SystemExit as exc:
            self.stop(exitcode=exc.code if isinstance(exc.code, int) else 0)
        except KeyboardInterrupt:
            self.stop(exitcode=EX_FAILURE)

    def process_task(self, req: Any) -> None:
        """Give a request to the pool."""
        try:
            req.execute_using_pool(self.pool)
        except TaskRevokedError:
            # Said and acknowledged by the request.
            logger.debug("Not running revoked task %s", req)

    _process_task = process_task

    def register_with_event_loop(self, hub: Any) -> None:
        """Let the steps take part in the loop."""
        self.blueprint.send_all(
            self, "register_with_event_loop", args=(hub,), description="hub.register"
        )

    def signal_consumer_close(self) -> None:
        """Have the consumer's loop end."""
        if self.consumer is not None and getattr(self.consumer, "blueprint", None) is not None:
            self.consumer.blueprint.close(self.consumer)

    def should_use_eventloop(self) -> bool:
        """Return whether the worker runs on an event loop."""
        return bool(detect_environment() == "default")

    def stop(self, in_sighandler: bool = False, exitcode: int | None = None) -> None:
        """Shut down, letting running tasks finish."""
        if exitcode is not None:
            self.exitcode = exitcode
        if self.blueprint.state == RUN:
            self.signal_consumer_close()
            if not in_sighandler or self.pool.signal_safe:
                self._shutdown(warm=True)
        self._send_worker_shutdown()

    def terminate(self, in_sighandler: bool = False) -> None:
        """Shut down at once; unacknowledged work goes back to the broker."""
        if self.blueprint.state != TERMINATE:
            self.signal_consumer_close()
            if not in_sighandler or self.pool.signal_safe:
                self._shutdown(warm=False)

    def _shutdown(self, *, warm: bool = True) -> None:
        if self.blueprint is None:
            return
        with default_socket_timeout(SHUTDOWN_SOCKET_TIMEOUT):
            try:
                if warm:
                    self._finish_running_tasks()
            except WorkerTerminate:
                warm = False
            self.blueprint.stop(self, terminate=not warm)
            self.blueprint.join()

    def _finish_running_tasks(self) -> None:
        """Stop consuming, give back what is only held, wait for what runs.

        The loop turns meanwhile, so leases, heartbeats and acknowledgements go on.
        """
        consumer, pool = self.consumer, self.pool
        if consumer is None or pool is None or consumer.task_consumer is None:
            return
        consumer.stop()
        if not pool.active:
            return
        loops.drain(
            self.hub,
            pool,
            finished=lambda: not pool.jobs(),
            errors=consumer.connection_errors,
        )

    def wait_for_soft_shutdown(self) -> None:
        """Wait ``worker_soft_shutdown_timeout`` seconds for running tasks before terminating."""
        timeout = self.app.conf.worker_soft_shutdown_timeout
        if timeout <= 0 or self.pool is None:
            return
        idle = not self.pool.jobs()
        if idle and not self.app.conf.worker_enable_soft_shutdown_on_idle:
            return
        logger.warning("Initiating Soft Shutdown, terminating in %s seconds", timeout)
        loops.drain(
            self.hub,
            self.pool,
            finished=lambda: not idle and not self.pool.jobs(),
            deadline=time.monotonic() + timeout,
            errors=self.consumer.connection_errors,
        )

    def _send_worker_shutdown(self) -> None:
        signals.worker_shutdown.send(sender=self)

    def reload(
        self, modules: Any = None, reload: bool = False, reloader: Callable[..., Any] | None = None
    ) -> None:
        """Import modules again and restart the pool's processes.

        - modules: names, all task modules by default; reload: modules imported already too.
        """
        self._reload_modules(modules, force_reload=reload, reloader=reloader)
        if self.consumer is not None:
            self.consumer.update_strategies()
            self.consumer.reset_rate_limits()
        # For pools whose tasks run in this process: it forgets the old tasks.
        trace.setup_worker_optimizations(self.app, self.hostname)
        try:
            self.pool.restart()
        except NotImplementedError:
            # Nothing to restart: the tasks run in this process.
            logger.debug("%r has no processes to restart", self.pool)

    def _reload_modules(
        self, modules: Any = None, *, force_reload: bool = False, reloader: Any = None
    ) -> None:
        names = self.app.loader.task_modules if modules is None else modules or ()
        import_again(self.app, list(names), force=force_reload, reloader=reloader)

    # -- descriptions

    def info(self) -> dict[str, Any]:
        """Return pid, counts and clock of the worker."""
        return {
            "total": dict(state.total_count),
            "pid": os.getpid(),
            "clock": str(self.app.clock),
            "uptime": round(time.time() - self.startup_time),
        }

    def rusage(self) -> dict[str, Any]:
        """Return the resource usage of the main process.

        Raises NotImplementedError on systems that don't count it.
        """
        try:
            import resource
        except ImportError as exc:
            raise NotImplementedError("rusage not supported by this platform") from exc
        usage = resource.getrusage(resource.RUSAGE_SELF)
        names = [
            "utime",
            "stime",
            "maxrss",
            "ixrss",
            "idrss",
            "isrss",
            "minflt",
            "majflt",
            "nswap",
            "inblock",
            "oublock",
            "msgsnd",
            "msgrcv",
            "nsignals",
            "nvcsw",
            "nivcsw",
        ]
        return {name: getattr(usage, f"ru_{name}") for name in names}

    def stats(self) -> dict[str, Any]:
        """Return what ``inspect stats`` answers."""
        info = self.info()
        info.update(self.blueprint.info(self))
        info.update(self.consumer.blueprint.info(self.consumer))
        try:
            info["rusage"] = self.rusage()
        except NotImplementedError:
            info["rusage"] = "N/A"
        return info

    def __repr__(self) -> str:
        human = self.blueprint.human_state() if self.blueprint else "INIT"
        return f"<Worker: {self.hostname} ({human})>"

    def __str__(self) -> str:
        return self.hostname

    @property
    def state(self) -> Any:
        """The module with the worker's state."""
        return state
