"""The task class of Django projects: tasks sent when the transaction commits.

Set as ``app.task_cls`` by the Django fixup.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction

from taskq.app.task import Task


class DjangoTask(Task[..., Any]):
    """A task that can be sent once the current transaction has committed.

    So a worker never sees a task before the rows it is about. Outside a transaction the task is
    sent at once; if the transaction is rolled back it is not sent at all.
    """

    abstract = True

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """Call `delay` with these arguments when the transaction commits. There is no result."""
        transaction.on_commit(partial(self.delay, *args, **kwargs))

    def apply_async_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """Call `apply_async` with these arguments when the transaction commits."""
        transaction.on_commit(partial(self.apply_async, *args, **kwargs))
