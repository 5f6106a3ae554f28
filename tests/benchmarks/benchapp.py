"""The app that both sides of a comparison run: `BENCH_PACKAGE` is ``taskq`` or ``celery``.

`BENCH_BROKER` and `BENCH_BACKEND` are URLs; without a backend results are ignored.
"""

import asyncio
import json
import os
import time
from importlib import import_module
from pathlib import Path

from benchcpu import group_cpu

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


@app.task
def add(x, y):
    """Return a sum."""
    return x + y


@app.task
def total(numbers):
    """Return the sum of a list."""
    return sum(numbers)


@app.task
def nap(seconds, log):
    """Sleep, and note in a file from when to when."""
    started = time.monotonic()
    time.sleep(seconds)
    line = f"{seconds} {started} {time.monotonic()}\n".encode()
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line)
    os.close(file)


@app.task
async def anap(seconds):
    """Wait, as a coroutine."""
    await asyncio.sleep(seconds)


@app.task
def doze(seconds):
    """Wait, as a function."""
    time.sleep(seconds)


@app.task
def take(data):
    """Take an argument of any size."""


@app.task(ignore_result=True)
def mark(path):
    """Write down the time, and the processor time of this worker's processes so far."""
    note(path)


def note(path):
    text = json.dumps({"at": time.monotonic(), "cpu": group_cpu(os.getpgrp())})
    Path(f"{path}.new").write_text(text)
    Path(f"{path}.new").rename(path)


@app.task(ignore_result=True)
async def amark(path):
    """The same, as a coroutine."""
    note(path)


for number in range(int(os.environ.get("BENCH_TASKS", "0"))):
    app.task(name=f"benchapp.noop_{number}")(lambda: None)
