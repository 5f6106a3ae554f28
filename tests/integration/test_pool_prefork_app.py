"""Children of the prefork pool that belong to an app."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

MODULE = """
import os
from taskq import TaskQ, signals

app = TaskQ("proj", broker="memory://", backend="cache+memory://")
initialised = []

@signals.worker_process_init.connect
def on_init(**kwargs):
    initialised.append(os.getpid())

@signals.worker_process_shutdown.connect
def on_shutdown(pid, exitcode, **kwargs):
    with open(os.environ["SHUTDOWN_LOG"], "a") as file:
        file.write(f"{pid} {exitcode}\\n")

@app.task
def add(x, y):
    return x + y

@app.task(bind=True)
def facts(self):
    import billiard
    with open("/proc/self/cmdline", "rb") as file:
        title = file.read().rstrip(b"\\0").decode()
    return {
        "initialised": initialised == [os.getpid()],
        "hostname": self.request.hostname,
        "name": billiard.current_process().name,
        "title": title,
        "spawned": "FORKED_BY_MULTIPROCESSING" in os.environ,
    }

@app.task(throws=(ValueError,))
def fail():
    raise ValueError("no")
"""

MAIN = """
import json, sys, uuid
from taskq.concurrency.prefork import TaskPool
from tests.unit.concurrency.pool_support import RecordingJob, run
from {module} import app

class Job(RecordingJob):
    @property
    def payload(self):
        headers = {{"id": self.id, "task": self.name, "argsrepr": "", "kwargsrepr": ""}}
        body = json.dumps([list(self.args), {{}}, None]).encode()
        return (self.name, self.id, headers, body, "application/json", "utf-8", {{}}, {{}})

if __name__ == "__main__":
    pool = TaskPool(1, app=app, initargs=(app, "celery@here"), start_method=sys.argv[1])
    pool.start()
    add, facts, fail = Job("{tasks}.add", (2, 2)), Job("{tasks}.facts"), Job("{tasks}.fail")
    run(pool, add, facts, fail)
    result = {{
        "add": add.value, "facts": facts.value, "fail": repr(fail.error),
        "pid": add.pids[0],
    }}
    pool.stop()
    print(json.dumps(result))
"""


def run_main(directory: Path, start_method: str, *, in_main: bool) -> dict[str, Any]:
    if in_main:
        # The app lives in the script itself, which a spawned child has to run again.
        source = MODULE + MAIN.replace("from {module} import app", "").format(tasks="__main__")
        source = source.replace('"__main__.', '"proj.')
    else:
        (directory / "proj_tasks.py").write_text(MODULE)
        source = MAIN.format(module="proj_tasks", tasks="proj_tasks")
    script = directory / "main.py"
    script.write_text(textwrap.dedent(source))
    log = directory / "shutdown"
    process = subprocess.run(
        [sys.executable, str(script), start_method],
        cwd=directory,
        env={"PYTHONPATH": f"{Path.cwd()}:{directory}", "SHUTDOWN_LOG": str(log)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    result: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    assert log.read_text() == f"{result['pid']} 0\n"
    return result


@pytest.mark.parametrize("in_main", [False, True], ids=["module", "main"])
@pytest.mark.parametrize(
    ("start_method", "name"),
    [
        ("fork", "ForkPoolWorker-1"),
        ("spawn", "SpawnPoolWorker-1"),
        ("forkserver", "ForkServerPoolWorker-1"),
    ],
)
def test_runs_the_tasks_of_an_app(
    tmp_path: Path, start_method: str, name: str, in_main: bool
) -> None:
    result = run_main(tmp_path, start_method, in_main=in_main)
    assert result["add"] == 4
    assert result["fail"] == "ValueError('no')"
    facts = result["facts"]
    assert facts["initialised"]
    assert facts["hostname"] == "celery@here"
    assert facts["name"] == name
    assert facts["spawned"] is (start_method != "fork")
