"""Flame graphs of a worker and of ``delay()``: where the time goes.

    python -m tests.benchmarks.flames docs/pictures

Needs py-spy (``pip install py-spy``), and to be allowed to trace processes.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

from tests import services
from tests.benchmarks.sides import HERE, Side, side

#: Samples per second, and seconds.
RATE, SECONDS = 500, 5
#: Seconds that a client may take to start, which is not of interest.
START = 1.5


def record(pid: int, picture: Path, *options: str) -> subprocess.Popen[bytes]:
    """Begin to draw what a process does, idle threads left out."""
    return subprocess.Popen(
        [
            *("py-spy", "record", "--pid", str(pid), "--output", str(picture)),
            *("--rate", str(RATE), "--duration", str(SECONDS), "--function", *options),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def draw_worker(it: Side, picture: Path, task: str, args: list[int] | None) -> None:
    """Draw a worker with two processes that works off a queue."""
    it.fill(task, 100_000, begin=it.path("begin"), args=args)
    with it.workers("-c", "2") as group:
        it.await_mark("begin")
        record(group, picture, "--subprocesses").wait()


def draw_delay(it: Side, picture: Path) -> None:
    """Draw a process that calls ``delay()``."""
    arguments = json.dumps({"seconds": SECONDS + 2 * START})
    client = subprocess.Popen(
        [sys.executable, str(HERE / "benchclient.py"), "delay_loop", arguments],
        env=it.environment,
        stdout=subprocess.DEVNULL,
    )
    time.sleep(START)
    record(client.pid, picture).wait()
    client.wait()


def tidy(picture: Path, title: str) -> None:
    """Give a picture its title, and leave out where this machine keeps things."""
    text = picture.read_text()
    text = re.sub(r"py-spy record[^<]*", title, text)
    # A process is called by its command, which may be cut off and have quotes of its own.
    text = re.sub(r"<title>process[^<]*? \((?=[\d,]+ samples)", "<title>process (", text)
    text = re.sub(r">process[^<]*</text>", ">process</text>", text)
    text = re.sub(r"/[^ <\"]*/(site-packages|python3\.\d+)/", "", text)
    picture.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for redis in services.redis():
        for name, title, task, args in (
            ("flame-worker.svg", "worker -c 2, tasks that do nothing", "noop", None),
            ("flame-results.svg", "worker -c 2, tasks with results", "add", [1, 2]),
        ):
            with side("taskq", "redis", results=task == "add", redis=redis, amqp="") as it:
                draw_worker(it, folder / name, task, args)
                tidy(folder / name, title)
        with side("taskq", "redis", results=False, redis=redis, amqp="") as it:
            draw_delay(it, folder / "flame-delay.svg")
            tidy(folder / "flame-delay.svg", "delay() in a loop")


if __name__ == "__main__":
    main()
