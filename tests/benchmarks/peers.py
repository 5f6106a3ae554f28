"""Other task queues on Redis, at the settings that are best for tasks that do nothing.

Each runs two processes, as taskq and Celery do beside them. They are installed with
``pip install dramatiq[redis] huey taskiq taskiq-redis uvloop saq arq rq``. Some of them bring
hiredis along, which would change what Celery is compared at: `BENCH_PEERS` names a folder that
only they see, made with ``pip install --target FOLDER hiredis``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.benchmarks import coroutines, drains, publishing
from tests.benchmarks.rows import Figures, Measurement, Row
from tests.benchmarks.sides import HERE, PATIENCE, Side, clean_environment, side

Workers = dict[str, tuple[list[str], int]]

#: Peer -> its worker's command behind ``python -m``, and how many of them make two processes.
WORKERS: Workers = {
    "dramatiq": (["dramatiq", "peerapp", "--processes", "2", "--threads", "8"], 1),
    "huey": (["huey.bin.huey_consumer", "peerapp.huey", "-k", "process", "-w", "2"], 1),
    "taskiq": (
        ["taskiq", "worker", "peerapp:broker", "-w", "2", "--max-async-tasks", "100",
         "--log-level", "WARNING"],
        1,
    ),
    "saq": (["saq", "peerapp.settings", "--quiet"], 2),
    "arq": (["arq", "peerapp.WorkerSettings"], 2),
    "rq": (
        ["rq.cli", "worker-pool", "bench", "-n", "2", "-w", "rq.worker.SimpleWorker", "-q",
         "--url", "{url}"],
        1,
    ),
}  # fmt: skip
#: The same of those that run coroutines, with one process.
NAPPERS: Workers = {
    "taskiq": (
        ["taskiq", "worker", "peerapp:broker", "-w", "1", "--max-async-tasks", "500",
         "--log-level", "WARNING"],
        1,
    ),
    "saq": (WORKERS["saq"][0], 1),
    "arq": (WORKERS["arq"][0], 1),
}  # fmt: skip
#: Tasks of a drain, for those that do fewer than some thousand in a second.
COUNTS = {"rq": 500, "arq": 1_500, "saq": 1_500}


def measurements(redis: str) -> list[Measurement]:
    """Return what is measured of all that are installed, beside taskq and Celery."""
    peers = tuple(peer for peer in WORKERS if find_spec(peer) is not None)
    packages = ("taskq", "celery", *peers)

    def drain(package: str) -> Figures:
        with side(package, "redis", results=False, redis=redis, amqp="") as it:
            return drains.drain(it) if package not in WORKERS else _drain(it)

    def publish(package: str) -> Figures:
        with side(package, "redis", results=False, redis=redis, amqp="") as it:
            if package not in WORKERS:
                return publishing.delay(it)
            return {"rate": _run(it, "publish", str(publishing.LOOP))}

    def naps(package: str) -> Figures:
        with side(package, "redis", results=False, redis=redis, amqp="") as it:
            if package not in NAPPERS:
                return coroutines.drain(it)
            # saq runs out of connections with more.
            in_flight = "90" if package == "saq" else "500"
            return _drain(it, NAPPERS, PEER_NAP=str(coroutines.NAP), PEER_IN_FLIGHT=in_flight)

    nappers = ("taskq", "celery", *(peer for peer in peers if peer in NAPPERS))
    return [
        Measurement("peers-drain", drain, (Row("rate", "drain", "tasks/s"),), packages, 3),
        Measurement("peers-publish", publish, (Row("rate", "publish", "messages/s"),), packages, 3),
        Measurement(
            "peers-naps", naps, (Row("rate", "10 ms naps, one process", "tasks/s"),), nappers, 3
        ),
    ]


def _environment(it: Side, **more: str) -> dict[str, str]:
    return {
        **clean_environment(),
        **more,
        "PEER": it.package,
        "PEER_URL": it.broker,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(HERE), os.environ.get("BENCH_PEERS")))),
    }


def _run(it: Side, *arguments: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", "import peerapp; peerapp.main()", *arguments],
        cwd=HERE,
        env=_environment(it),
        check=True,
        stdout=subprocess.PIPE,
        timeout=PATIENCE,
    )
    return json.loads(done.stdout) or 0.0


def _drain(it: Side, workers: Workers = WORKERS, **environment: str) -> Figures:
    count = COUNTS.get(it.package, 4_000)
    _run(it, "fill", str(count), it.path("begin"), it.path("end"))
    with _workers(it, workers, **environment):
        first, last = it.await_mark("begin"), it.await_mark("end")
    return {"rate": count / (last["at"] - first["at"])}


@contextmanager
def _workers(it: Side, workers: Workers, **environment: str) -> Iterator[None]:
    arguments, number = workers[it.package]
    command = [sys.executable, "-m", *(each.format(url=it.broker) for each in arguments)]
    started: list[subprocess.Popen[bytes]] = []
    try:
        with Path(it.path("worker.log")).open("ab") as log:
            for _ in range(number):
                group = started[0].pid if started else 0
                started.append(
                    subprocess.Popen(
                        command, cwd=HERE, env=_environment(it, **environment),
                        stdout=log, stderr=log, process_group=group,
                    )
                )  # fmt: skip
        yield
    finally:
        if started:
            os.killpg(started[0].pid, signal.SIGKILL)
        for process in started:
            process.wait()
