"""Starts a worker, sends it four tasks, prints what comes back, and stops the worker.

Run it with the Python that taskq is installed for: `python examples/quickstart/run.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LOG = HERE / "quickstart.log"
START = time.monotonic()

#: Seconds that a result may take before the example gives up.
PATIENCE = 30


def main() -> None:
    """Run the example."""
    os.chdir(HERE)
    for leftover in HERE.glob("quickstart.db*"):
        leftover.unlink()
    sys.path.insert(0, str(HERE))
    from tasks import add, convert, divide

    say("worker", "starts")
    with worker():
        calls = {
            "add.delay(2, 2)": add.delay(2, 2),
            "add with countdown=3": add.apply_async((20, 22), countdown=3),
            "divide.delay(1, 0)": divide.delay(1, 0),
            "convert.delay(5)": convert.delay(5),
        }
        say("sent", f"{len(calls)} tasks")
        with ThreadPoolExecutor() as waiting:
            list(waiting.map(show, calls, calls.values()))


@contextmanager
def worker() -> Iterator[None]:
    """Have a worker with two processes while the block runs; what it logs goes to a file."""
    command = [sys.executable, "-m", "taskq", "-A", "tasks", "worker"]
    with LOG.open("w") as log:
        process = subprocess.Popen(
            [*command, "--concurrency", "2", "--loglevel", "INFO"],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)
        say("worker", f"ended with exit code {process.returncode}; its log is {LOG.name}")


def show(call: str, result: Any) -> None:
    """Wait for *result* and print it; print each report of progress on the way."""

    def progress(meta: dict[str, Any]) -> None:
        if meta["status"] == "PROGRESS":
            say(call, "{done} of {of} pages".format(**meta["result"]))

    value = result.get(timeout=PATIENCE, propagate=False, on_message=progress)
    say(call, f"{result.state}: {value!r}")


def say(who: str, what: str) -> None:
    """Print a line with the time since the start."""
    print(f"{time.monotonic() - START:5.1f} s  {who:22} {what}", flush=True)


if __name__ == "__main__":
    main()
