"""One periodic task: what to send, on which schedule, and when it was sent last.

Made by schedulers from ``beat_schedule``; kept in the schedule file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from kombu.utils.functional import reprcall

from taskq._state import get_current_app
from taskq.beat.policies import Policies
from taskq.canvas import maybe_signature
from taskq.schedules import maybe_schedule, schedule

__all__ = ("BeatLazyFunc", "ScheduleEntry", "evaluate_args", "evaluate_kwargs")

#: What makes two entries the same task on the same schedule.
EDITABLE_FIELDS = ("task", "args", "kwargs", "options", "schedule")


class BeatLazyFunc:
    """An argument of a periodic task that is computed whenever the task is sent.

    Parameters:
        func: called with the other arguments; has to be importable by name for the schedule file.
    """

    def __init__(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._func = func
        self._func_params = {"args": args, "kwargs": kwargs}

    def __call__(self) -> Any:
        """Return the value for the message that is about to be sent."""
        return self.delay()

    def delay(self) -> Any:
        """Return the value."""
        params: Mapping[str, Any] = self._func_params
        return self._func(*params["args"], **params["kwargs"])


def _evaluated(value: Any) -> Any:
    return value() if isinstance(value, BeatLazyFunc) else value


def evaluate_args(args: Iterable[Any] | None) -> list[Any]:
    """Return positional arguments with those computed that are to be."""
    return [_evaluated(value) for value in args or ()]


def evaluate_kwargs(kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return keyword arguments with those computed that are to be."""
    return {key: _evaluated(value) for key, value in (kwargs or {}).items()}


def _unpacked(sig: Mapping[str, Any], args: Any, kwargs: Any, options: Any) -> tuple[Any, ...]:
    """Return name, arguments and options of a signature with more of them."""
    whole: Any = maybe_signature(dict(sig)).clone(args or (), kwargs or {})
    return whole.task, whole.args, whole.kwargs, {**whole.options, **(options or {})}


class ScheduleEntry:
    """A periodic task.

    Parameters:
        name: unique among the entries.
        task: name of the task, or the task, or a signature: then its arguments and options count,
            those given here after and over them.
        last_run_at: when it was sent last, now if it never was.
        total_run_count: how often it was sent.
        schedule: a schedule, a timedelta, or seconds.
        args, kwargs: arguments of the task; those that are `BeatLazyFunc` are computed.
        options: options of ``apply_async``.
        relative: see `taskq.schedules.schedule`.
        app: the app.
        overlap, catch_up, jitter: see `taskq.beat.policies`.
    """

    #: Name of the entry.
    name: str | None = None
    #: The schedule.
    schedule: Any = None
    #: Positional arguments of the task.
    args: Any = None
    #: Keyword arguments of the task.
    kwargs: Any = None
    #: Options of ``apply_async``.
    options: Any = None
    #: When the task was sent last.
    last_run_at: Any = None
    #: How often the task was sent.
    total_run_count: int = 0
    #: How runs that are late or take long are dealt with. Not stored: the settings tell.
    policies: Policies = Policies()

    def __init__(
        self,
        name: str | None = None,
        task: Any = None,
        last_run_at: datetime | None = None,
        total_run_count: int | None = None,
        schedule: Any = None,
        args: Any = (),
        kwargs: Any = None,
        options: Any = None,
        relative: bool = False,
        app: Any = None,
        *,
        overlap: str | None = None,
        catch_up: str | None = None,
        jitter: float | None = None,
    ) -> None:
        if isinstance(task, Mapping):
            task, args, kwargs, options = _unpacked(task, args, kwargs, options)
        self.app = app
        self.name = name
        self.task: str | None = getattr(task, "name", task)
        self.args = args
        self.kwargs = kwargs if kwargs else {}
        self.options = options if options else {}
        self.schedule = maybe_schedule(schedule, relative, app=app or get_current_app())
        self.last_run_at = last_run_at or self.default_now()
        self.total_run_count = total_run_count or 0
        policies = Policies.of(name, overlap=overlap, catch_up=catch_up, jitter=jitter)
        if policies != self.policies:
            self.policies = policies

    def default_now(self) -> datetime:
        """Return the current time, by the schedule's clock if it has one."""
        clock = self.schedule if self.schedule else self.app
        now: datetime = clock.now()
        return now

    _default_now = default_now

    def next(self, last_run_at: datetime | None = None) -> ScheduleEntry:
        """Return the entry as it is once it has been sent.

        Parameters:
            last_run_at: when that was; the time it was due at for an interval, so that lateness
                does not add up, else now.
        """
        return self._next_instance(last_run_at)

    def _next_instance(self, last_run_at: datetime | None = None) -> ScheduleEntry:
        fields = dict(self)
        fields["last_run_at"] = last_run_at or self._time_of_this_run()
        fields["total_run_count"] = self.total_run_count + 1
        entry = type(self)(**fields)
        entry._take_policies(self)
        return entry

    __next__ = next

    def _time_of_this_run(self) -> datetime:
        now = self.default_now()
        if type(self.schedule) is not schedule or self.schedule.relative:
            return now
        every = self.schedule.run_every
        late = now - self.schedule.maybe_make_aware(self.last_run_at)
        if every <= timedelta(0) or late < every:
            return now
        return now - late % every

    def is_due(self) -> Any:
        """Return whether the task is due, and in how many seconds to ask again."""
        return self.schedule.is_due(self.last_run_at)

    def due_time(self) -> datetime:
        """Return the first time after the last run at which the task is due."""
        due: datetime = self.schedule.due_after(self.last_run_at)
        return due

    def forgive_downtime(self) -> None:
        """Pass over due times while no beat ran, if the entry's ``catch_up`` says so."""
        if self.policies.catch_up == "none" and self.due_time() <= self.default_now():
            self.last_run_at = self._time_of_this_run()

    def update(self, other: Any) -> None:
        """Take over from another entry what is to be done, but not when it was done last."""
        self.__dict__.update({field: getattr(other, field) for field in EDITABLE_FIELDS})
        self._take_policies(other)

    def _take_policies(self, other: Any) -> None:
        policies = getattr(other, "policies", None)
        if policies is None or policies == type(self).policies:
            self.__dict__.pop("policies", None)
        else:
            self.policies = policies

    def editable_fields_equal(self, other: Any) -> bool:
        """Return whether another entry does the same at the same times."""
        return all(getattr(self, field) == getattr(other, field) for field in EDITABLE_FIELDS)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter([item for item in vars(self).items() if item[0] != "policies"])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ScheduleEntry):
            return NotImplemented
        return self.editable_fields_equal(other)

    # Entries can be changed.
    __hash__ = None  # type: ignore[assignment]

    def __lt__(self, other: object) -> bool:
        # Breaks ties in the heap: any order will do, as long as there is one.
        if isinstance(other, ScheduleEntry):
            return id(self) < id(other)
        return NotImplemented

    def __gt__(self, other: object) -> bool:
        if isinstance(other, ScheduleEntry):
            return id(self) > id(other)
        return NotImplemented

    def __repr__(self) -> str:
        call = reprcall(self.task, self.args or (), self.kwargs or {})
        return f"<ScheduleEntry: {self.name} {call} {self.schedule}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (
            self.name,
            self.task,
            self.last_run_at,
            self.total_run_count,
            self.schedule,
            self.args,
            self.kwargs,
            self.options,
        )
