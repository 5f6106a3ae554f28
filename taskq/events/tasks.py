"""What is known of one task from its events.

`Task` is made and updated by `taskq.events.state.State`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from weakref import WeakSet

from taskq import states
from taskq.utils.functional import dictfilter

__all__ = ("TASK_EVENT_TO_STATE", "Task")

#: Type of an event without its group -> state that the task is in then.
TASK_EVENT_TO_STATE = {
    "sent": states.PENDING,
    "received": states.RECEIVED,
    "started": states.STARTED,
    "failed": states.FAILURE,
    "retried": states.RETRY,
    "succeeded": states.SUCCESS,
    "revoked": states.REVOKED,
    "rejected": states.REJECTED,
}

R_TASK = "<Task: {0.name}({0.uuid}) {0.state} clock:{0.clock}>"

#: What no event may replace: it is ours, not the sender's.
_OWN = frozenset(
    {"children", "cluster_state", "worker", "parent", "root", "event", "info", "as_dict"}
)


class Task:
    """A task as its events tell of it; their fields are attributes.

    - uuid: its id; cluster_state: the State it belongs to.
    - children: ids of tasks that it sent.
    - kwargs: values of fields.
    """

    name: str | None = None
    #: Times of events, in unix time.
    received: float | None = None
    sent: float | None = None
    started: float | None = None
    succeeded: float | None = None
    failed: float | None = None
    retried: float | None = None
    revoked: float | None = None
    rejected: float | None = None
    args: str | None = None
    kwargs: str | None = None
    eta: str | None = None
    expires: str | None = None
    retries: int | None = None
    #: The worker that has it.
    worker: Any = None
    result: str | None = None
    exception: str | None = None
    #: When the last event was sent.
    timestamp: float | None = None
    #: Seconds it ran.
    runtime: float | None = None
    traceback: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    root_id: str | None = None
    parent_id: str | None = None
    #: Name of the program that sent it.
    client: str | None = None
    state: str = states.PENDING
    #: Logical time of the last event.
    clock: int = 0

    _fields = (
        "uuid",
        "name",
        "state",
        "received",
        "sent",
        "started",
        "rejected",
        "succeeded",
        "failed",
        "retried",
        "revoked",
        "args",
        "kwargs",
        "eta",
        "expires",
        "retries",
        "worker",
        "result",
        "exception",
        "timestamp",
        "runtime",
        "traceback",
        "exchange",
        "routing_key",
        "clock",
        "client",
        "root",
        "root_id",
        "parent",
        "parent_id",
        "children",
    )
    _info_fields = (
        "args",
        "kwargs",
        "retries",
        "result",
        "eta",
        "runtime",
        "expires",
        "exception",
        "exchange",
        "routing_key",
        "root_id",
        "parent_id",
    )
    __slots__ = ("__dict__", "__weakref__")

    #: State -> fields that an event is trusted with when a later one has come before it.
    merge_rules: Mapping[str, tuple[str, ...]] = {
        states.RECEIVED: (
            "name",
            "args",
            "kwargs",
            "parent_id",
            "root_id",
            "retries",
            "eta",
            "expires",
        ),
    }

    def __init__(
        self,
        uuid: str | None = None,
        cluster_state: Any = None,
        children: Iterable[str] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.pop("parent", None)
        kwargs.pop("root", None)
        self.__dict__.update(kwargs)
        self.uuid = uuid
        self.cluster_state = cluster_state
        self.children: WeakSet[Task] = WeakSet()
        if cluster_state is not None:
            tasks = cluster_state.tasks
            self.children.update(tasks[child] for child in children or () if child in tasks)

    def event(
        self,
        type_: str,
        timestamp: float | None = None,
        local_received: float | None = None,
        fields: Mapping[str, Any] | None = None,
        precedence: Callable[[str], int] = states.precedence,
        setattr: Any = setattr,
        task_event_to_state: Callable[[str], str | None] = TASK_EVENT_TO_STATE.get,
        RETRY: str = states.RETRY,  # noqa: N803 - the public name
    ) -> None:
        """Take over what an event tells.

        - type_: the event's type without its group; fields: its fields.
        - timestamp: when it was sent, in unix time; local_received: when it came.

        Events may come in any order: one that belongs before what is known already does not
        change the state, and fills in only what it knows best.
        """
        given = dict(fields or {})
        if not _OWN.isdisjoint(given):
            given = {name: value for name, value in given.items() if name not in _OWN}
        state = task_event_to_state(type_)
        if state is not None:
            setattr(self, type_, timestamp)
        else:
            state = type_.upper()
        late = RETRY not in (state, self.state) and precedence(state) > precedence(self.state)
        if late:
            trusted = self.merge_rules.get(state)
            if trusted is not None:
                given = {name: given[name] for name in trusted if name in given}
        else:
            given["state"] = state
            given["timestamp"] = timestamp
        self.__dict__.update(given)

    def info(self, fields: Iterable[str] | None = None, extra: Iterable[str] = ()) -> Any:
        """Return what is known, for showing: those of ``fields`` and ``extra`` with a value."""
        names = (*(self._info_fields if fields is None else fields), *extra)
        return dictfilter({name: getattr(self, name, None) for name in names})

    def as_dict(self) -> dict[str, Any]:
        """Return all fields; other tasks by their id."""
        values = {name: getattr(self, name) for name in self._fields}
        values["children"] = [child.uuid for child in self.children]
        values["root"] = self.root_id
        values["parent"] = self.parent_id
        return values

    def _related(self, uuid: str | None) -> Any:
        # Looked up each time: a reference would keep a chain of tasks in memory for ever.
        if not uuid or self.cluster_state is None:
            return None
        return self.cluster_state.tasks.data.get(uuid)

    @property
    def parent(self) -> Any:
        """The task that sent this one, None when it isn't known."""
        return self._related(self.parent_id)

    @property
    def root(self) -> Any:
        """The first task of the workflow, None when it isn't known."""
        return self._related(self.root_id)

    @property
    def id(self) -> str | None:
        """The task's id."""
        return self.uuid

    @property
    def origin(self) -> str | None:
        """Who told of the task: its worker's id, else the name of its sender."""
        return self.client if self.worker is None else self.worker.id

    @property
    def ready(self) -> bool:
        """Whether it is finished."""
        return self.state in states.READY_STATES

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Task):
            return self.uuid == other.uuid
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.uuid)

    def __repr__(self) -> str:
        return R_TASK.format(self)

    def __reduce__(self) -> Any:
        return _depickle_task, (type(self), self.as_dict())


def _depickle_task(cls: type[Task], fields: dict[str, Any]) -> Task:
    """Make a task from what `Task.as_dict` gave."""
    return cls(**fields)
