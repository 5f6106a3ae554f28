"""Finding the requests that a command is about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from taskq.worker import state as worker_state


def find_requests(ids: Iterable[str]) -> Iterator[Any]:
    """Yield the requests with these ids that the worker holds."""
    for task_id in ids:
        request = worker_state.requests.get(task_id)
        if request is not None:
            yield request
