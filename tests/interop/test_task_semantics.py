"""The same tasks and the same calls, in Celery and in taskq: states, results, errors, log lines.

What differs on purpose is listed here with its reason; anything else that differs fails.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.project import ROOT, Project, wait_until
from tests.interop import task_cases, worker_cases

# The first test of a pool waits for all cases, in both packages.
pytestmark = pytest.mark.timeout(300)

PACKAGES = ("celery", "taskq")

#: Path in what a case of `task_cases` saw -> why ours is another.
KNOWN_IN_PROCESS = {
    r"names\[3\]": "the proxy of a task has the module of its function",
    r"decorator_errors\[0\]": "the message shows the value",
    r"requests\[[34]\]": "eager requests know the call's options, not only some of them",
    r"handler_order\[\d\].*": "after_return gets the ExceptionInfo, which Celery documents",
    r"retry_exceptions.*|retry_direct_and_eager.*\[3\]|retry_direct_and_eager\[3[45]\].*":
        "Retry.args has the message where Celery has the exception itself",
    r"messages_sent\[(13|21|25|29|93)\].*(eta|expires)":
        "naive times are sent with the zone they are meant in; others depend on the clock",
    r"messages_sent\[(96|104|112)\].*": "the error names the argument, or the value",
    r"always_eager\[(5|29)\].*": "representation of a request",
    r"log_lines.*": "eager tasks are logged under their shadow too; ids of cyclic lists",
    r"exceptions_stored\[[357]\].*": "the exception's own class instead of a wrapper",
    r"exceptions_stored\[\d+\].*": "groups come back as groups",
}  # fmt: skip

#: The same for `worker_cases`.
KNOWN_IN_WORKER = {
    r"requests\[2\]\.(eta|expires)": "the clock",
    r"requests\[\d\]\.properties": "order; what is in the headers isn't repeated in the properties",
    r"failures\[[4568]\].*": "the exception's own class, and groups as groups",
    r"children\[2\].*": "text of the error",
}

#: Cases whose log lines depend on time, or have the differences above in them.
OTHER_LOG = {
    "requests", "leaving", "limits", "children", "revokes", "expiry", "etas", "retries"
}  # fmt: skip


def differences(path: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield path and values of everything that differs."""
    if one == other:
        return
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from differences(f"{path}.{key}", one.get(key), other.get(key))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from differences(f"{path}[{index}]", left, right)
    else:
        yield path, one, other


def unexpected(known: dict[str, str], name: str, celery: Any, taskq: Any) -> list[Any]:
    """Return the differences nobody has given a reason for."""
    return [
        found
        for found in differences(name, celery, taskq)
        if not any(re.match(pattern, found[0]) for pattern in known)
    ]


@pytest.fixture(scope="module")
def in_process() -> dict[str, Any]:
    """What the cases of `task_cases` saw with each package, in a process of its own."""
    seen = {}
    for package in PACKAGES:
        done = subprocess.run(
            [sys.executable, str(Path(task_cases.__file__)), package],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        seen[package] = json.loads(done.stdout)
    return seen


@pytest.mark.parametrize("name", task_cases.CASES)
def test_in_one_process(in_process, name):
    celery, taskq = in_process["celery"][name], in_process["taskq"][name]
    assert celery[:1] != ["case failed"] if isinstance(celery, list) else celery
    assert unexpected(KNOWN_IN_PROCESS, name, celery, taskq) == []


def plain(value: Any) -> Any:
    """Return what a case saw without ids, addresses and package names."""
    text = worker_cases.UUID.sub("UUID", json.dumps(value, default=repr))
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    text = re.sub(r"Job: \d+", "Job: N", text)
    text = re.sub(r"q-[0-9a-f]{8}", "QUEUE", text)
    text = re.sub(r"gen\d+@\w+", "ORIGIN", text)
    return json.loads(re.sub(r"\b(taskq|celery)\.(?=[a-z_.]+)", "PKG.", text))


@pytest.fixture(scope="module")
def in_prefork(tmp_path_factory, redis_server) -> dict[str, Any]:
    """What the cases of `worker_cases` saw with processes, and the log lines they left."""
    return seen_with("prefork", tmp_path_factory, redis_server)


@pytest.fixture(scope="module")
def in_threads(tmp_path_factory, redis_server) -> dict[str, Any]:
    """The same with threads."""
    return seen_with("threads", tmp_path_factory, redis_server)


def seen_with(pool, tmp_path_factory, redis_server) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for package in PACKAGES:
        project = Project(
            tmp_path_factory.mktemp(package),
            worker_cases.CODE,
            broker=redis_server,
            backend=redis_server,
        )
        module = project.as_package(package, "wproj")
        try:
            with project.worker(
                "-c", "2", "-P", pool, "-E", command=package, app="wproj"
            ) as worker:
                seen[package] = {
                    name: _saw(case, module, worker)
                    for name, case in worker_cases.CASES.items()
                    if pool == "prefork" or name not in NEEDS_PROCESSES
                }
        finally:
            project.close()
            module.app.close()
            sys.modules.pop("wproj", None)
    return seen


#: Cases that end or limit the process of a task.
NEEDS_PROCESSES = {"leaving", "limits", "revokes"}


def _saw(case: Any, module: Any, worker: Any) -> Any:
    start = len(worker.log)
    module.worker = worker
    saw = plain(case(module))
    _settle(worker, start)
    return saw, Counter(worker_cases.normal_lines(worker.log[start:]))


RECEIVED = re.compile(r"Task [\w.]+\[([\w-]+)\] received")


def _settle(worker: Any, start: int) -> None:
    """Wait until the log says of every received call how it ended.

    A result is there before the last lines about it are: those of its handlers come right after.
    Calls whose process was lost, and those past their hard limit, end with an error of the main
    process, which tells no id.
    """

    def settled() -> bool:
        log = worker.log[start:]
        received = Counter(RECEIVED.findall(log))
        lost = sum(log.count(task_id) <= times for task_id, times in received.items())
        return log.count("Task handler raised error") >= lost + log.count("Hard time limit")

    wait_until(settled, message="calls without an end in the log")
    time.sleep(0.3)


@pytest.mark.parametrize(
    ("pool", "name"),
    [
        (pool, name)
        for pool in ("prefork", "threads")
        for name in worker_cases.CASES
        if pool == "prefork" or name not in NEEDS_PROCESSES
    ],
)
def test_in_a_worker(request, pool, name):
    in_worker = request.getfixturevalue(f"in_{pool}")
    (celery, celery_log), (taskq, taskq_log) = in_worker["celery"][name], in_worker["taskq"][name]
    assert unexpected(KNOWN_IN_WORKER, name, celery, taskq) == []
    if name not in OTHER_LOG:
        assert taskq_log == celery_log
