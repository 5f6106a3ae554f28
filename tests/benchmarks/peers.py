"""Other task queues on Redis, at the settings that are best for tasks that do nothing.

Each runs two processes, as taskq and Celery do beside them. Each is installed into a folder of its
own, which only it sees: some bring hiredis along, which would change what Celery is compared at.
`BENCH_PEERS` names a folder where they stay for the next time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
#: Peer -> what is installed for it, besides what makes it faster.
REQUIREMENTS = {
    "dramatiq": ["dramatiq[redis]"],
    "huey": ["huey", "redis"],
    "taskiq": ["taskiq", "taskiq-redis"],
    "saq": ["saq[redis]"],
    "arq": ["arq"],
    "rq": ["rq"],
}
FASTER = ("hiredis", "uvloop")
#: Tasks of a drain, for those that do fewer than some thousand in a second.
COUNTS = {"rq": 500, "arq": 1_500, "saq": 1_500}


@contextmanager
def installed() -> Iterator[Path]:
    """Yield a folder with a folder for each peer that could be installed."""
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as temporary:
        folder = Path(os.environ.get("BENCH_PEERS") or temporary)
        for peer, requirements in REQUIREMENTS.items():
            if not (folder / peer).exists():
                _install(peer, requirements, folder / peer)
        yield folder


def _install(peer: str, requirements: list[str], target: Path) -> None:
    unfinished = target.with_name(f"{peer}-unfinished")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(unfinished)]
    done = subprocess.run([*command, *requirements, *FASTER], capture_output=True, text=True)
    if done.returncode:
        print(f"{peer} is left out:\n{done.stderr[-2000:]}", file=sys.stderr, flush=True)
    else:
        unfinished.rename(target)


def measurements(redis: str, folder: Path) -> list[Measurement]:
    """Return what is measured of all that are installed in a folder, beside taskq and Celery."""
    peers = tuple(peer for peer in WORKERS if (folder / peer).exists())
    packages = ("taskq", "celery", *peers)

    def drain(package: str) -> Figures:
        with side(package, "redis", results=False, redis=redis, amqp="") as it:
            return drains.drain(it) if package not in WORKERS else _drain(it, folder)

    def publish(package: str) -> Figures:
        with side(package, "redis", results=False, redis=redis, amqp="") as it:
            if package not in WORKERS:
                return publishing.delay(it)
            return {"rate": _run(it, folder, "publish", str(publishing.LOOP))}

    def naps(package: str) -> Figures:
        with side(package, "redis", results=False, redis=redis, amqp="") as it:
            if package not in NAPPERS:
                return coroutines.drain(it)
            # saq runs out of connections with more.
            in_flight = "90" if package == "saq" else "500"
            return _drain(
                it, folder, NAPPERS, PEER_NAP=str(coroutines.NAP), PEER_IN_FLIGHT=in_flight
            )

    nappers = ("taskq", "celery", *(peer for peer in peers if peer in NAPPERS))
    return [
        Measurement("peers-drain", drain, (Row("rate", "drain", "tasks/s"),), packages, 3),
        Measurement("peers-publish", publish, (Row("rate", "publish", "messages/s"),), packages, 3),
        Measurement(
            "peers-naps", naps, (Row("rate", "10 ms naps, one process", "tasks/s"),), nappers, 3
        ),
    ]


def _environment(it: Side, folder: Path, **more: str) -> dict[str, str]:
    return {
        **clean_environment(),
        **more,
        "PEER": it.package,
        "PEER_URL": it.broker,
        "PYTHONPATH": os.pathsep.join((str(HERE), str(folder / it.package))),
    }


def _run(it: Side, folder: Path, *arguments: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", "import peerapp; peerapp.main()", *arguments],
        cwd=HERE,
        env=_environment(it, folder),
        check=True,
        stdout=subprocess.PIPE,
        timeout=PATIENCE,
    )
    return json.loads(done.stdout) or 0.0


def _drain(it: Side, folder: Path, workers: Workers = WORKERS, **environment: str) -> Figures:
    count = COUNTS.get(it.package, 4_000)
    _run(it, folder, "fill", str(count), it.path("begin"), it.path("end"))
    with _workers(it, workers, _environment(it, folder, **environment)):
        first, last = it.await_mark("begin"), it.await_mark("end")
    return {"rate": count / (last["at"] - first["at"])}


@contextmanager
def _workers(it: Side, workers: Workers, environment: dict[str, str]) -> Iterator[None]:
    arguments, number = workers[it.package]
    command = [sys.executable, "-m", *(each.format(url=it.broker) for each in arguments)]
    started: list[subprocess.Popen[bytes]] = []
    try:
        with Path(it.path("worker.log")).open("ab") as log:
            for _ in range(number):
                group = started[0].pid if started else 0
                started.append(
                    subprocess.Popen(
                        command, cwd=HERE, env=environment,
                        stdout=log, stderr=log, process_group=group,
                    )
                )  # fmt: skip
        yield
    finally:
        if started:
            os.killpg(started[0].pid, signal.SIGKILL)
        for process in started:
            process.wait()
