"""Adding periodic tasks to the configuration.

A part of `TaskQ`.
"""

from __future__ import annotations

from typing import Any

#: Keys of an entry that no execution option is named like.
OF_THE_ENTRY = ("relative", "overlap", "catch_up", "jitter")


class PeriodicTasks:
    """The part of an app that takes entries for ``beat_schedule``, also before it is configured."""

    conf: Any
    configured: bool
    _pending_periodic_tasks: Any

    def add_periodic_task(
        self,
        schedule: Any,
        sig: Any,
        args: Any = (),
        kwargs: Any = (),
        name: str | None = None,
        **opts: Any,
    ) -> str:
        """Add an entry to ``beat_schedule``.

        - schedule: seconds, a timedelta, or a schedule.
        - sig: signature of the task to send.
        - name: of the entry, the signature's text by default.
        - opts: execution options, and the keys ``relative``, ``overlap``, ``catch_up`` and
          ``jitter`` of an entry.

        Returns the entry's name.
        """
        key, entry = self._sig_to_periodic_task_entry(
            schedule, sig, args, dict(kwargs), name, **opts
        )
        if self.configured:
            self._add_periodic_task(key, entry, name=name)
        else:
            self._pending_periodic_tasks.append((key, entry))
        return key

    def _sig_to_periodic_task_entry(
        self,
        schedule: Any,
        sig: Any,
        args: Any = (),
        kwargs: Any = None,
        name: str | None = None,
        **opts: Any,
    ) -> tuple[str, dict[str, Any]]:
        if not callable(getattr(sig, "clone", None)):
            sig = sig.subtask(args, kwargs)
        else:
            sig = sig.clone(args, kwargs)
        own = {key: opts.pop(key) for key in OF_THE_ENTRY if key in opts}
        return name or repr(sig), {
            **own,
            "schedule": schedule,
            "task": sig.task,
            "args": sig.args,
            "kwargs": sig.kwargs,
            "options": {**sig.options, **opts},
        }

    def _add_periodic_task(self, key: str, entry: dict[str, Any], name: str | None = None) -> None:
        self.conf.beat_schedule[key] = entry
