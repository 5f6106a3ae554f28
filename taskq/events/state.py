"""The state of a cluster, put together from its events.

Feed `State.event` with every event that a receiver gets, then look at ``workers`` and ``tasks``.
Monitors, cameras and the workers' gossip do that.
"""

from __future__ import annotations

import threading
from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from weakref import WeakSet, ref

from kombu.clocks import timetuple

from taskq.events.index import CallableDefaultdict, load_index, prune_index, save_index
from taskq.events.tasks import R_TASK, TASK_EVENT_TO_STATE, Task
from taskq.events.workers import (
    DRIFT_WARNING,
    HEARTBEAT_DRIFT_MAX,
    HEARTBEAT_EXPIRE_WINDOW,
    R_WORKER,
    Worker,
    heartbeat_expires,
)
from taskq.utils.functional import LRUCache

__all__ = (
    "DRIFT_WARNING",
    "HEARTBEAT_DRIFT_MAX",
    "HEARTBEAT_EXPIRE_WINDOW",
    "R_TASK",
    "R_WORKER",
    "TASK_EVENT_TO_STATE",
    "CallableDefaultdict",
    "State",
    "Task",
    "Worker",
    "heartbeat_expires",
)

R_STATE = "<State: events={0.event_count} tasks={0.task_count}>"


