"""Groups: tasks that run side by side; the result is the list of theirs, in the group's order.

Sent task by task, in one batch where the broker can take one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from taskq._state import get_current_worker_task
from taskq.canvas.kinds import TYPES, AnySignature, is_chain, is_group, register_type
from taskq.canvas.signature import Signature, maybe_signature, plain_calls
from taskq.utils.functional import is_list, maybe_list, regen
from taskq.utils.objects import getitem_property
from taskq.utils.uuids import uuid

__all__ = ("group", "sending_batch")


#: Options that say where the group is in a workflow; its tasks get theirs when frozen.
PLACE_OPTIONS = frozenset(("task_id", "group_id", "group_index", "chord", "root_id", "parent_id"))
#: Those that say nothing to what follows the group.
_SIMPLE_OPTIONS = frozenset(("task_id", "root_id", "parent_id"))

#: Arguments and options that a group gives to its tasks.
Spread = tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]
NOTHING: Spread = ((), {}, {})


@register_type("group")
class group(Signature):  # noqa: N801 - the public name
    """Tasks that run side by side.

    Parameters:
        tasks: signatures, or one iterable of them, which may be a generator.
        options: of all tasks.
    """

    tasks = getitem_property("kwargs.tasks", "The signatures.")

    @classmethod
    def from_dict(cls, d: Any, app: Any = None) -> Any:
        """Return the group that a dict describes."""
        new = group([maybe_signature(task, app=app, clone=True) for task in d["kwargs"]["tasks"]])
        return new._as_described(d, app, "tasks")

    def __init__(self, *tasks: Any, **options: Any) -> None:
        if len(tasks) == 1:
            tasks = _tasks_of(tasks[0])
        super().__init__("celery.group", (), {"tasks": tasks}, **options)
        self["subtask_type"] = "group"

    def __call__(self, *partial_args: Any, **options: Any) -> Any:
        """Send the tasks, with further arguments for each."""
        return self.apply_async(partial_args, **options)

    def __len__(self) -> int:
        return len(self.tasks)

    def clone(self, args: Any = None, kwargs: Any = None, **opts: Any) -> Any:
        """Return a copy with copies of the tasks; parameters as of `Signature.clone`."""
        copy = self._cloned(type(self), args, kwargs, **opts)
        tasks = [maybe_signature(task, clone=True) for task in self.tasks]
        copy.tasks = tuple(tasks) if isinstance(self.tasks, tuple) else tasks
        return copy

    def members(self) -> Iterator[Any]:
        """Return the tasks."""
        return iter(self.tasks)

    def new_id(self) -> str:
        """Return an id for the group."""
        return uuid()

    # -- sending ------------------------------------------------------------------------

    def apply_async(  # type: ignore[override]
        self,
        args: Any = None,
        kwargs: Any = None,
        add_to_parent: bool = True,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        **options: Any,
    ) -> Any:
        """Send the tasks.

        Parameters:
            args: positional arguments for each task.
            kwargs: keyword arguments for each task.
            add_to_parent: make the result a child of the running task.
            producer: to publish with.
            link: not for groups: use a chord.
            link_error: not for groups: link it to the tasks.
            options: of each task; they win over its own and those of the group. ``chain``: what
                follows when all are done, as in a message.

        Returns a `GroupResult`. Raises TypeError for links.
        """
        if link is not None:
            raise TypeError("Cannot add link to group: use a chord")
        if link_error is not None:
            raise TypeError("Cannot add link to group: do that on individual tasks")
        app = self.app
        options = {**self["options"], **options}
        # The body of a chord in a group has this among its options.
        add_to_parent = options.pop("add_to_parent", True) and add_to_parent
        following = options.pop("chain", None)
        if following:
            return self._apply_followed(list(following), args, kwargs, producer, options)
        if app.conf.task_always_eager:
            return self.apply(args, kwargs, **options)
        args, kwargs = self._partial_arguments(args, kwargs, "tasks")
        group_id = options.get("task_id") or uuid()
        if options.keys() <= _SIMPLE_OPTIONS and all(map(_is_simple_call, self.tasks)):
            results = self._send_simple_calls(args, kwargs, group_id, producer, options)
        else:
            tasks = self._flat_tasks()
            results = _freeze_tasks(
                tasks,
                group_id,
                options.get("chord"),
                options.get("root_id"),
                options.get("parent_id"),
            )
            self._send(tasks, args, kwargs, producer, options)
        result = app.GroupResult(group_id, results)
        if add_to_parent:
            self.add_to_parent(result)
        return result

    def calls_to_send(self, options: Mapping[str, Any]) -> Sequence[Any] | None:
        """Return the tasks when all are plain calls; see `Signature.calls_to_send`."""
        followed = "chain" in options or "chain" in self["options"]
        return None if followed else plain_calls(self.tasks)

    def send_frozen(
        self, args: Any = None, kwargs: Any = None, producer: Any = None, **options: Any
    ) -> None:
        """Send the tasks as they are, which must be frozen; parameters as of `apply_async`."""
        self._send(self.tasks, args, kwargs, producer, {**self["options"], **options})

    def _send(
        self, tasks: Iterable[Any], args: Any, kwargs: Any, producer: Any, options: dict[str, Any]
    ) -> None:
        shared = {
            key: value
            for key, value in options.items()
            if value is not None and key not in PLACE_OPTIONS
        }
        with sending_batch(self.app, producer) as pooled:
            for task in tasks:
                task.apply_async(args, kwargs, producer=pooled, add_to_parent=False, **shared)

    def _send_simple_calls(
        self, args: Any, kwargs: Any, group_id: str, producer: Any, options: Mapping[str, Any]
    ) -> list[Any]:
        """Send tasks without options: no copies of them are needed that have their ids.

        Returns the result handles.
        """
        place = {"group_id": group_id, "add_to_parent": False}
        place.update((key, options[key]) for key in ("root_id", "parent_id") if options.get(key))
        results = []
        with sending_batch(self.app, producer) as pooled:
            for index, call in enumerate(self.tasks):
                task_id = uuid()
                results.append(call.AsyncResult(task_id))
                if (args or kwargs) and not call["immutable"]:
                    call_args, call_kwargs, _ = call._merge(args, kwargs)
                else:
                    call_args, call_kwargs = call["args"], call["kwargs"]
                call._type.apply_async(
                    call_args,
                    call_kwargs,
                    task_id=task_id,
                    producer=pooled,
                    group_index=index,
                    reply_to=call.app.thread_oid,
                    **place,
                )
        return results

    def add_to_parent(self, result: Any) -> None:
        """Make the result of the group a child of the running task, if there is one."""
        parent = get_current_worker_task()
        if parent is not None:
            parent.add_trail(result)

    def _apply_followed(
        self, following: list[Any], args: Any, kwargs: Any, producer: Any, options: dict[str, Any]
    ) -> Any:
        """Send the group as the header of a chord with what follows it."""
        header = self.clone()
        header.set(task_id=options.pop("task_id", None) or uuid())
        for task in header.tasks:
            for key in ("group_id", "group_index", "chord"):
                # Said where the tasks were the last ones; now what follows is.
                task.options.pop(key, None)
        chord = TYPES["chord"].of_group(self, maybe_signature(following.pop(), app=self._app))
        chord.tasks = header
        if following:
            options["chain"] = following
        return chord.apply_async(args, kwargs, producer=producer, **options)

    def _flat_tasks(self, *, own: bool = False) -> list[Any]:
        """Return copies of the tasks, those of groups in the group among them, in order.

        - own: return the tasks themselves where they can be had: nobody else has them.

        What is in a group in the group has the arguments and options of that.
        """
        flat = []
        todo: list[tuple[Iterator[Any], Spread]] = [(iter(self.tasks), NOTHING)]
        while todo:
            members, spread = todo[-1]
            task: Any = next(members, None)
            if task is None:
                todo.pop()
                continue
            if not isinstance(task, AnySignature):
                task = maybe_signature(task, app=self._app)
            args, kwargs, options = spread
            if is_group(task):
                inner = task._cloned(type(task), args, kwargs, **options)
                todo.append((iter(inner.tasks), inner._spread()))
            elif not is_chain(task) or task.has_steps:
                if not own or args or kwargs or options:
                    task = task.clone(args, kwargs, **options)
                if self._app is not None:
                    task._app = self._app
                flat.append(task)
        return flat

    @property
    def size(self) -> int:
        """How many tasks the group has, those of groups in it among them."""
        return sum(
            task.size if is_group(task) else not is_chain(task) or task.has_steps
            for task in map(maybe_signature, self.tasks)
        )

    def _spread(self) -> Spread:
        """Return the arguments and options that the group gives to its tasks."""
        args, kwargs = self._partial_arguments(None, None, "tasks")
        options = {k: value for k, value in self["options"].items() if k not in PLACE_OPTIONS}
        return args, kwargs, options

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
        *,
        own: bool = False,
    ) -> Any:
        """Give the group and its tasks their ids; see `Signature.freeze`.

        The tasks become copies, groups in the group are merged into it.

        Parameters:
            _id: id of the group.
            group_id: id of the group that the tasks count for, if it is another one.
            chord: body of the chord that the tasks are in the header of.
            root_id: id of the first task of the workflow.
            parent_id: id of the task that sends the group.
            group_index: position of this group where it is the end of a chain.
            own: nobody else has these tasks: they need not become copies.

        Returns a `GroupResult`.
        """
        options = self["options"]
        if not options.get("task_id"):
            options["task_id"] = _id or uuid()
        if group_id:
            options["group_id"] = group_id
        if chord is not None:
            options["chord"] = chord
        if group_index is not None:
            options["group_index"] = group_index
        root_id = options["root_id"] = root_id or options.get("root_id")
        parent_id = options["parent_id"] = parent_id or options.get("parent_id")
        tasks = self._flat_tasks(own=own)
        results = _freeze_tasks(tasks, group_id, chord, root_id, parent_id)
        self.tasks = tasks
        return self.app.GroupResult(options["task_id"], results)

    _freeze = freeze

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run the tasks here and now.

        Parameters:
            args: positional arguments for each task.
            kwargs: keyword arguments for each task.
            options: of each task.

        Returns a `GroupResult` of eager results.
        """
        app = self.app
        options = {**self["options"], **options}
        args, kwargs = self._partial_arguments(args, kwargs, "tasks")
        group_id = options.pop("task_id", None) or uuid()
        options = {key: value for key, value in options.items() if key not in PLACE_OPTIONS}
        tasks = self._flat_tasks()
        _freeze_tasks(tasks, group_id, None, None, None)
        results = [task.apply(args, kwargs, **options) for task in tasks]
        return app.GroupResult(group_id, results)

    # -- options and stamps -------------------------------------------------------------

    def set_immutable(self, immutable: bool) -> None:
        """Set whether the tasks leave out arguments added later."""
        for task in self._own_tasks():
            task.set_immutable(immutable)

    def link(self, sig: Any) -> Any:
        """Have a copy of `sig`, made immutable, called when the first task succeeds.

        Returns the copy. To call one when all succeed, use a chord.
        """
        linked = maybe_signature(sig).clone().set(immutable=True)
        return self._own_tasks()[0].link(linked)

    def link_error(self, sig: Any) -> Any:
        """Have a signature called for each task that fails."""
        errback = maybe_signature(sig)
        return tuple(task.link_error(errback.clone()) for task in self._own_tasks())

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> Any:
        """Give the tasks countdowns of `start`, `start` + `step`, … seconds, `stop` at most."""
        # Imported here as most programs never skew: kombu is slow to import.
        from kombu.utils.functional import fxrange

        countdowns = fxrange(start, stop, step, repeatlast=True)
        for task in self._own_tasks():
            task.set(countdown=next(countdowns))
        return self

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Stamp all tasks and what is linked to them; see `Signature.stamp`."""
        visited = visitor.on_group_start(self, **headers) if visitor is not None else None
        headers = self._stamp_headers(visited, append_stamps, False, **headers)
        self.stamp_links(visitor, append_stamps, **headers)
        for task in self._own_tasks():
            task.stamp(visitor, append_stamps, **headers)
        if visitor is not None:
            visitor.on_group_end(self, **headers)
        return self

    def _own_tasks(self) -> Any:
        """Return the tasks, as signatures that may be changed."""
        tasks = self.tasks
        if not all(isinstance(task, Signature) for task in tasks):
            tasks = self.tasks = [maybe_signature(task) for task in tasks]
        return tasks

    def _find_app(self) -> Any:
        for task in self.tasks:
            if isinstance(task, Signature):
                found = task._app or task._find_app()
                if found is not None:
                    return found
        return None

    def __repr__(self) -> str:
        tasks = self.tasks
        if not tasks:
            return f"{type(self).__name__}(<empty>)"
        return f"{type(self).__name__}({tasks!r})"


def _tasks_of(tasks: Any) -> Any:
    """Return the tasks that the only argument of a group stands for."""
    if is_group(tasks):
        return tasks.tasks
    if isinstance(tasks, Signature):
        return [tasks.clone()]
    if isinstance(tasks, dict) and "task" in tasks:
        return [Signature.from_dict(tasks)]
    return regen(tasks) if is_list(tasks) else maybe_list(tasks)


def _is_simple_call(task: Any) -> bool:
    """Return whether a task of a group is one call, without options, of a task that is known."""
    return task.__class__ is Signature and task._type is not None and not task["options"]


def _freeze_tasks(
    tasks: Iterable[Any], group_id: str | None, chord: Any, root_id: Any, parent_id: Any
) -> list[Any]:
    """Give the tasks of a group, which nobody else has, their ids and positions.

    Returns their result handles.
    """
    return [
        task.freeze(
            group_id=group_id,
            chord=chord,
            root_id=root_id,
            parent_id=parent_id,
            group_index=index,
            own=True,
        )
        for index, task in enumerate(tasks)
    ]


@contextmanager
def sending_batch(app: Any, producer: Any = None) -> Iterator[Any]:
    """Context in which tasks sent with the producer it gives are published together at its end.

    Brokers, and apps, that can't publish a batch publish them one by one, at once.

    Parameters:
        app: app that sends.
        producer: to publish with, from the app's pool by default.
    """
    with app.producer_or_acquire(producer) as pooled:
        batch = getattr(app.amqp, "batch", None)
        if batch is None:
            yield pooled
        else:
            with batch(pooled):
                yield pooled
