"""The app that both sides of a comparison run: `BENCH_PACKAGE` is ``taskq`` or ``celery``.

`BENCH_BROKER` and `BENCH_BACKEND` are URLs; without a backend results are ignored.
"""

import os
from importlib import import_module

Celery = import_module(os.environ.get("BENCH_PACKAGE", "taskq")).Celery

app = Celery(
    "bench",
    broker=os.environ.get("BENCH_BROKER", "redis://127.0.0.1:6379/7"),
    backend=os.environ.get("BENCH_BACKEND") or None,
)
app.conf.update(
    task_ignore_result=not os.environ.get("BENCH_BACKEND"),
    task_default_queue=os.environ.get("BENCH_QUEUE", "bench"),
    worker_prefetch_multiplier=int(os.environ.get("BENCH_PREFETCH", "4")),
)


@app.task
def noop():
    """Do nothing."""


@app.task(acks_late=True)
def noop_late():
    """Do nothing, acknowledged afterwards."""


@app.task
def add(x, y):
    """Return a sum."""
    return x + y
