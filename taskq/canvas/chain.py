"""Chains: tasks that run one after the other, each with the result of the one before.

A chain is sent as its first task; the rest travels in that task's message, last step first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from taskq.canvas.composing import fold
from taskq.canvas.kinds import is_chord, register_type
from taskq.canvas.planning import Place, plan, root_result
from taskq.canvas.signature import Signature, maybe_signature, plain_calls
from taskq.result import allow_join_result
from taskq.utils.functional import is_list, maybe_list, regen
from taskq.utils.objects import getitem_property

__all__ = ("_chain", "chain")


@register_type("chain")
class _chain(Signature):
    """A chain of exactly the steps given; `chain` also combines them, as ``|`` does.

    Parameters:
        tasks: the steps, or one iterable of them.
        options: of the chain, passed to its first task. ``link`` goes to the last one and
            ``link_error`` to all.
    """

    #: How many of the first steps are copies shared with other chains made of this one by ``|``.
    #: They are copied again before they are shown to anyone, so that they can't be changed.
    sealed: int = 0

    _steps = getitem_property("kwargs.tasks", "The steps, sealed ones included.")

    @classmethod
    def from_dict(cls, d: Any, app: Any = None) -> Any:
        """Return the chain that a dict describes."""
        new = _chain([maybe_signature(step, app=app, clone=True) for step in d["kwargs"]["tasks"]])
        return new._as_described(d, app, "tasks")

    def __init__(self, *tasks: Any, **options: Any) -> None:
        steps: Any = regen(tasks[0]) if len(tasks) == 1 and is_list(tasks[0]) else tasks
        self._use_link = options.pop("use_link", None)
        super().__init__("celery.chain", (), {"tasks": steps}, **options)
        self["subtask_type"] = "chain"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send the chain, with arguments for its first task."""
        if self.has_steps:
            return self.apply_async(args, kwargs)
        return None

    # -- steps --------------------------------------------------------------------------

    @property
    def tasks(self) -> Any:
        """The steps, a list or tuple of signatures."""
        if self.sealed:
            steps = list(self._steps)
            steps[: self.sealed] = [step.clone() for step in steps[: self.sealed]]
            self.tasks = steps
        return self._steps

    @tasks.setter
    def tasks(self, steps: Any) -> None:
        self._steps = steps
        self.sealed = 0

    @property
    def has_steps(self) -> bool:
        """Whether there is any step."""
        return bool(self._steps)

    @property
    def raw_steps(self) -> Any:
        """The steps to be added to by who made the chain."""
        return self._steps

    def steps_to_extend(self) -> tuple[list[Any], int]:
        """Return a list of steps for another chain, and how many of them are shared with this one.

        The options of the chain that belong to its steps are given to them.
        """
        options = self["options"]
        if options.get("link") or options.get("link_error"):
            return self.unchain_tasks(), 0
        steps = list(self._steps)
        steps[self.sealed :] = [step.clone() for step in steps[self.sealed :]]
        return steps, len(steps)

    def members(self) -> Iterator[Any]:
        """Return the steps."""
        return iter(self._steps)

    def unchain_tasks(self) -> list[Any]:
        """Return copies of the steps, which have the links of the chain."""
        steps = [step.clone() for step in self._steps]
        options = self["options"]
        if steps:
            for callback in maybe_list(options.get("link")) or ():
                steps[-1].link(maybe_signature(callback, clone=True))
        for errback in maybe_list(options.get("link_error")) or ():
            for step in steps:
                step.link_error(maybe_signature(errback, clone=True))
        return steps

    def clone(self, *args: Any, **kwargs: Any) -> Any:
        """Return a copy with copies of the steps; parameters as of `Signature.clone`."""
        copy = self._cloned(type(self), *args, **kwargs)
        copy.tasks = [maybe_signature(step, clone=True) for step in self._steps]
        copy._use_link = self._use_link
        return copy

    # -- sending ------------------------------------------------------------------------

    def apply_async(  # type: ignore[override]
        self, args: Any = None, kwargs: Any = None, **options: Any
    ) -> Any:
        """Send the chain.

        Parameters:
            args: positional arguments for the first step.
            kwargs: keyword arguments for the first step.
            options: as for `run`; they win over those of the chain.

        Returns the result handle of the last step, whose `parent` is that of the step before.
        None if the chain has no steps.
        """
        if not self.has_steps:
            return None
        app = self.app
        if app.conf.task_always_eager:
            with allow_join_result():
                return self.apply(args, kwargs, **options)
        return self.run(args, kwargs, app=app, **{**self["options"], **options})

    def calls_to_send(self, options: Mapping[str, Any]) -> Sequence[Any] | None:
        """Return the steps when all of them are plain calls; see `Signature.calls_to_send`."""
        return plain_calls(self._steps)

    def run(
        self,
        args: Any = None,
        kwargs: Any = None,
        group_id: str | None = None,
        chord: Any = None,
        task_id: str | None = None,
        link: Any = None,
        link_error: Any = None,
        publisher: Any = None,
        producer: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        app: Any = None,
        group_index: int | None = None,
        **options: Any,
    ) -> Any:
        """Send the chain with these options and no others.

        Parameters:
            args: positional arguments for the first step.
            kwargs: keyword arguments for the first step.
            group_id: id of the group that the last step is in.
            chord: body of the chord that the last step is in the header of.
            task_id: id for the last step.
            link: signature, or list of them, called with the result of the last step.
            link_error: signature, or list of them, called when a step fails.
            publisher: old name of `producer`.
            producer: to publish with.
            root_id: id of the first task of the workflow.
            parent_id: id of the task that sends the chain.
            app: app to send it with.
            group_index: position of the last step in its group.
            options: of the first step. ``chain``: what follows the last step, as in a message.

        Returns the result handle of the last step.
        """
        app = app or self.app
        args, kwargs = self._first_arguments(args, kwargs)
        planned = plan(
            self._steps,
            Place(task_id, group_id, group_index, chord, root_id, parent_id),
            args=args,
            kwargs=kwargs,
            link_error=link_error,
            following=options.pop("chain", None) or (),
            app=app,
        )
        if not planned.tasks:
            return None
        if any(is_chord(step) for step in planned.tasks):
            app.backend.ensure_chords_allowed()
        if link:
            planned.tasks[0].extend_list_option("link", link)
        remaining = planned.following + planned.tasks[:-1]
        first = planned.tasks[-1]
        if self._links_steps(app):
            first = _linked(planned.following + planned.tasks)
        elif remaining:
            options["chain"] = remaining
        producer = producer or publisher
        if producer is not None:
            options["producer"] = producer
        first.apply_async(**options)
        return planned.results[0]

    def _first_arguments(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        return self._partial_arguments(args, kwargs, "tasks")

    def _links_steps(self, app: Any) -> bool:
        """Return whether each step is linked to the one before: the first protocol's way."""
        if self._use_link is not None:
            return bool(self._use_link)
        return bool(app.conf.task_protocol == 1)

    def prepare_steps(
        self,
        args: Any,
        kwargs: Any,
        tasks: Any,
        root_id: str | None = None,
        parent_id: str | None = None,
        link_error: Any = None,
        app: Any = None,
        last_task_id: str | None = None,
        group_id: str | None = None,
        chord_body: Any = None,
        clone: bool = True,
        from_dict: Any = None,
        group_index: int | None = None,
    ) -> tuple[list[Any], list[Any]]:
        """Return what is sent for the steps `tasks`, and the result handles: last step first.

        Parameters:
            args: positional arguments for the first step.
            kwargs: keyword arguments for the first step.
            tasks: the steps, first one first.
            root_id: id of the first task of the workflow.
            parent_id: id of the task that sends the chain.
            link_error: signature, or list of them, called when a step fails.
            app: app of steps that are plain dicts.
            last_task_id: id for the last step.
            group_id: id of the group that the last step is in.
            chord_body: body of the chord that the last step is in the header of.
            clone: leave `tasks` as they are, and return copies of them.
            from_dict: not used.
            group_index: position of the last step in its group.
        """
        planned = plan(
            tasks,
            Place(last_task_id, group_id, group_index, chord_body, root_id, parent_id),
            args=tuple(args or ()),
            kwargs=kwargs,
            link_error=link_error,
            app=app or self.app,
            clone=clone,
        )
        return planned.tasks, planned.results

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
        """Give all steps their ids; parameters as of `Signature.freeze`, for the last step.

        Returns the result handle of the last step, None if there is none.
        """
        place = Place(_id or self.id, group_id, group_index, chord, root_id, parent_id)
        planned = plan(self.tasks, place, app=self.app, clone=False, own=own)
        if not planned.tasks:
            return None
        self.tasks = planned.tasks[::-1]
        self["options"]["task_id"] = planned.results[0].id
        return planned.results[0]

    _freeze = freeze

    # -- running here -------------------------------------------------------------------

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run the steps here and now, one after the other.

        Parameters:
            args: positional arguments for the first step.
            kwargs: keyword arguments for the first step.
            options: of all steps; ``task_id``, ``link``, ``chord``, ``group_id`` and
                ``group_index`` of the last one.

        Returns the `EagerResult` of the last step. Raises what a step raises that is not the last.
        """
        options = {**self["options"], **options}
        place = Place(**{key: options.pop(name, None) for name, key in PLACE_OPTIONS.items()})
        link = options.pop("link", None)
        args, kwargs = self._first_arguments(args, kwargs)
        planned = plan(
            self._steps,
            place,
            args=args,
            kwargs=kwargs,
            link_error=options.pop("link_error", None),
            following=options.pop("chain", None) or (),
            app=self.app,
        )
        steps = planned.following + planned.tasks
        if steps and link:
            planned.tasks[0].extend_list_option("link", link)
        last = None
        for step in reversed(steps):
            partial = () if last is None else (last.get(),)
            result = maybe_signature(step, app=self.app).apply(partial, **options)
            root_result(result).parent = last
            last = result
        return last

    # -- options and stamps -------------------------------------------------------------

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Stamp all steps and what is linked to them; see `Signature.stamp`."""
        visited = visitor.on_chain_start(self, **headers) if visitor is not None else None
        headers = self._stamp_headers(visited, append_stamps, False, **headers)
        self.stamp_links(visitor, append_stamps, **headers)
        for step in self.tasks:
            step.stamp(visitor, append_stamps, **headers)
        if visitor is not None:
            visitor.on_chain_end(self, **headers)
        return self

    def _find_app(self) -> Any:
        for step in self._steps:
            if isinstance(step, Signature):
                found = step._app or step._find_app()
                if found is not None:
                    return found
        return None

    def __repr__(self) -> str:
        if not self.has_steps:
            return f"<{type(self).__name__}@{id(self):#x}: empty>"
        return " | ".join(repr(step) for step in self._steps)


class chain(_chain):
    """Tasks that run one after the other, each with the result of the one before as argument.

    ``chain(a, b, c)`` and ``chain([a, b, c])`` are ``a | b | c``: a group followed by a task
    becomes a chord, and chains in it are taken apart.

    Parameters:
        tasks: the steps, or one iterable of them.
        options: options of the chain; with any of these the steps are kept exactly as given.
    """

    def __new__(cls, *tasks: Any, **kwargs: Any) -> Any:
        """Return the combined steps, which need not be a chain."""
        if not kwargs and tasks:
            given = tasks[0] if len(tasks) == 1 else tasks
            if is_list(given):
                return fold(maybe_signature(step, clone=True) for step in given)
        return super().__new__(cls)


#: Options of a chain that say where it is, and their fields in `Place`.
PLACE_OPTIONS = {
    "task_id": "last_task_id",
    "group_id": "group_id",
    "group_index": "group_index",
    "chord": "chord",
    "root_id": "root_id",
    "parent_id": "parent_id",
}


def _linked(tasks: list[Any]) -> Any:
    """Return the first step, with each step linked to the one before; last step first."""
    following = None
    for step in tasks:
        if following is not None:
            step.link(following)
        following = step
    return following
