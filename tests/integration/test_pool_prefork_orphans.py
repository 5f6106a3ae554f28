"""Children of the prefork pool whose main process is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

#: A main process that fills the socket of its only child with tasks, then is killed.
PROGRAM = """
import os, signal, sys, time
from taskq.concurrency.prefork import TaskPool
from tests.unit.concurrency.pool_support import EXECUTOR, RecordingJob, run, turn_until

log, early = sys.argv[1], sys.argv[2] == "early"
pool = TaskPool(1, executor=EXECUTOR, start_method=sys.argv[3])
pool.start()
# Teaches it that the task is short, so that several are written ahead.
run(pool, *[RecordingJob("append", (log, "warm")) for _ in range(30)])
jobs = [RecordingJob("append", (log, f"<{n}>", 0.3), early_ack=early) for n in range(4)]
for job in jobs:
    pool.submit(job)
turn_until(pool, lambda: jobs[-1].calls == ["dispatched"])
while "<0>" not in open(log).read():
    time.sleep(0.01)
print(pool.info["processes"][0], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # An orphan that nobody waits for stays as a zombie.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(pid: int, timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while alive(pid):
        assert time.monotonic() < deadline, f"{pid} is still there"
        time.sleep(0.02)


@pytest.mark.parametrize("start_method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize(
    ("acknowledgement", "expected"),
    [
        # Acknowledged: nobody else will ever run them.
        ("early", "<0>\n<1>\n<2>\n<3>\n"),
        # The broker delivers the others again; the one that runs is finished.
        ("late", "<0>\n"),
    ],
)
def test_when_the_main_process_is_killed(
    tmp_path: Path, acknowledgement: str, expected: str, start_method: str
) -> None:
    log = tmp_path / "log"
    main = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(log), acknowledgement, start_method],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert main.returncode == -signal.SIGKILL
    wait_until_gone(int(main.stdout))
    assert log.read_text().replace("warm\n", "") == expected


def test_without_sockets_that_tell_of_the_end(tmp_path: Path) -> None:
    """As on macOS, where children have to look for themselves."""
    log = tmp_path / "log"
    patch = """
    import socket
    from taskq.concurrency.prefork import channel
    channel.PAIR_TYPE, channel.ORPHAN_CHECK = socket.SOCK_DGRAM, 0.2
    """
    main = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(patch) + PROGRAM, str(log), "early", "fork"],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert main.returncode == -signal.SIGKILL
    wait_until_gone(int(main.stdout))
    assert log.read_text().replace("warm\n", "") == "<0>\n<1>\n<2>\n<3>\n"


def test_idle_children_end_with_the_main_process() -> None:
    program = """
    import os, signal
    from taskq.concurrency.prefork import TaskPool
    from tests.unit.concurrency.pool_support import EXECUTOR, turn_until
    pool = TaskPool(3, executor=EXECUTOR)
    pool.start()
    turn_until(pool, lambda: pool.free_slots() == 3)
    print(*pool.info["processes"], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    """
    main = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    pids = [int(pid) for pid in main.stdout.split()]
    assert len(pids) == 3
    for pid in pids:
        wait_until_gone(pid)
