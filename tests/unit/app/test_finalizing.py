"""Finalizing an app while other threads already ask for its tasks."""

from __future__ import annotations

import threading

from taskq import TaskQ


def test_other_threads_wait_until_all_tasks_are_there() -> None:
    app = TaskQ("finalized", broker="memory://", set_as_current=False)
    begun, may_end, seen = threading.Event(), threading.Event(), []

    def slow() -> None: ...

    class Slow(app.Task):  # type: ignore[name-defined,misc]
        abstract = True

        @classmethod
        def on_bound(cls, app: TaskQ) -> None:
            begun.set()
            assert may_end.wait(20)

    app.task(slow, base=Slow, name="slow", shared=False)
    app.task(lambda: None, name="last", shared=False)

    finalizing = threading.Thread(target=app.finalize)
    finalizing.start()
    assert begun.wait(20)
    asking = threading.Thread(target=lambda: seen.append("last" in app.tasks))
    asking.start()
    asking.join(0.2)
    assert not seen
    may_end.set()
    finalizing.join()
    asking.join()
    assert seen == [True]
