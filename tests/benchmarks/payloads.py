"""Large arguments: how much of what Redis can carry arrives in tasks."""

from __future__ import annotations

import time

from redis import Redis

from tests.benchmarks.drains import drain
from tests.benchmarks.rows import Figures
from tests.benchmarks.sides import Side

#: Bytes of an argument -> messages for taskq and for Celery.
SIZES = {10_000: (4_000, 1_000), 100_000: (1_000, 300), 1_000_000: (100, 40)}


def payloads(side: Side) -> Figures:
    """Return MB/s of arguments that a worker takes, by their size; and of Redis alone."""
    figures = {}
    for size, counts in SIZES.items():
        count = counts[side.package != "taskq"]
        rate = drain(side, task="take", count=count, size=size)["rate"]
        figures[f"{size // 1000}"] = rate * size / 1e6
        side.clear_marks()
    if side.package == "taskq":
        limit = _copying_limit(side.broker)
        for size in SIZES:
            key = f"{size // 1000}"
            figures[f"{key}-share"] = 100 * figures[key] / limit
    return figures


def _copying_limit(url: str, size: int = 1_000_000, count: int = 50) -> float:
    """Return MB/s of one process that takes values of 1 MB from a list, and does nothing else."""
    with Redis.from_url(url) as client:
        value = b"x" * size
        for _ in range(count):
            client.lpush("bench-raw", value)
        started = time.perf_counter()
        for _ in range(count):
            client.rpop("bench-raw")
        return size * count / (time.perf_counter() - started) / 1e6
