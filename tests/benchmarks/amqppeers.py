"""Other queues of coroutines on RabbitMQ: naps of 10 ms in one process, beside taskq and Celery.

    python -m tests.benchmarks.amqppeers [AMQP_URL]

Each is installed into a folder of its own, in `BENCH_PEERS` if that is given, and left out where
that fails. As a script with a command it is what those folders are used by: fill, or work.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

#: Peer -> what is installed for it.
REQUIREMENTS = {
    "repid": ["repid[amqp]<2", "uvloop"],  # later ones need RabbitMQ 4
    "taskiq": ["taskiq", "taskiq-aio-pika", "uvloop"],
}
COUNT = 4_000
NAP = 0.01
IN_FLIGHT = 500
#: Seconds that anything may take.
PATIENCE = 120.0
ROUNDS = 3


async def nap(*_: Any) -> None:
    """Wait as long as the tasks of `coroutines.drain` do."""
    await asyncio.sleep(NAP)


async def mark(path: str) -> None:
    """Write down the time."""
    unfinished = Path(f"{path}.new")
    unfinished.write_text(json.dumps(time.monotonic()))
    unfinished.rename(path)


# -- the peers


async def repid(command: str, url: str, queue: str, paths: list[str]) -> None:
    """Fill the queue, or work."""
    from repid import Connection, Job, Queue, RabbitMessageBroker, Repid, Router, Worker

    app = Repid(Connection(RabbitMessageBroker(url)))
    router = Router()

    async def actor_nap() -> None:
        await nap()

    async def actor_mark(path: str) -> None:
        await mark(path)

    for name, actor in {"nap": actor_nap, "mark": actor_mark}.items():
        # It wants classes where this module has text.
        actor.__annotations__ = {"path": str} if name == "mark" else {}
        router.actor(queue=queue, name=name)(actor)

    async with app.magic():
        target = Queue(queue)
        await target.declare()
        if command == "work":
            await Worker(routers=[router], tasks_limit=IN_FLIGHT).run()
            return
        await Job("mark", queue=target, args={"path": paths[0]}).enqueue()
        for _ in range(COUNT):
            await Job("nap", queue=target).enqueue()
        await Job("mark", queue=target, args={"path": paths[1]}).enqueue()


async def taskiq(command: str, url: str, queue: str, paths: list[str]) -> None:
    """Fill the queue, or work."""
    from taskiq.api import run_receiver_task
    from taskiq_aio_pika import AioPikaBroker, Queue

    broker = AioPikaBroker(url, qos=IN_FLIGHT, task_queues=[Queue(name=queue)])
    send_nap = broker.task("nap")(nap).kiq
    send_mark = broker.task("mark")(mark).kiq
    if command == "work":
        broker.is_worker_process = True
        await broker.startup()
        await run_receiver_task(broker, max_async_tasks=IN_FLIGHT)
        return
    await broker.startup()
    await send_mark(paths[0])
    for _ in range(COUNT):
        await send_nap()
    await send_mark(paths[1])
    await broker.shutdown()


# -- measuring them


def rate(peer: str, url: str, folder: Path) -> float:
    """Return tasks per second of one process of a peer that finds a full queue."""
    queue = f"bench-{peer}-{os.getpid()}-{time.monotonic_ns()}"
    try:
        with tempfile.TemporaryDirectory() as directory:
            paths = [f"{directory}/begin", f"{directory}/end"]
            environment = {**os.environ, "PYTHONPATH": str(folder / peer)}
            command = [sys.executable, __file__, peer]
            arguments = [url, queue, *paths]
            subprocess.run(
                [*command, "fill", *arguments], env=environment, check=True, timeout=PATIENCE
            )
            worker = subprocess.Popen([*command, "work", *arguments], env=environment)
            try:
                begun, ended = (_awaited(path, worker) for path in paths)
            finally:
                worker.send_signal(signal.SIGKILL)
                worker.wait()
    finally:
        _delete(url, queue)
    return COUNT / (ended - begun)


def _delete(url: str, queue: str) -> None:
    from kombu import Connection

    with Connection(url) as connection:
        for name in (queue, f"{queue}:delayed", f"{queue}:dead", f"{queue}.dead_letter"):
            connection.default_channel.queue_delete(name)


def _awaited(path: str, worker: subprocess.Popen[bytes]) -> float:
    deadline = time.monotonic() + PATIENCE
    while not os.path.exists(path):
        if worker.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the worker did not get to {path}")
        time.sleep(0.01)
    return float(json.loads(Path(path).read_text()))


def main(url: str = "amqp://guest:guest@localhost:5672//") -> None:
    """Measure all, in turn, and print medians."""
    from statistics import median

    from tests.benchmarks import coroutines
    from tests.benchmarks.sides import side

    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as temporary:
        folder = Path(os.environ.get("BENCH_PEERS") or temporary)
        peers = [peer for peer in REQUIREMENTS if _installed(peer, folder)]
        for _ in range(ROUNDS):
            for package in ("taskq", "celery"):
                with side(package, "amqp", results=False, redis="", amqp=url) as it:
                    rates.setdefault(package, []).append(coroutines.drain(it)["rate"])
            for peer in list(peers):
                try:
                    rates.setdefault(peer, []).append(rate(peer, url, folder))
                except Exception as exc:
                    peers.remove(peer)
                    print(f"{peer} is left out: {exc!r}", file=sys.stderr)
    for package, found in rates.items():
        if found:
            print(f"{package:10} {median(found):10,.0f} naps/s, RabbitMQ, one process")


def _installed(peer: str, folder: Path) -> bool:
    target = folder / peer
    if not target.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target)]
        done = subprocess.run([*command, *REQUIREMENTS[peer]], capture_output=True, text=True)
        if done.returncode:
            print(f"{peer} is left out:\n{done.stderr[-2000:]}", file=sys.stderr)
            return False
    return True


if __name__ == "__main__":
    if len(sys.argv) > 2:
        peer_name, verb, broker_url, queue_name, *mark_paths = sys.argv[1:]
        asyncio.run({"repid": repid, "taskiq": taskiq}[peer_name](
            verb, broker_url, queue_name, mark_paths
        ))  # fmt: skip
    else:
        main(*sys.argv[1:])
