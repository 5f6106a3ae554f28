"""The scheduler: a heap of entries by the time they are due, and what sends those that are.

Run by `taskq.beat.service.Service`, one `tick` after the other.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from kombu import Producer as KombuProducer
from kombu.exceptions import OperationalError
from kombu.utils.objects import cached_property

from taskq.beat.clock import StepDetector, believable, is_interval, shift
from taskq.beat.entries import Entries
from taskq.beat.entry import ScheduleEntry, evaluate_args, evaluate_kwargs
from taskq.beat.holds import Holds
from taskq.beat.leases import Fenced, Run
from taskq.schedules import crontab
from taskq.utils.log import get_logger
from taskq.utils.time import humanize_seconds, maybe_make_aware

__all__ = ("DEFAULT_MAX_INTERVAL", "BrokerUnreachable", "Scheduler", "SchedulingError", "event_t")

logger = get_logger("celery.beat")

#: Seconds the scheduler sleeps at most.
DEFAULT_MAX_INTERVAL = 300
#: Seconds within which a task that deletes expired results must start, else the next one does it.
CLEANUP_EXPIRES = 12 * 3600
#: Names of tasks that stand for workflows -> their kind of signature.
WORKFLOWS = {"celery.chain": "chain", "celery.group": "group", "celery.chord": "chord"}
#: First and longest pause (seconds) between two attempts while the broker is away.
FIRST_RETRY, LONGEST_RETRY = 0.5, 5.0


class SchedulingError(Exception):
    """A due task could not be sent."""


class BrokerUnreachable(SchedulingError):
    """A due task could not be sent because the broker is away: it is to be tried again."""


class event_t(NamedTuple):  # noqa: N801 - the public name
    """Item of the heap: when to look at an entry (Unix time), its priority, and the entry."""

    time: float
    priority: int
    entry: Any


class Scheduler:
    """Sends periodic tasks when they are due; keeps the schedule in memory.

    Parameters:
        app: the app.
        schedule: entries to begin with, by name.
        max_interval: longest sleep in seconds, ``beat_max_loop_interval`` by default.
        Producer: class of the producer, the app's by default.
        lazy: don't read the settings yet.
        sync_every_tasks: number of tasks sent after which the schedule is stored, 0 for none;
            ``beat_sync_every`` by default.
    """

    #: Class of the entries.
    Entry: Any = ScheduleEntry
    #: Longest sleep in seconds.
    max_interval: float = DEFAULT_MAX_INTERVAL
    #: Seconds between two times of storing the schedule.
    sync_every: float = 3 * 60
    #: Tasks sent between two times of storing the schedule.
    sync_every_tasks: int | None = None
    #: Where what happens is told.
    logger: logging.Logger = logger

    _last_sync: float | None = None
    _tasks_since_sync = 0
    _heap: list[event_t] | None = None
    #: What `schedules_equal` compares with, for schedulers that have one of their own.
    old_schedulers: Any = None
    #: Where runs are written down for other beats, while this one leads; see `taskq.beat.leader`.
    ledger: Any = None
    #: Times missed before this one are all sent: they fell between the death of another leader
    #: and this beat's taking over.
    _recover_until: datetime | None = None

    def __init__(
        self,
        app: Any,
        schedule: Any = None,
        max_interval: float | None = None,
        Producer: Any = None,  # noqa: N803 - the public name
        lazy: bool = False,
        sync_every_tasks: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.app = app
        self.data: Any = Entries(schedule or {})
        self.max_interval = (
            max_interval or app.conf.beat_max_loop_interval or type(self).max_interval
        )
        self.Producer = Producer or getattr(app.amqp, "Producer", None) or KombuProducer
        self.sync_every_tasks = (
            app.conf.beat_sync_every if sync_every_tasks is None else sync_every_tasks
        )
        self._clock = StepDetector()
        self._holds = Holds(app)
        self._seen_version: tuple[int, int] | None = None
        self._away_since: float | None = None
        self._retry_delay = FIRST_RETRY
        self._forgive = True
        if not lazy:
            self.setup_schedule()

    # -- the entries --------------------------------------------------------------------

    def setup_schedule(self) -> None:
        """Take the entries from the settings."""
        self.install_default_entries(self.data)
        self.merge_inplace({**self._defaults(), **self.app.conf.beat_schedule})

    def install_default_entries(self, data: Any) -> None:
        """Add the task that deletes expired results, where the result backend needs it."""
        entries = {name: entry for name, entry in self._defaults().items() if name not in data}
        if entries:
            self.update_from_dict(entries)

    def _defaults(self) -> dict[str, Any]:
        if not self.app.conf.result_expires or self.app.backend.supports_autoexpire:
            return {}
        return {
            "celery.backend_cleanup": {
                "task": "celery.backend_cleanup",
                "schedule": crontab("0", "4", "*"),
                "options": {"expires": CLEANUP_EXPIRES},
            }
        }

    def add(self, **kwargs: Any) -> Any:
        """Add an entry, made of these arguments of `ScheduleEntry`, and return it."""
        entry = self.Entry(app=self.app, **kwargs)
        self.schedule[entry.name] = entry
        return entry

    def _maybe_entry(self, name: str, entry: Any) -> Any:
        if isinstance(entry, self.Entry):
            entry.app = self.app
            return entry
        try:
            return self.Entry(**dict(entry, name=name, app=self.app))
        except TypeError as exc:
            raise TypeError(f"Periodic task {name!r} in beat_schedule: {exc}") from exc

    def update_from_dict(self, dict_: Mapping[str, Any]) -> None:
        """Add entries given as in ``beat_schedule``."""
        self.schedule.update({name: self._maybe_entry(name, e) for name, e in dict_.items()})

    def merge_inplace(self, b: Mapping[str, Any]) -> None:
        """Have the entries of ``b`` and no others; those there already keep their last run."""
        schedule = self.schedule
        for name in set(schedule) - set(b):
            schedule.pop(name, None)
        for name, given in b.items():
            entry = self._maybe_entry(name, given)
            if name in schedule:
                schedule[name].update(entry)
            else:
                schedule[name] = entry

    def get_schedule(self) -> Any:
        """Return the entries by name."""
        return self.data

    def set_schedule(self, schedule: Any) -> None:
        """Replace the entries."""
        self.data = schedule if isinstance(schedule, Entries) else Entries(schedule)
        self._heap = None

    @property
    def schedule(self) -> Any:
        """The entries by name."""
        return self.get_schedule()

    @schedule.setter
    def schedule(self, schedule: Any) -> None:
        self.set_schedule(schedule)

    @property
    def info(self) -> str:
        """Line for the banner."""
        return ""

    # -- the heap -----------------------------------------------------------------------

    def populate_heap(
        self,
        event_t: Any = event_t,
        heapify: Callable[[list[Any]], None] = heapq.heapify,
    ) -> None:
        """Put all entries on the heap."""
        heap = []
        forgive, self._forgive = self._forgive, False
        for entry in list(self.schedule.values()):
            believable(entry)
            if forgive and isinstance(entry, ScheduleEntry):
                entry.forgive_downtime()
            heap.append(event_t(*self._place(entry)))
        heapify(heap)
        self._heap = heap

    def _place(self, entry: Any) -> tuple[float, int, Any]:
        priority = entry.options.get("priority", 5) if entry.options else 5
        if not isinstance(priority, int):
            priority = 5
        try:
            is_due, delay = entry.is_due()
        except Exception as exc:
            self._is_due_failed(entry, exc)
            return time.time() + self.max_interval, priority, entry
        return self._when(entry, 0 if is_due else delay) or 0, priority, entry

    def _is_due_failed(self, entry: Any, exc: BaseException | None = None) -> None:
        """Tell that an entry's schedule doesn't work; the other entries go on."""
        logger.error(
            "beat: cannot tell when periodic task %s is due, trying again in %s: %r",
            entry.name,
            humanize_seconds(self.max_interval),
            exc,
            exc_info=exc,
        )

    def _when(self, entry: Any, next_time_to_run: float | None, mktime: Any = None) -> float:
        """Return the Unix time so many seconds from now, by the entry's clock."""
        now = maybe_make_aware(entry.default_now())
        return float(now.timestamp()) + (next_time_to_run or 0)

    def adjust(self, n: float | None, drift: float = -0.010) -> float | None:
        """Return a delay made shorter by what it takes to wake up; for schedulers of others."""
        return n + drift if n and n > 0 else n

    def schedules_equal(self, old_schedules: Any, new_schedules: Any) -> bool:
        """Return whether the entries are the same as those on the heap."""
        if set(old_schedules or {}) != set(new_schedules or {}):
            return False
        if old_schedules is None or new_schedules is None:
            return old_schedules is new_schedules
        return all(old_schedules[name] == entry for name, entry in new_schedules.items())

    def _schedule_changed(self) -> bool:
        schedule = self.schedule
        if isinstance(schedule, Entries) and (
            type(self).schedules_equal is Scheduler.schedules_equal
        ):
            seen = id(schedule), schedule.version
            changed, self._seen_version = seen != self._seen_version, seen
            return changed
        if self.schedules_equal(self.old_schedulers, schedule):
            return False
        self.old_schedulers = dict(schedule)
        return True

    # -- sending what is due ------------------------------------------------------------

    def tick(
        self,
        event_t: Any = event_t,
        min: Callable[..., Any] = min,
        heappop: Callable[..., Any] = heapq.heappop,
        heappush: Callable[..., Any] = heapq.heappush,
    ) -> float:
        """Send the first task if it is due; return the seconds until the next call.

        Never raises for an entry: one that fails is told about and waits, the rest goes on.
        """
        self._follow_clock()
        if self._schedule_changed() or self._heap is None:
            self.populate_heap()
        heap = self._heap
        if not heap:
            return self.max_interval
        event = heap[0]
        entry = event.entry
        try:
            is_due, delay = self.is_due(entry)
        except Exception as exc:
            self._is_due_failed(entry, exc)
            is_due, delay = False, self.max_interval
        if not isinstance(delay, (int, float)):
            delay = self.max_interval
        if not is_due:
            if event.time <= self._when(entry, 0):
                # Its time was another one when it was put there: let others come first.
                heapq.heapreplace(heap, event_t(self._when(entry, delay), event.priority, entry))
                delay = heap[0].time - self._when(entry, 0)
            return self._nap(delay)
        wait = self._holds.wait(entry)
        if wait:
            heapq.heapreplace(heap, event_t(self._when(entry, wait), event.priority, entry))
            head = heap[0]
            return self._nap(head.time - self._when(head.entry, 0))
        heappop(heap)
        return self._run(event, delay)

    def _nap(self, delay: float) -> float:
        return float(max(min(delay, self.max_interval), 0))

    def is_due(self, entry: Any) -> Any:
        """Return whether an entry is due, and the seconds until it is worth asking again."""
        return entry.is_due()

    def _run(self, event: event_t, delay: float) -> float:
        """Send an entry that was popped from the heap, and put it back where it belongs next."""
        heap = self._heap
        assert heap is not None
        entry = event.entry
        try:
            if self._holds.skips(entry):
                next_entry = self._passed_over(entry)
            else:
                # Reserved first: sending may take longer than it is until the next time.
                next_entry = self.reserve(entry)
                self._send(entry, next_entry)
                self._broker_is_there()
        except BrokerUnreachable as exc:
            self._put_back(entry)
            pause = self._broker_is_away(exc)
            # Others first, in case it is the fault of this one.
            again = event_t(self._when(entry, pause), event.priority, entry)
            heapq.heappush(heap, again)
            return pause
        except Fenced:
            self._put_back(entry)
            heapq.heappush(heap, event)
            self.ledger.deposed()
            return 0
        self._holds.passed(entry)
        if self._catches_up(entry) or is_interval(next_entry):
            # Due a full interval after the time it was due at, not after it was sent.
            heapq.heappush(heap, event_t(*self._place(next_entry)))
        else:
            heapq.heappush(heap, event_t(self._when(next_entry, delay), event.priority, next_entry))
        return 0

    def _send(self, entry: Any, next_entry: Any) -> None:
        if self.ledger is None:
            self.apply_entry(entry, producer=self.producer)
        else:
            self._write_down(entry, next_entry, self.apply_entry)

    def _write_down(self, entry: Any, next_entry: Any, apply_entry: Any) -> None:
        try:
            self.ledger.send(entry, next_entry, self.producer, apply_entry)
        except (Fenced, BrokerUnreachable):
            raise
        except Exception as exc:
            # Of the store or the broker, which are the same mostly; tried again.
            raise BrokerUnreachable(str(exc) or repr(exc)) from exc

    def adopt(self, runs: Mapping[str, Run], ledger: Any, *, recover: bool) -> dict[str, Run]:
        """Go on where another beat stopped; from now on runs are written down in a ledger.

        - runs: last runs by entry.
        - recover: the other one died: send all times that were missed since.

        Returns the last runs of entries that are not in `runs`.
        """
        self.ledger = ledger
        missing = {}
        for name, entry in self.schedule.items():
            last = maybe_make_aware(entry.last_run_at)
            run = runs.get(name)
            if run is None:
                missing[name] = Run(last, entry.total_run_count)
            elif run.last_run_at > last or not entry.total_run_count:
                entry.last_run_at, entry.total_run_count = run.last_run_at, run.total_run_count
        self._forgive = not recover
        self._recover_until = self.app.now() if recover else None
        self._heap = None
        return missing

    def _catches_up(self, entry: Any) -> bool:
        """Return whether each of the times that an entry missed is sent."""
        if not isinstance(entry, ScheduleEntry):
            return False
        if entry.policies.catch_up == "all":
            return True
        return (
            self._recover_until is not None
            and maybe_make_aware(entry.last_run_at) < self._recover_until
            and entry.due_time() < self._recover_until
        )

    def reserve(self, entry: Any) -> Any:
        """Write down that an entry is sent now; return it as it is afterwards."""
        schedule = self.schedule
        new_entry = entry.next(entry.due_time()) if self._catches_up(entry) else next(entry)
        if isinstance(schedule, Entries):
            schedule.advance(entry.name, new_entry)
        else:
            schedule[entry.name] = new_entry
        return new_entry

    def _put_back(self, entry: Any) -> None:
        schedule = self.schedule
        if isinstance(schedule, Entries):
            schedule.advance(entry.name, entry)
        else:
            schedule[entry.name] = entry

    def _passed_over(self, entry: Any) -> Any:
        """Return the entry as if it were sent, though it is not."""
        skipped = self.reserve(entry)
        skipped.total_run_count = entry.total_run_count
        if self.ledger is not None:
            self._write_down(entry, skipped, None)
        return skipped

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send an entry. An error is logged, but for that of a broker that is away."""
        log = logger.info if self._away_since is None else logger.debug
        log("Scheduler: Sending due task %s (%s)", entry.name, entry.task)
        try:
            result = self.apply_async(entry, producer=producer, advance=False)
        except BrokerUnreachable:
            raise
        except Exception as exc:
            logger.error("Message Error: %s", exc, exc_info=True)
            return
        if result and hasattr(result, "id"):
            self._holds.sent(entry, result.id)
            logger.debug("%s sent. id->%s", entry.task, result.id)
        else:
            logger.debug("%s sent.", entry.task)

    def apply_async(
        self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any
    ) -> Any:
        """Send the task of an entry, and return its result handle.

        - advance: write down that it was sent.
        - kwargs: options of ``apply_async`` that go before those of the entry.

        Raises SchedulingError; BrokerUnreachable, which is one, if it may work later.
        """
        if advance:
            entry = self.reserve(entry)
        task = self.app.tasks.get(entry.task)
        try:
            args = evaluate_args(entry.args)
            task_kwargs = evaluate_kwargs(entry.kwargs)
        except Exception as exc:
            raise SchedulingError(
                f"Couldn't compute the arguments of scheduled task {entry.name}: {exc}"
            ) from exc
        try:
            options = {**(entry.options or {}), **kwargs}
            options["headers"] = {**(options.get("headers") or {}), "celery_beat_task": True}
            if entry.task in WORKFLOWS:
                # Of their tasks only a caller knows what to publish.
                signature = self.app.signature(
                    {
                        "task": entry.task,
                        "args": args,
                        "kwargs": task_kwargs,
                        "options": {},
                        "subtask_type": WORKFLOWS[entry.task],
                        "immutable": False,
                    }
                )
                return signature.apply_async(producer=producer, **options)
            if self.ledger is not None:
                # A run that two beats send, because one died meanwhile, has one id.
                options.setdefault("task_id", self.ledger.task_id(entry))
            if task is not None:
                return task.apply_async(args, task_kwargs, producer=producer, **options)
            return self.send_task(entry.task, args, task_kwargs, producer=producer, **options)
        except Exception as exc:
            kind = BrokerUnreachable if self._means_broker_away(exc) else SchedulingError
            raise kind(f"Couldn't apply scheduled task {entry.name}: {exc}") from exc
        finally:
            self._tasks_since_sync += 1
            if self.should_sync():
                self._do_sync()

    def send_task(self, *args: Any, **kwargs: Any) -> Any:
        """Send a task that is not registered here."""
        return self.app.send_task(*args, **kwargs)

    # -- the broker ---------------------------------------------------------------------

    @cached_property
    def connection(self) -> Any:
        """The connection that tasks are sent on."""
        connection = self.app.connection_for_write()
        if connection.transport.driver_type == "amqp":
            # A run is written down when the broker has it, not when it is on its way.
            options = {"confirm_publish": True, **(connection.transport_options or {})}
            connection.transport_options = options
        return connection

    @cached_property
    def producer(self) -> Any:
        """The producer that tasks are sent with.

        Raises BrokerUnreachable.
        """
        return self.Producer(self._ensure_connected(), auto_declare=False)

    def _ensure_connected(self) -> Any:
        try:
            self.connection.ensure_connection(
                max_retries=1, timeout=self.app.conf.broker_connection_timeout
            )
        except Exception as exc:
            raise BrokerUnreachable(str(exc) or repr(exc)) from exc
        return self.connection

    def _means_broker_away(self, exc: BaseException) -> bool:
        connection = self.connection
        cause = exc.__cause__ if isinstance(exc, OperationalError) and exc.__cause__ else exc
        if isinstance(cause, connection.channel_errors):
            # The broker is there, and refuses: a queue declared otherwise, for example.
            return isinstance(cause, connection.connection_errors)
        return isinstance(exc, (OperationalError, OSError, *connection.connection_errors))

    def _broker_is_away(self, exc: BrokerUnreachable) -> float:
        """Tell it once; return the seconds until the next attempt."""
        if self._away_since is None:
            self._away_since = time.monotonic()
            self._retry_delay = FIRST_RETRY
            logger.error(
                "beat: cannot reach the broker %s: %s. Due tasks are sent when it is back.",
                self.connection.as_uri(),
                exc,
            )
        self._disconnect()
        delay, self._retry_delay = self._retry_delay, min(self._retry_delay * 2, LONGEST_RETRY)
        return delay

    def _broker_is_there(self) -> None:
        if self._away_since is not None:
            away = time.monotonic() - self._away_since
            self._away_since = None
            logger.info("beat: the broker is back after %s.", humanize_seconds(round(away, 1)))

    def _disconnect(self) -> None:
        self.__dict__.pop("producer", None)
        connection = self.__dict__.pop("connection", None)
        if connection is not None:
            try:
                connection.release()
            except (OSError, *connection.connection_errors) as exc:
                logger.debug("beat: closing the connection failed: %r", exc)

    # -- the clock ----------------------------------------------------------------------

    def _follow_clock(self) -> None:
        step = self._clock.step()
        if not step:
            return
        logger.warning(
            "beat: the clock was set %s by %s. Intervals go on, crontabs follow the clock.",
            "forward" if step > 0 else "back",
            humanize_seconds(abs(round(step, 1))),
        )
        for entry in self.schedule.values():
            shift(entry, step)
        self._heap = None

    # -- storing ------------------------------------------------------------------------

    def should_sync(self) -> bool:
        """Return whether it is time to store the schedule."""
        if self._last_sync is None or time.monotonic() - self._last_sync > self.sync_every:
            return True
        return bool(self.sync_every_tasks and self._tasks_since_sync >= self.sync_every_tasks)

    def _do_sync(self) -> None:
        try:
            logger.debug("beat: Synchronizing schedule...")
            self.sync()
        except Exception as exc:
            # What is due is sent all the same; the next time may do.
            logger.error("beat: cannot store the schedule: %r", exc, exc_info=True)
        finally:
            self._last_sync = time.monotonic()
            self._tasks_since_sync = 0

    def sync(self) -> None:
        """Store the schedule. Nothing here; for subclasses."""

    def close(self) -> None:
        """Store the schedule, and let go of the broker."""
        self.sync()
        self._disconnect()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.schedule.values())