class State:
    """Workers and tasks as events tell of them; bounded in memory and thread-safe.

    - callback: called with the state and each event, before the event is taken over.
    - workers, tasks: what is known already; taskheap: events in order of time.
    - max_workers_in_memory, max_tasks_in_memory: the least recently seen go first.
    - on_node_join, on_node_leave: called with a worker that came, or that said good-bye.
    - tasks_by_type, tasks_by_worker: name -> ids of tasks.
    """

    Worker = Worker
    Task = Task

    #: Events seen, and tasks among them, since the last `clear`.
    event_count = 0
    task_count = 0
    #: How many events are kept in order for each task that may be in memory.
    heap_multiplier = 4

    def __init__(
        self,
        callback: Callable[[State, Any], Any] | None = None,
        workers: Mapping[str, Any] | None = None,
        tasks: Mapping[str, Any] | None = None,
        taskheap: list[Any] | None = None,
        max_workers_in_memory: int = 5000,
        max_tasks_in_memory: int = 10000,
        on_node_join: Callable[[Any], Any] | None = None,
        on_node_leave: Callable[[Any], Any] | None = None,
        tasks_by_type: Mapping[str, Iterable[Any]] | None = None,
        tasks_by_worker: Mapping[str, Iterable[Any]] | None = None,
    ) -> None:
        self.event_callback = callback
        self.max_workers_in_memory = max_workers_in_memory
        self.max_tasks_in_memory = max_tasks_in_memory
        self.on_node_join = on_node_join
        self.on_node_leave = on_node_leave
        #: Node name -> `Worker`.
        self.workers = _cache(max_workers_in_memory, workers)
        #: Id -> `Task`.
        self.tasks = _cache(max_tasks_in_memory, tasks)
        #: Further groups of events: group -> function called with type and event.
        self.handlers: dict[str, Callable[[str, Any], Any]] = {}
        self._mutex = threading.RLock()
        self._seen_types: set[str] = {task.name for task in self.tasks.values() if task.name}
        self._taskheap: list[Any] = [] if taskheap is None else taskheap
        #: Id of a task not seen yet -> tasks that it sent.
        self._orphans = LRUCache(max_tasks_in_memory)
        self.tasks_by_type = CallableDefaultdict(
            self._tasks_by_type, WeakSet, load_index(tasks_by_type, self.tasks.data)
        )
        self.tasks_by_worker = CallableDefaultdict(
            self._tasks_by_worker, WeakSet, load_index(tasks_by_worker, self.tasks.data)
        )
        for task in self.tasks.values():
            task.cluster_state = self
            self._relate(task)
        if not self._taskheap:
            self.rebuild_taskheap()

    # -- taking over events

    def event(self, event: dict[str, Any]) -> Any:
        """Take over one event.

        Returns ``((worker or task, whether it is new), type without group)``, None for an event
        that says nothing about the cluster. Raises KeyError when a task's event lacks a field
        that all have.
        """
        with self._mutex:
            self.event_count += 1
            if self.event_callback:
                self.event_callback(self, event)
            group, _, subject = event["type"].partition("-")
            if group == "task":
                return self._task_event(subject, event), subject
            if group == "worker":
                found = self._worker_event(subject, event)
                return None if found is None else (found, subject)
            handler = self.handlers.get(group)
            return None if handler is None else (handler(subject, event), subject)

    def task_event(self, type_: str, fields: dict[str, Any]) -> Any:
        """Take over an event about a task. `event` is the newer way."""
        return self.event({**fields, "type": f"task-{type_}"})[0]

    def worker_event(self, type_: str, fields: dict[str, Any]) -> Any:
        """Take over an event about a worker. `event` is the newer way."""
        return self.event({**fields, "type": f"worker-{type_}"})[0]

    def _worker_event(self, subject: str, event: dict[str, Any]) -> Any:
        try:
            hostname, timestamp = event["hostname"], event["timestamp"]
            local_received = event["local_received"]
        except KeyError:
            return None  # nobody can be made of it
        created = False
        if subject == "offline":
            worker = self.workers.pop(hostname, None) or self.Worker(hostname)
        else:
            worker, created = self.get_or_create_worker(hostname)
        worker.event(subject, timestamp, local_received, event)
        if subject == "offline":
            if self.on_node_leave:
                self.on_node_leave(worker)
        elif created and self.on_node_join:
            self.on_node_join(worker)
        return worker, created

    def _task_event(self, subject: str, event: dict[str, Any]) -> tuple[Any, bool]:
        uuid, hostname = event["uuid"], event["hostname"]
        timestamp, local_received = event["timestamp"], event["local_received"]
        clock = event["clock"]
        task, created = self.get_or_create_task(uuid)
        name_before = task.name
        if subject == "sent":
            task.client = hostname
        else:
            self._set_worker(task, hostname, timestamp, local_received)
            if subject == "received":
                self.task_count += 1
        origin = hostname if subject == "sent" else task.worker.id
        task.event(subject, timestamp, local_received, event)
        self._enter(timetuple(clock, timestamp, origin, ref(task)))
        name = task.name
        if name is not None:
            self._seen_types.add(name)
            if name_before is None:
                self.tasks_by_type[name].add(task)
        self._relate(task)
        return task, created

    def _set_worker(
        self, task: Any, hostname: str, timestamp: float, local_received: float
    ) -> None:
        worker, _ = self.get_or_create_worker(hostname)
        worker.event(None, timestamp, local_received, None)
        before = task.worker
        task.worker = worker
        if before is None or before.hostname != hostname:
            if before is not None:
                self.tasks_by_worker[before.hostname].discard(task)
            self.tasks_by_worker[hostname].add(task)

    def _enter(self, entry: Any) -> None:
        """Remember an event's place in time; mostly it is the last."""
        heap = self._taskheap
        if heap and entry < heap[-1]:
            insort(heap, entry)
        else:
            heap.append(entry)
        if len(heap) > max(self.max_tasks_in_memory, 1) * self.heap_multiplier:
            self.rebuild_taskheap()
            prune_index(self.tasks_by_type)
            prune_index(self.tasks_by_worker)

    def _relate(self, task: Any) -> None:
        """Make the task a child of its parent, and those that waited for it its children."""
        parent_id = task.parent_id
        if parent_id:
            parent = self.tasks.data.get(parent_id)
            if parent is None:
                self._add_pending_task_child(task)
            else:
                parent.children.add(task)
        if self._orphans.data and task.uuid in self._orphans.data:
            task.children.update(self._orphans.pop(task.uuid))

    def _add_pending_task_child(self, task: Any) -> None:
        try:
            siblings = self._orphans[task.parent_id]
        except KeyError:
            siblings = self._orphans[task.parent_id] = WeakSet()
        siblings.add(task)

    def get_or_create_worker(self, hostname: str, **kwargs: Any) -> tuple[Any, bool]:
        """Return the worker and whether it is new.

        - kwargs: values of its fields to set.
        """
        with self._mutex:
            try:
                worker = self.workers[hostname]
            except KeyError:
                worker = self.workers[hostname] = self.Worker(hostname, **kwargs)
                return worker, True
            if kwargs:
                worker.update(kwargs)
            return worker, False

    def get_or_create_task(self, uuid: str) -> tuple[Any, bool]:
        """Return the task and whether it is new."""
        with self._mutex:
            try:
                return self.tasks[uuid], False
            except KeyError:
                task = self.tasks[uuid] = self.Task(uuid, cluster_state=self)
                return task, True

    # -- looking at it

    def itertasks(self, limit: int | None = None) -> Iterator[tuple[str, Any]]:
        """Yield ``(id, task)``, least recently seen first, at most ``limit`` of them."""
        for count, item in enumerate(self.tasks.items(), start=1):
            yield item
            if limit and count >= limit:
                return

    def tasks_by_time(
        self, limit: int | None = None, reverse: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """Yield ``(id, task)`` in order of their events' logical time.

        - limit: at most so many; reverse: newest first.
        """
        return _limited(self._in_order(reverse=reverse), limit)

    def tasks_by_timestamp(
        self, limit: int | None = None, reverse: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """Yield ``(id, task)`` as `tasks_by_time` does."""
        return self.tasks_by_time(limit, reverse)

    def _tasks_by_type(
        self, name: str, limit: int | None = None, reverse: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """Yield ``(id, task)`` of a type in order of time; looks at all tasks."""
        ordered = self._in_order(reverse=reverse)
        return _limited((item for item in ordered if item[1].name == name), limit)

    def _tasks_by_worker(
        self, hostname: str, limit: int | None = None, reverse: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """Yield ``(id, task)`` of a worker in order of time; looks at all tasks."""
        ordered = self._in_order(reverse=reverse)
        return _limited(
            (
                item
                for item in ordered
                if item[1].worker is not None and item[1].worker.hostname == hostname
            ),
            limit,
        )

    def _in_order(self, *, reverse: bool) -> Iterator[tuple[str, Any]]:
        seen: set[str] = set()
        entries = self._taskheap[:]
        for entry in reversed(entries) if reverse else entries:
            task = entry[3]()
            if task is not None and task.uuid not in seen:
                seen.add(task.uuid)
                yield task.uuid, task

    def task_types(self) -> list[str]:
        """Return the names of all tasks seen, sorted."""
        return sorted(self._seen_types)

    def alive_workers(self) -> Iterator[Any]:
        """Yield the workers that sent a heartbeat lately."""
        return (worker for worker in self.workers.values() if worker.alive)

    # -- keeping house

    def freeze_while(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return ``fun(*args, **kwargs)``; no event is taken over meanwhile.

        - clear_after: forget what is finished when the function is done.
        """
        clear_after = kwargs.pop("clear_after", False)
        with self._mutex:
            try:
                return fun(*args, **kwargs)
            finally:
                if clear_after:
                    self.clear()

    def clear_tasks(self, ready: bool = True) -> None:
        """Forget tasks.

        - ready: only finished ones, all when false.
        """
        with self._mutex:
            unfinished = [(uuid, task) for uuid, task in self.tasks.items() if not task.ready]
            self.tasks.clear()
            if ready:
                self.tasks.update(unfinished)
            self.rebuild_taskheap()
            prune_index(self.tasks_by_type)
            prune_index(self.tasks_by_worker)

    def clear(self, ready: bool = True) -> None:
        """Forget workers and tasks, and count anew.

        - ready: of the tasks only finished ones, all when false.
        """
        with self._mutex:
            self.workers.clear()
            self.clear_tasks(ready)
            self.event_count = 0
            self.task_count = 0

    def rebuild_taskheap(self, timetuple: Any = timetuple) -> None:
        """Keep one place in time for each task in memory: that of its last event."""
        with self._mutex:
            self._taskheap[:] = sorted(
                timetuple(task.clock, task.timestamp or 0.0, task.origin or "", ref(task))
                for task in self.tasks.values()
            )

    def __repr__(self) -> str:
        return R_STATE.format(self)

    def __reduce__(self) -> Any:
        return (
            type(self),
            (
                self.event_callback,
                dict(self.workers.items()),
                dict(self.tasks.items()),
                None,
                self.max_workers_in_memory,
                self.max_tasks_in_memory,
                self.on_node_join,
                self.on_node_leave,
                save_index(self.tasks_by_type),
                save_index(self.tasks_by_worker),
            ),
            {
                "event_count": self.event_count,
                "task_count": self.task_count,
                "_seen_types": self._seen_types,
            },
        )


def _cache(limit: int, items: Mapping[str, Any] | None) -> LRUCache:
    cache = LRUCache(limit)
    if items:
        cache.update(items.items())
    return cache


def _limited(items: Iterator[tuple[str, Any]], limit: int | None) -> Iterator[tuple[str, Any]]:
    for count, item in enumerate(items, start=1):
        yield item
        if limit and count >= limit:
            return
