"""One call to be made: task, arguments and options, as a dict that any serializer can carry.

`Task.s` and its like make them; chains, groups and chords are signatures of signatures.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from taskq._state import get_current_app
from taskq.canvas.composing import compose
from taskq.canvas.copying import Copied
from taskq.canvas.kinds import TYPES, register_simple, register_type
from taskq.canvas.linking import Linked
from taskq.canvas.making import maybe_signature, maybe_subtask, plain, signature, subtask
from taskq.utils.inthread import call_in_thread
from taskq.utils.objects import getitem_property
from taskq.utils.uuids import uuid

__all__ = (
    "Signature",
    "maybe_signature",
    "maybe_subtask",
    "plain",
    "plain_calls",
    "signature",
    "subtask",
)

#: Options that are signatures, or lists of them, which travel in the message.
EMBEDDED = frozenset(("chain", "chord", "link", "link_error"))

#: Messages that are made on an event loop, at most: each takes some 50 microseconds.
MOST_ON_LOOP = 50

#: The keys of a signature, and what they are in a dict that lacks them.
DEFAULTS: dict[str, Any] = {
    "task": None,
    "args": (),
    "kwargs": {},
    "options": {},
    "subtask_type": None,
    "immutable": False,
}


@register_simple
class Signature(Copied, Linked):
    """The arguments and options of one call of a task.

    It can be called, sent, linked to others, combined with ``|`` and put into messages, where it
    is a plain dict.

    Parameters:
        task: the task or its name; or a dict to make the signature from.
        args: positional arguments.
        kwargs: keyword arguments.
        options: options of `Task.apply_async`; further keyword arguments are options, too.
        type: the task, when `task` is its name.
        subtask_type: kind of a signature of signatures, such as ``"chain"``.
        immutable: leave out arguments added later, such as the result of the previous task.
        app: app to send it with, the current one by default.
    """

    TYPES: ClassVar[dict[str, Any]] = TYPES

    id = getitem_property("options.task_id", "Id of the call, once there is one.")
    parent_id = getitem_property("options.parent_id", "Id of the task that sends it.")
    root_id = getitem_property("options.root_id", "Id of the first task of the workflow.")
    task = getitem_property("task", "Name of the task.")
    args = getitem_property("args", "Positional arguments.")
    kwargs = getitem_property("kwargs", "Keyword arguments.")
    options = getitem_property("options", "Options of the call.")
    subtask_type = getitem_property("subtask_type", "Kind of a signature of signatures.")
    immutable = getitem_property("immutable", "Whether arguments added later are left out.")
    chord_size = getitem_property("chord_size", "Of a body: how many tasks it waits for.")

    @classmethod
    def register_type(cls, name: str | None = None) -> Callable[[Any], Any]:
        """Return a decorator that registers a class for signatures of the kind `name`."""

        def register(subclass: Any) -> Any:
            return register_type(name or subclass.__name__)(subclass)

        return register

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> Any:
        """Return the signature that a dict describes, of the class its kind asks for.

        Raises KeyError if the kind is unknown.
        """
        kind = d.get("subtask_type")
        if kind and cls is Signature:
            return TYPES[kind].from_dict(d, app=app)
        return Signature(d, app=app)

    def __init__(
        self,
        task: Any = None,
        args: Any = None,
        kwargs: Any = None,
        options: Any = None,
        type: Any = None,
        subtask_type: str | None = None,
        immutable: bool = False,
        app: Any = None,
        **ex: Any,
    ) -> None:
        if app is not None:
            self._app = app
        if isinstance(task, dict):
            dict.__init__(self, task)
            if not task.keys() >= DEFAULTS.keys():
                dict.update(self, {**DEFAULTS, **task})
            # The dict stays its owner's: what is set here is not to appear there.
            self["kwargs"] = dict(self["kwargs"])
            self["options"] = dict(self["options"])
            return
        name = getattr(task, "name", task)
        known = type or (task if name is not task else None)
        if known is not None:
            self._type = known
        dict.__init__(
            self,
            task=name,
            args=args if args.__class__ is tuple else tuple(args or ()),
            kwargs=kwargs or {},
            options=dict(options or {}, **ex),
            subtask_type=subtask_type,
            immutable=immutable,
        )

    # -- calling ------------------------------------------------------------------------

    def __call__(self, *partial_args: Any, **partial_kwargs: Any) -> Any:
        """Call the task directly, in this process."""
        args, kwargs, _ = self._merge(partial_args, partial_kwargs, None)
        return self.type(*args, **kwargs)

    def delay(self, *partial_args: Any, **partial_kwargs: Any) -> Any:
        """Send the task, with further arguments. Returns the result handle."""
        return self.apply_async(partial_args, partial_kwargs)

    async def adelay(self, *partial_args: Any, **partial_kwargs: Any) -> Any:
        """Send the task, with further arguments, without blocking the event loop."""
        return await self.aapply_async(partial_args, partial_kwargs)

    async def aapply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Send the task as `apply_async` does, without blocking the event loop."""
        calls = self.calls_to_send(options)
        if calls is None or len(calls) > MOST_ON_LOOP:
            # The messages of many tasks take their time, and stores are asked, too.
            return await call_in_thread(self.apply_async, args, kwargs, **options)
        publisher = await self.app._loop_publisher()
        tasks = [each._type or self.app.tasks.get(each["task"]) for each in calls]
        send = self.apply_async
        if calls[0] is self:
            args, kwargs, options = self._as_call(args, kwargs, options)
            send = self._apply_async
        return await publisher.call(tasks, send, args, kwargs, **options)

    def calls_to_send(self, options: Mapping[str, Any]) -> Sequence[Any] | None:
        """Return the calls that sending it comes to, when it asks no store; else None.

        - options: to send it with.
        """
        return (self,) if type(self).apply_async is Signature.apply_async else None

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run the task here and now, with further arguments. Returns an `EagerResult`."""
        args, kwargs, options = self._merge(args, kwargs, options)
        return self.type.apply(args, kwargs, **options)

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        route_name: str | None = None,
        **options: Any,
    ) -> Any:
        """Send the task.

        Parameters:
            args: positional arguments before those of the signature.
            kwargs: keyword arguments over those of the signature.
            route_name: name to look for in the routes instead of the task's.
            options: of `Task.apply_async`; they win over those of the signature.

        Returns the result handle.
        """
        args, kwargs, options = self._as_call(args, kwargs, options)
        if route_name is not None:
            options = dict(options, route_name=route_name)
        return self._apply_async(args, kwargs, **options)

    def _as_call(self, args: Any, kwargs: Any, options: dict[str, Any]) -> tuple[Any, Any, Any]:
        """Return arguments and options of the call that this and what is added to it make."""
        if args or kwargs or options:
            args, kwargs, options = self._merge(args, kwargs, options)
        else:
            args, kwargs, options = self["args"], self["kwargs"], self["options"]
        if not EMBEDDED.isdisjoint(options):
            options = self._with_plain_embedded(options)
        return args, kwargs, options

    def _with_plain_embedded(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return options with plain dicts for the signatures that travel in the message.

        Not all serializers know that signatures are dicts, and not all readers of pickles know
        this class.
        """
        if self.app.conf.task_always_eager:
            return options
        return {
            key: plain(value, only_signatures=True) if key in EMBEDDED else value
            for key, value in options.items()
        }

    @property
    def _apply_async(self) -> Any:
        """What sends the task: the task itself, or the app if it is not registered here."""
        task = self._type
        if task is None:
            app = self.app
            name = self["task"]
            task = app.tasks.get(name)
            if task is None:
                return functools.partial(app.send_task, name)
        return task.apply_async

    def __invert__(self) -> Any:
        """Send the task, wait for it and return its result."""
        return self.apply_async().get()

    def election(self) -> Any:
        """Have the workers elect one of them that runs the task. Returns the result handle."""
        app = self.app
        task_id = self["options"].get("task_id") or uuid()
        with app.producer_or_acquire(None) as producer:
            options = self.type.backend.on_task_call(producer, task_id) or {}
            elected = self.clone(task_id=task_id, **options)
            app.control.election(task_id, "task", elected, connection=producer.connection)
            return self.AsyncResult(task_id)

    # Celery's copies are plain dicts, and pickles and deep copies of options rely on nothing more.
    def __deepcopy__(self, memo: Any) -> Any:
        copy = self.clone()
        memo[id(self)] = copy
        return copy

    def __reduce__(self) -> Any:
        return signature, (dict(self),)

    def __json__(self) -> Any:
        return dict(self)

    # -- options ------------------------------------------------------------------------

    def set(self, immutable: bool | None = None, **options: Any) -> Any:
        """Set options of the call, and whether it is immutable. Returns the signature."""
        if immutable is not None:
            self.set_immutable(immutable)
        self["options"].update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Set whether arguments added later are left out."""
        self["immutable"] = immutable

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
        """Give the call its id and its place in a workflow, before it is sent.

        Parameters:
            _id: the id; a new one by default. An id it has already stays.
            group_id: id of the group it is in; one it has already stays.
            chord: body of the chord it is in the header of.
            root_id: id of the first task of the workflow.
            parent_id: id of the task that sends it.
            group_index: its position in the group, from 0.
            own: nobody else has what a workflow is made of: none of it needs to be copied.

        Returns the result handle.
        """
        options = self["options"]
        task_id = options.get("task_id")
        if not task_id:
            task_id = options["task_id"] = _id or uuid()
        if root_id:
            options["root_id"] = root_id
        if parent_id:
            options["parent_id"] = parent_id
        if "reply_to" not in options:
            options["reply_to"] = self.app.thread_oid
        if group_id and "group_id" not in options:
            options["group_id"] = group_id
        if chord is not None:
            options["chord"] = chord
        if group_index is not None:
            options["group_index"] = group_index
        return self.AsyncResult(task_id)

    _freeze = freeze

    # -- combining and showing ----------------------------------------------------------

    def __or__(self, other: Any) -> Any:
        if isinstance(other, dict) and not isinstance(other, Signature) and "task" in other:
            other = Signature.from_dict(other)
        return compose(self, other)

    def __ior__(self, other: Any) -> Any:
        return self | other

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """Return how the call looks in code, with further arguments."""
        all_args, all_kwargs, _ = self._merge(args, kwargs, {}, force=True)
        # Imported here as most programs never print one: kombu is slow to import.
        from kombu.utils.functional import reprcall

        return str(reprcall(self["task"], all_args, all_kwargs))

    def __repr__(self) -> str:
        return self.reprcall()

    # -- what it is of ------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the task."""
        return self["task"]  # type: ignore[no-any-return]

    @property
    def type(self) -> Any:
        """The task. Raises NotRegistered if there is none of this name here."""
        return self._type or self.app.tasks[self["task"]]

    @type.setter
    def type(self, task: Any) -> None:
        self._type = task

    @property
    def app(self) -> Any:
        """The app it is sent with."""
        return self._app or self._find_app() or get_current_app()

    @app.setter
    def app(self, app: Any) -> None:
        self._app = app

    def _find_app(self) -> Any:
        """Return the app of the parts of the signature, None if they have none."""
        return None

    @property
    def AsyncResult(self) -> Any:  # noqa: N802 - the public name
        """What makes result handles: the task's `AsyncResult`, else the app's."""
        task = self._type
        if task is None:
            app = self.app
            task = app.tasks.get(self["task"])
            if task is None:
                return app.AsyncResult
        return task.AsyncResult

    def members(self) -> Iterator[Any]:
        """Return the signatures this one is made of; none for a single call."""
        return iter(())


def plain_calls(members: Any) -> Sequence[Any] | None:
    """Return the members of a workflow if all of them are signatures of single calls, else None."""
    if not isinstance(members, (list, tuple)) or not members:
        return None
    for each in members:
        if not isinstance(each, Signature):
            return None
        if type(each).apply_async is not Signature.apply_async:
            return None
    return members
