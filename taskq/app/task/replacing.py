"""Replacing the running task by a workflow, and adding to the chord it is in."""

from __future__ import annotations

from typing import Any

from taskq.app.task.running import RunningTask
from taskq.canvas import _chain, group
from taskq.canvas.kinds import is_chain, is_chord
from taskq.canvas.planning import needs_join
from taskq.exceptions import Ignore, ImproperlyConfigured
from taskq.utils.functional import maybe_list

__all__ = ("ReplaceableTask",)


class ReplaceableTask(RunningTask):
    """A task that can hand its place in a workflow to a signature."""

    def replace(self, sig: Any) -> Any:
        """Replace this task by a signature, which takes over its id and what waits for it.

        - sig: a signature, chain, group or chord.

        Raises Ignore, so that nothing is stored for this task; in eager mode returns the result.
        Raises ImproperlyConfigured for a chord with links that no chord can keep.
        """
        request = self.request
        chord = request.chord
        if "chord" in sig.options and sig.options["chord"] is not None:
            raise ImproperlyConfigured("A signature replacing a task must not be part of a chord")
        if request.chord and isinstance(sig, _chain) and not getattr(sig, "tasks", True):
            raise ImproperlyConfigured("Can't replace a task of a chord by an empty chain")
        if isinstance(sig, _chain) and not getattr(sig, "tasks", True):
            raise ImproperlyConfigured("Cannot replace with an empty chain")
        if isinstance(sig, group) or needs_join(sig):
            # A group can't be linked: collect its results so that a chain can go on.
            sig |= self.app.tasks["celery.accumulate"].s(index=0)
        for callback in maybe_list(request.callbacks) or ():
            sig.link(callback)
        for errback in maybe_list(request.errbacks) or ():
            sig.link_error(errback)
        sig.set(
            chord=chord,
            group_id=request.group,
            group_index=request.group_index,
            root_id=request.root_id,
            replaced_task_nesting=request.replaced_task_nesting + 1,
        )
        # The replacement keeps the parent's stamps and answers under this task's id.
        if request.stamped_headers:
            sig.options.setdefault("stamped_headers", list(request.stamped_headers))
            for header in request.stamped_headers:
                if request.stamps and header in request.stamps:
                    sig.options.setdefault(header, request.stamps[header])
        sig.freeze(request.id)
        if request.reply_to:
            last_task_of(sig).set(reply_to=request.reply_to)
        # What remains of the chain this task is in follows the replacement, as it would the task.
        following = {"chain": list(request.chain)} if request.chain else {}
        if request.is_eager:
            return sig.apply(**following).get()
        sig.apply_async(**following)
        raise Ignore("Replaced by new task")

    def add_to_chord(self, sig: Any, lazy: bool = False) -> Any:
        """Add a signature to the header of the chord this task is in.

        - lazy: don't send it, only return it.

        Returns the result of sending it, or the signature. Raises ValueError when this task is
        not in a chord.
        """
        if not self.request.chord:
            raise ValueError("Current task is not member of any chord")
        sig.set(group_id=self.request.group, chord=self.request.chord, root_id=self.request.root_id)
        result = sig.freeze()
        self.backend.add_to_chord(self.request.group, result)
        return sig.delay() if not lazy else sig

    def on_replace(self, sig: Any) -> Any:
        """Run when the task is replaced by a signature, instead of returning `replace`."""
        return self.replace(sig)


def last_task_of(sig: Any) -> Any:
    """Return the signature in a workflow, which does not end in a group, whose result is its."""
    while is_chain(sig) or is_chord(sig):
        sig = sig.tasks[-1] if is_chain(sig) else sig.body
    return sig
