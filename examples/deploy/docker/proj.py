"""The app that the examples run; its broker is named by the environment."""

from __future__ import annotations

import os

from taskq import TaskQ

url = os.environ.get("TASKQ_BROKER_URL", "sqlite:///taskq.db")
app = TaskQ("proj", broker=url, backend=os.environ.get("TASKQ_RESULT_BACKEND", url))


@app.task
def add(x: int, y: int) -> int:
    """Return the sum of two numbers."""
    return x + y
