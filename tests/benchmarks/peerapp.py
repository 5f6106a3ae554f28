"""The same two tasks for each of the other task queues; `PEER` says for which, `PEER_URL` where.

    python -c "import peerapp; peerapp.main()" fill COUNT BEGIN END | publish SECONDS

Their workers import this module too.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from benchcpu import group_cpu

PEER, URL = os.environ["PEER"], os.environ["PEER_URL"]
#: Seconds that a coroutine task waits, and how many of them a process has in flight.
NAP = float(os.environ.get("PEER_NAP", "0"))
IN_FLIGHT = int(os.environ.get("PEER_IN_FLIGHT", "100"))


def nothing():
    """Do nothing."""


def mark(path):
    """Write down the time and the processor time, as `benchapp.mark` does."""
    text = json.dumps({"at": time.monotonic(), "cpu": group_cpu(os.getpgrp())})
    Path(f"{path}.new").write_text(text)
    Path(f"{path}.new").rename(path)


async def anothing(*context):
    """Do nothing, or wait."""
    if NAP:
        await asyncio.sleep(NAP)


async def amark(*args):
    """As `mark`; some pass a context first."""
    mark(args[-1])


async def no_setup():
    """Nothing is to be opened."""


setup = no_setup

if PEER == "dramatiq":
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker

    broker = RedisBroker(url=URL)
    dramatiq.set_broker(broker)
    send_nothing = dramatiq.actor(nothing, max_retries=0).send
    send_mark = dramatiq.actor(mark, max_retries=0).send
elif PEER == "huey":
    from huey import RedisHuey

    huey = RedisHuey("bench", url=URL, results=False)
    send_nothing, send_mark = huey.task()(nothing), huey.task()(mark)
elif PEER == "taskiq":
    from taskiq_redis import ListQueueBroker

    broker = ListQueueBroker(URL)
    setup = broker.startup
    send_nothing = broker.task("nothing")(anothing).kiq
    send_mark = broker.task("mark")(amark).kiq
elif PEER == "saq":
    from saq import Queue

    queue = Queue.from_url(URL)

    async def saq_nothing(ctx):
        """As `anothing`."""
        await anothing()

    async def saq_mark(ctx, *, path):
        """As `mark`."""
        mark(path)

    settings = {
        "queue": queue,
        "functions": [("nothing", saq_nothing), ("mark", saq_mark)],
        "concurrency": IN_FLIGHT,
    }
    setup = queue.connect

    async def send_nothing():
        """Send a task."""
        await queue.enqueue("nothing")

    async def send_mark(path):
        """Send a mark."""
        await queue.enqueue("mark", path=path)
elif PEER == "arq":
    from arq import create_pool
    from arq.connections import RedisSettings
    from arq.worker import func

    class WorkerSettings:
        """What arq's worker runs."""

        functions = [
            func(anothing, name="nothing", keep_result=0),
            func(amark, name="mark", keep_result=0),
        ]
        redis_settings = RedisSettings.from_dsn(URL)
        max_jobs = IN_FLIGHT
        poll_delay = 0.01

    pool = None

    async def setup():
        """Connect."""
        global pool
        pool = await create_pool(RedisSettings.from_dsn(URL))

    async def send_nothing():
        """Send a task."""
        await pool.enqueue_job("nothing")

    async def send_mark(path):
        """Send a mark."""
        await pool.enqueue_job("mark", path)
elif PEER == "rq":
    from redis import Redis
    from rq import Queue

    queue = Queue("bench", connection=Redis.from_url(URL))

    def send_nothing():
        """Send a task."""
        queue.enqueue("peerapp.nothing", result_ttl=0)

    def send_mark(path):
        """Send a mark."""
        queue.enqueue("peerapp.mark", path, result_ttl=0)


async def _call(function, *args):
    sent = function(*args)
    if asyncio.iscoroutine(sent):
        await sent


async def fill(count, begin, end):
    """Put tasks into the queue, between two marks."""
    await setup()
    await _call(send_mark, begin)
    for _ in range(int(count)):
        await _call(send_nothing)
    await _call(send_mark, end)


async def publish(seconds):
    """Return messages per second of one call after the other."""
    await setup()
    await _call(send_nothing)
    count, started = 0, time.perf_counter()
    while time.perf_counter() < started + float(seconds):
        sent = send_nothing()
        if asyncio.iscoroutine(sent):
            await sent
        count += 1
    return count / (time.perf_counter() - started)


def main():
    """Run a function of this module, as the module that workers know it as; print JSON."""
    print(json.dumps(asyncio.run(globals()[sys.argv[1]](*sys.argv[2:]))))
