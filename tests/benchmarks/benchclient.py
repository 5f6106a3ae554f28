"""What the clients of a comparison do, each in a process of its own: prints JSON.

    python benchclient.py FUNCTION '{"keyword": "arguments"}'

The same code calls taskq and Celery. `fill` is always run with taskq, which publishes the same
messages and is done sooner.
"""

from __future__ import annotations

import datetime
import json
import statistics
import sys
import time

import benchapp
from benchapp import app

#: Seconds to wait for any result.
PATIENCE = 120


def fill(
    task: str,
    count: int,
    begin: str = "",
    end: str = "",
    args: list | None = None,
    size: int = 0,
    queues: int = 0,
    variants: int = 0,
    eta_hours: float = 0,
    mark: str = "mark",
) -> None:
    """Put messages into the queue, between two that note when they are worked on.

    - size: give each an argument of so many bytes.
    - queues, variants: spread them over so many queues, over so many tasks.
    - eta_hours: due in so many hours.
    - mark: name of the task that notes.
    """
    args = ["x" * size] if size else args
    options = {}
    if eta_hours:
        now = datetime.datetime.now(datetime.UTC)
        options["eta"] = now + datetime.timedelta(hours=eta_hours)
    called = getattr(benchapp, task)
    with app.producer_pool.acquire(block=True) as producer, app.amqp.batch(producer):
        if begin:
            getattr(benchapp, mark).apply_async((begin,), producer=producer)
        for number in range(count):
            if queues:
                options["queue"] = f"{app.conf.task_default_queue}-{number % queues}"
            if variants:
                called = app.tasks[f"benchapp.noop_{number % variants}"]
            called.apply_async(args, producer=producer, **options)
        if end:
            getattr(benchapp, mark).apply_async((end,), producer=producer)


def naps(log: str, lengths: list[float]) -> None:
    """Call a task that sleeps, for each length."""
    for seconds in lengths:
        benchapp.nap.delay(seconds, log)


def delay_loop(seconds: float) -> float:
    """Return messages per second of a ``delay()`` loop."""
    delay = benchapp.noop.delay
    for _ in range(50):
        delay()
    count = 0
    started = time.perf_counter()
    until = started + seconds
    while time.perf_counter() < until:
        delay()
        count += 1
    return count / (time.perf_counter() - started)


def group_publish(count: int) -> float:
    """Return messages per second of sending a group, building it included."""
    from importlib import import_module

    group = import_module(app.__class__.__module__.partition(".")[0]).group
    noop = benchapp.noop
    group(noop.s() for _ in range(10)).apply_async()
    started = time.perf_counter()
    group(noop.s() for _ in range(count)).apply_async()
    return count / (time.perf_counter() - started)


def bulk_publish(count: int) -> float:
    """Return messages per second of one bulk call."""
    benchapp.take.map_async(range(10))
    started = time.perf_counter()
    benchapp.take.map_async(range(count))
    return count / (time.perf_counter() - started)


def roundtrips(count: int) -> dict[str, float]:
    """Return p50 and p99 of ``delay().get()`` in milliseconds."""
    add = benchapp.add
    for _ in range(30):
        add.delay(1, 2).get(timeout=PATIENCE)
    times = []
    for _ in range(count):
        started = time.perf_counter()
        add.delay(1, 2).get(timeout=PATIENCE)
        times.append((time.perf_counter() - started) * 1000)
    return {"p50": statistics.median(times), "p99": statistics.quantiles(times, n=100)[98]}


def awaited_roundtrips(count: int) -> dict[str, float]:
    """Return p50 in milliseconds of adelay() to its awaited result, and of delay().get()."""
    import asyncio

    async def all_of_them() -> list[float]:
        times = []
        for _ in range(count):
            started = time.perf_counter()
            await (await benchapp.add.adelay(1, 2)).aget(timeout=PATIENCE)
            times.append((time.perf_counter() - started) * 1000)
        return times

    blocking = roundtrips(count)["p50"]
    return {"p50": statistics.median(asyncio.run(all_of_them())), "blocking": blocking}


def dispatches(group_size: int, rounds: int) -> dict[str, float]:
    """Return milliseconds of building and sending a group and a chord with a header as large."""
    from importlib import import_module

    package = import_module(app.__class__.__module__.partition(".")[0])
    add, total = benchapp.add, benchapp.total
    calls = {
        "group": lambda: package.group(add.s(i, i) for i in range(group_size)),
        "chord": lambda: package.chord([add.s(i, i) for i in range(group_size)], total.s()),
    }
    taken = {}
    for name, build in calls.items():
        times = []
        for _ in range(rounds):
            started = time.perf_counter()
            build().apply_async()
            times.append((time.perf_counter() - started) * 1000)
        taken[name] = statistics.median(times)
    return taken


def workflows(group_size: int, chain_length: int, chord_size: int) -> dict[str, float]:
    """Return milliseconds from calling to the last result of a group, a chain and a chord."""
    from importlib import import_module

    package = import_module(app.__class__.__module__.partition(".")[0])
    add, total = benchapp.add, benchapp.total
    steps = (add.s(1) for _ in range(chain_length - 1))
    calls = {
        "group": lambda: package.group(add.s(i, i) for i in range(group_size)),
        "chain": lambda: package.chain(add.s(1, 1), *steps),
        "chord": lambda: package.chord([add.s(i, i) for i in range(chord_size)], total.s()),
    }
    taken = {}
    for name, build in calls.items():
        started = time.perf_counter()
        build().apply_async().get(timeout=PATIENCE)
        taken[name] = (time.perf_counter() - started) * 1000
    return taken


def left() -> int:
    """Return the number of messages that wait in the queue."""
    with app.connection_for_read() as connection:
        queue = connection.default_channel.queue_declare(app.conf.task_default_queue, passive=True)
        return queue.message_count


def delete_queue() -> None:
    """Delete the queue with what is in it."""
    with app.connection_for_write() as connection:
        connection.default_channel.queue_delete(app.conf.task_default_queue)


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
