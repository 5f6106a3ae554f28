"""How the scheduler sends the task of an entry."""

from __future__ import annotations

from typing import Any

from taskq.beat.entry import evaluate_args, evaluate_kwargs
from taskq.beat.holds import Holds
from taskq.beat.scheduler.errors import BrokerUnreachable, SchedulingError
from taskq.beat.scheduler.link import BrokerLink
from taskq.beat.scheduler.sync import SyncTimer
from taskq.utils.log import get_logger

__all__ = ("EntrySender",)

logger = get_logger("celery.beat")

#: Names of tasks that stand for workflows -> their kind of signature.
WORKFLOWS = {"celery.chain": "chain", "celery.group": "group", "celery.chord": "chord"}


class EntrySender(BrokerLink, SyncTimer):
    """Side of the scheduler that makes calls of entries."""

    #: Of `taskq.beat.scheduler.handover`.
    ledger: Any
    _holds: Holds

    def reserve(self, entry: Any) -> Any:
        """Write down that an entry is sent now; return it as it is afterwards."""
        raise NotImplementedError(f"{type(self).__name__} does not write down what it sends")

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
            result = self._publish(entry, args, task_kwargs, {"producer": producer, **options})
        except Exception as exc:
            kind = BrokerUnreachable if self._means_broker_away(exc) else SchedulingError
            raise kind(f"Couldn't apply scheduled task {entry.name}: {exc}") from exc
        else:
            # Before it is stored what may be unfinished.
            if hasattr(result, "id"):
                self._holds.sent(entry, result)
            return result
        finally:
            self._tasks_since_sync += 1
            if self.should_sync():
                self._do_sync()

    def _publish(
        self, entry: Any, args: list[Any], kwargs: dict[str, Any], options: dict[str, Any]
    ) -> Any:
        if entry.task in WORKFLOWS:
            # Of their tasks only a caller knows what to publish.
            signature = self.app.signature(
                {
                    "task": entry.task,
                    "args": args,
                    "kwargs": kwargs,
                    "options": {},
                    "subtask_type": WORKFLOWS[entry.task],
                    "immutable": False,
                }
            )
            return signature.apply_async(**options)
        if self.ledger is not None:
            # A run that two beats send, because one died meanwhile, has one id.
            options.setdefault("task_id", self.ledger.task_id(entry))
        task = self.app.tasks.get(entry.task)
        if task is not None:
            return task.apply_async(args, kwargs, **options)
        return self.send_task(entry.task, args, kwargs, **options)

    def send_task(self, *args: Any, **kwargs: Any) -> Any:
        """Send a task that is not registered here."""
        return self.app.send_task(*args, **kwargs)
