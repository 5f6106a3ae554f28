"""The gevent and eventlet pools, each in a process that is patched for it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import Any

import pytest

PATCH = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}

PROGRAM = """
import json, sys, time
from kombu.asynchronous import Hub
from taskq.concurrency import get_implementation
from tests.unit.concurrency.pool_support import EXECUTOR, RecordingJob, run, turn_until, wait

pool = get_implementation(sys.argv[1])(50, executor=EXECUTOR)
pool.start()
result = {"green": pool.is_green, "limit": pool.num_processes}

started = time.monotonic()
sleepers = [RecordingJob("sleep", (0.2,)) for _ in range(50)]
run(pool, *sleepers)
result["together"] = time.monotonic() - started < 2
result["calls"] = sleepers[0].calls

soft = RecordingJob("wait_for_soft_limit", (20.0,), soft_limit=0.1)
hard = RecordingJob("sleep", (20.0,), hard_limit=0.1)
failing, leaving = RecordingJob("fail", ("no",)), RecordingJob("system_exit", (3,))
run(pool, soft, hard, failing, leaving)
result["soft"] = [soft.value, soft.calls]
result["hard"] = hard.calls
result["error"] = str(failing.error)
result["exit"] = str(leaving.lost)

victim, other = RecordingJob("sleep", (20.0,)), RecordingJob("sleep", (0.3,))
pool.submit(victim)
pool.submit(other)
turn_until(pool, lambda: victim.pids and other.pids)
result["running"] = len(pool.jobs())
pool.terminate_job(victim.pids[0], 15)
wait(pool, victim, other)
result["killed"] = [repr(victim.lost), other.outcome.kind]

call = pool.apply_async(divmod, (7, 2), callback=lambda value: result.update(call=value))
pool.flush()

hub = Hub()
pool.register_with_event_loop(hub)
jobs = [RecordingJob("add", (1, n)) for n in range(200)]
for job in jobs:
    pool.submit(job)
while not all(job.done for job in jobs):
    hub.run_once()
result["hub"] = [job.value for job in jobs] == list(range(1, 201))
pool.stop()
print(json.dumps(result))
"""


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_green_pools(library: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    process = subprocess.run(
        [sys.executable, "-c", PATCH[library] + PROGRAM, library],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    result: dict[str, Any] = json.loads(process.stdout)
    assert result == {
        "green": True,
        "limit": 50,
        "together": True,
        "calls": ["dispatched", "started", "outcome"],
        "soft": ["soft", ["dispatched", "started", "soft limit 0.1", "outcome"]],
        "hard": ["dispatched", "started", "hard limit 0.1"],
        "error": "no",
        "exit": "Worker exited prematurely: exitcode 3.",
        "running": 2,
        "killed": ["Terminated(15)", 0],
        "call": [3, 1],
        "hub": True,
    }


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_a_missing_library_is_named(library: str) -> None:
    program = f"""
import sys
sys.modules[{library!r}] = None
from taskq.concurrency import get_implementation
get_implementation({library!r})
"""
    process = subprocess.run(
        [sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, check=False
    )
    assert f"pip install taskq[{library}]" in process.stderr
