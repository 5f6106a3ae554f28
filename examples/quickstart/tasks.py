"""The tasks of the quickstart. One file is broker and result store: no server is needed."""

from __future__ import annotations

import time

from taskq import TaskQ

app = TaskQ("tasks", broker="sqlite:///quickstart.db", backend="sqlite:///quickstart.db")


@app.task
def add(x: int, y: int) -> int:
    """Return the sum of *x* and *y*."""
    return x + y


@app.task
def divide(x: int, y: int) -> float:
    """Return *x* divided by *y*; fails where *y* is zero."""
    return x / y


@app.task(bind=True)
def convert(self, pages: int) -> str:
    """Pretend to convert *pages* pages, and report each one that is done."""
    for done in range(1, pages + 1):
        time.sleep(0.4)
        self.update_state(state="PROGRESS", meta={"done": done, "of": pages})
    return f"{pages} pages converted"
