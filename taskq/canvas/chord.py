"""Chords: a group of tasks, the header, and a task called with the list of their results, the body.

The result backend counts the header's tasks as they end; the last one sends the body.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from taskq.canvas.chord_parts import (
    BODY_OPTIONS,
    body_with,
    final_tasks,
    freeze_body,
    header_of,
    put_after,
    tasks_in,
)
from taskq.canvas.group import group
from taskq.canvas.kinds import is_chain, is_chord, is_group, register_type
from taskq.canvas.signature import Signature, maybe_signature, plain
from taskq.result import allow_join_result
from taskq.utils.objects import getitem_property

__all__ = ("_chord", "chord")

#: Keyword arguments of the signature that belong to the chord; others go to the header's tasks.
PARTS = ("header", "body", "kwargs")


@register_type("chord")
class _chord(Signature):
    """A task that is called when those of a group are done, with the list of their results.

    Parameters:
        header: the tasks: a group, a list or another iterable of signatures.
        body: signature that is called with the results.
        task: name of the task that stands for the chord on the wire.
        args: positional arguments for the tasks of the header.
        kwargs: keyword arguments for the tasks of the header.
        app: app to send it with.
        options: of the tasks and of the body.
    """

    header = getitem_property("kwargs.header", "The tasks that the body waits for.")
    body = getitem_property("kwargs.body", "What is called with their results.")

    #: The tasks of the header are shared with another chord: copied before they are shown.
    sealed: bool = False

    @classmethod
    def from_dict(cls, d: Any, app: Any = None) -> Any:
        """Return the chord that a dict describes."""
        given = d["kwargs"]
        body = maybe_signature(given.get("body"), app=app, clone=True)
        new = _chord(header_of(given["header"], app), body)
        return new._as_described(d, app, "header", "body")

    @classmethod
    def of_group(cls, header: Any, body: Any) -> Any:
        """Return the chord of a group and a body; they share their tasks with it."""
        new = _chord([], body, app=header._app)
        new["args"] = tuple(header["args"])
        new["kwargs"]["kwargs"] = {k: v for k, v in header["kwargs"].items() if k != "tasks"}
        tasks = header.tasks
        new.header = list(tasks) if tasks.__class__ is list else tasks
        return new

    def __init__(
        self,
        header: Any,
        body: Any = None,
        task: str = "celery.chord",
        args: Any = None,
        kwargs: Any = None,
        app: Any = None,
        **options: Any,
    ) -> None:
        own = dict(kwargs) if kwargs else {"kwargs": {}}
        own["header"] = header_of(header, app)
        own["body"] = maybe_signature(body, app=app)
        super().__init__(task, args or (), own, app=app, **options)
        self["subtask_type"] = "chord"

    def __call__(self, body: Any = None, **options: Any) -> Any:
        """Send the chord, with this body if one is given."""
        return self.apply_async((), {"body": body} if body is not None else {}, **options)

    def __length_hint__(self) -> int:
        """Return how many tasks the body waits for."""
        return final_tasks(self.header)

    @property
    def tasks(self) -> Any:
        """The tasks that the body waits for: a list of signatures, or a group."""
        if self.sealed:
            self.tasks = header_of(self.header, self._app)
        return self.header

    @tasks.setter
    def tasks(self, tasks: Any) -> None:
        self.header = tasks
        self.sealed = False

    # -- copies -------------------------------------------------------------------------

    def clone(self, *args: Any, **kwargs: Any) -> Any:
        """Return a copy with copies of header and body; parameters as of `Signature.clone`."""
        copy = self._cloned(type(self), *args, **kwargs)
        copy.header = header_of(self.header, self._app)
        copy.body = maybe_signature(self.body, clone=True)
        return copy

    def with_body(self, body: Any) -> Any:
        """Return a chord with the same header, shared with this one, and another body."""
        copy = self._cloned(_chord)
        copy.sealed = True
        copy.body = body
        return copy

    def copied_for_body(self) -> Any:
        """Return a chord with the same header whose body may be gone on with."""
        body = self.body
        # Chains and chords are copied as far as need be by what extends them.
        return self.with_body(body if is_chain(body) or is_chord(body) else body.clone())

    def members(self) -> Iterator[Any]:
        """Return the tasks of the header, then the body."""
        yield from tasks_in(self.header)
        if self.body is not None:
            yield self.body

    # -- sending ------------------------------------------------------------------------

    def apply_async(  # type: ignore[override]
        self,
        args: Any = None,
        kwargs: Any = None,
        task_id: str | None = None,
        producer: Any = None,
        publisher: Any = None,
        connection: Any = None,
        router: Any = None,
        result_cls: Any = None,
        **options: Any,
    ) -> Any:
        """Send the chord.

        Parameters:
            args: positional arguments for the tasks of the header.
            kwargs: keyword arguments for them; ``body`` is another body.
            task_id: id for the body.
            producer: to publish with.
            publisher: old name of `producer`.
            connection: to publish with, instead of one from the pool.
            router: resolves the destinations, the app's by default.
            result_cls: not used.
            options: of the tasks of the header and of the body. ``countdown`` and ``eta`` are the
                header's only, links and what follows the chord the body's.

        Returns the result handle of the body, whose `parent` is that of the header.
        """
        kwargs = dict(kwargs or {})
        body = maybe_signature(kwargs.pop("body", None) or self.body, app=self._app)
        if body is None:
            raise TypeError(f"Cannot send {self!r}: give the chord a body")
        options = {**self["options"], **options}
        header_id = options.pop("task_id", None)
        if not task_id and not is_group(self.header) and not body.id:
            # Set by the user, who means the result; once frozen, it is the id of the header.
            task_id, header_id = header_id, None
        body = body_with(body, options)
        options = {key: value for key, value in options.items() if key not in BODY_OPTIONS}
        if self.app.conf.task_always_eager:
            with allow_join_result():
                return self.apply(args, kwargs, body=body, task_id=task_id, **options)
        args, kwargs = self._arguments(args, kwargs)
        return self.run(
            self._header_group(header_id),
            body,
            args,
            task_id=task_id,
            kwargs=kwargs,
            header_delay={key: options.pop(key, None) for key in ("countdown", "eta")},
            producer=producer or publisher,
            connection=connection,
            router=router,
            **options,
        )

    def _arguments(self, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments for the tasks of the header."""
        args, kwargs = self._partial_arguments(args, kwargs, *PARTS)
        return args, {**(self["kwargs"].get("kwargs") or {}), **kwargs}

    def _header_group(self, header_id: str | None = None) -> Any:
        """Return a group of the tasks of the header, which is to be copied before it is changed."""
        header = self.header
        if not is_group(header):
            header = group(header, app=self.app)
            if header_id:
                header.set(task_id=header_id)
        return header

    def run(
        self,
        header: Any,
        body: Any,
        partial_args: Any,
        app: Any = None,
        interval: float | None = None,
        countdown: float = 1,
        max_retries: int | None = None,
        eager: bool = False,
        task_id: str | None = None,
        kwargs: Any = None,
        header_delay: Any = None,
        producer: Any = None,
        add_to_parent: bool = True,
        **options: Any,
    ) -> Any:
        """Send a header whose last task sends `body`.

        Parameters:
            header: a group.
            body: a signature, which is changed.
            partial_args: positional arguments for the tasks of the header.
            app: app to send it with.
            interval: seconds between two polls, where the backend can't count.
            countdown: seconds until the first poll, where the backend can't count.
            max_retries: polls at most, where the backend can't count.
            eager: run it here and now.
            task_id: id for the body.
            kwargs: keyword arguments for the tasks of the header.
            header_delay: ``countdown`` and ``eta`` of the tasks of the header.
            producer: to publish with.
            add_to_parent: make the header a child of the running task.
            options: of the tasks of the header.

        Returns the result handle of the body.
        """
        app = app or self.app
        if eager:
            return self.apply(partial_args, kwargs, body=body, task_id=task_id, **options)
        root_id, parent_id = options.get("root_id"), options.get("parent_id")
        header = header.clone()
        header_id = header.id or header.new_id()
        body_result = freeze_body(body, task_id, header_id, root_id)
        size = final_tasks(header)
        if size != header.size:
            # A store that counts would take the number of results for that of the tasks.
            body["chord_size"] = size
        header_result = header.freeze(
            header_id,
            group_id=header_id,
            chord=plain(body),
            root_id=root_id,
            parent_id=parent_id,
            own=True,
        )
        put_after(header_result, body_result, body)
        sending = {"producer": producer, **options, **(header_delay or {})}
        if not size:
            # Nothing to wait for: no tasks, or such as end in empty groups.
            header.send_frozen(partial_args, kwargs, **sending)
            nothing: list[Any] = [[] for _ in header.tasks]
            body.apply_async((nothing,), producer=producer, add_to_parent=add_to_parent)
            return body_result
        backend = app.backend
        polling = {"interval": interval, "countdown": countdown, "max_retries": max_retries}
        backend.ensure_chords_allowed()
        backend.apply_chord((header_id, header_result.results), body, **polling)
        # Before any task is sent: the last one may be done before the next line runs.
        backend.set_chord_size(header_id, size)
        header.send_frozen(partial_args, kwargs, **sending)
        if add_to_parent:
            header.add_to_parent(header_result)
        return body_result

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
        """Give header and body their ids; parameters as of `Signature.freeze`, for the body.

        Returns the result handle of the body, whose `parent` is that of the header; None if there
        is no body.
        """
        header = self._header_group(self.id)
        if not is_group(self.header):
            self.tasks = header
        header_result = header.freeze(root_id=root_id, parent_id=parent_id, own=own)
        self["options"]["task_id"] = header.id
        if self.body is None:
            return None
        body_result = self.body.freeze(
            _id, group_id=group_id, chord=chord, root_id=root_id, group_index=group_index, own=own
        )
        put_after(header_result, body_result, self.body)
        return body_result

    _freeze = freeze

    # -- running here -------------------------------------------------------------------

    def apply(
        self,
        args: Any = None,
        kwargs: Any = None,
        propagate: bool = True,
        body: Any = None,
        **options: Any,
    ) -> Any:
        """Run the header and then the body here and now.

        Parameters:
            args: positional arguments for the tasks of the header.
            kwargs: keyword arguments for the tasks of the header.
            propagate: raise what a task of the header raises.
            body: another body.
            options: of all tasks; links and what follows the chord are the body's.

        Returns the `EagerResult` of the body.
        """
        options = {**self["options"], **options}
        task_id = options.pop("task_id", None)
        body = maybe_signature(body if body is not None else self.body, app=self._app)
        if body is None:
            raise TypeError(f"Cannot apply {self!r}: give the chord a body")
        body = body_with(body, options)
        shared = {key: value for key, value in options.items() if key not in BODY_OPTIONS}
        args, kwargs = self._arguments(args, kwargs)
        header_result = self._header_group().apply(args, kwargs, **shared)
        if task_id and not body.id:
            body.set(task_id=task_id)
        result = body.apply((header_result.get(propagate=propagate),), **shared)
        put_after(header_result, result, body)
        return result

    # -- options and stamps -------------------------------------------------------------

    def set_immutable(self, immutable: bool) -> None:
        """Set whether the tasks of the header leave out arguments added later."""
        for task in self._own_tasks():
            task.set_immutable(immutable)

    def link(self, callback: Any) -> Any:
        """Have a signature called with the result of the body."""
        self.body.link(callback)
        return callback

    def link_error(self, errback: Any) -> Any:
        """Have a signature called when the chord fails.

        That is once, for the body, and once more for each chord in the header that fails; with the
        setting ``task_allow_error_cb_on_chord_header`` for each task of the header that fails.
        """
        errback = maybe_signature(errback, app=self._app)
        every_task = self.app.conf.task_allow_error_cb_on_chord_header
        for task in self._own_tasks():
            if every_task or is_chord(task):
                task.link_error(errback.clone())
        self.body.link_error(errback)
        return errback

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Stamp the tasks of the header and the body; see `Signature.stamp`."""
        self._own_tasks()
        visited = visitor.on_chord_header_start(self, **headers) if visitor is not None else None
        headers = self._stamp_headers(visited, append_stamps, False, **headers)
        self.stamp_links(visitor, append_stamps, **headers)
        for task in tasks_in(self.tasks):
            task.stamp(visitor, append_stamps, **headers)
        if visitor is not None:
            visitor.on_chord_header_end(self, **headers)
        if self.body is not None:
            visited = visitor.on_chord_body(self, **headers) if visitor is not None else None
            headers = self._stamp_headers(visited, append_stamps, False, **headers)
            self.body.stamp(visitor, append_stamps, **headers)
        return self

    def _own_tasks(self) -> Any:
        """Return the tasks of the header, as signatures that may be changed."""
        tasks = tasks_in(self.tasks)
        if not all(isinstance(task, Signature) for task in tasks):
            self.tasks = tasks = [maybe_signature(task) for task in tasks]
        return tasks

    def _find_app(self) -> Any:
        for part in self.members():
            if isinstance(part, Signature):
                found = part._app or part._find_app()
                if found is not None:
                    return found
        return None

    def __repr__(self) -> str:
        header, body = self.header, self.body
        if body is None:
            return f"<chord without body: {header!r}>"
        if is_chain(body) and body.has_steps:
            first, *rest = body.tasks
            steps = [_call_of(first, header), *map(repr, rest)]
            return f"%({' | '.join(steps)})"
        return f"%{_call_of(body, header)}"


chord = _chord


def _call_of(body: Any, header: Any) -> str:
    """Return how the call of a body with the results of a header looks."""
    if body.get("subtask_type"):
        return f"{body!r}({header!r})"
    return str(body.reprcall(header))
