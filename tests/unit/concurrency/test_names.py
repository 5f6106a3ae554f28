"""Finding pools by name."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from taskq.concurrency import get_available_pool_names, get_implementation
from taskq.concurrency.prefork import TaskPool as PreforkPool
from taskq.concurrency.solo import TaskPool as SoloPool
from taskq.concurrency.thread import TaskPool as ThreadPool
from taskq.exceptions import ImproperlyConfigured


@pytest.mark.parametrize(
    ("name", "pool"),
    [
        ("prefork", PreforkPool),
        ("processes", PreforkPool),
        ("solo", SoloPool),
        ("threads", ThreadPool),
        ("taskq.concurrency.solo:TaskPool", SoloPool),
        (SoloPool, SoloPool),
    ],
)
def test_names_lead_to_pools(name: object, pool: type) -> None:
    assert get_implementation(name) is pool


@pytest.mark.parametrize("name", ["nope", "no.such.module:Pool", "custom", "os:nope"])
def test_other_names_are_refused_with_what_is_possible(name: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="prefork, eventlet, gevent, solo"):
        get_implementation(name)


@pytest.mark.parametrize("variable", ["TASKQ_CUSTOM_WORKER_POOL", "CELERY_CUSTOM_WORKER_POOL"])
def test_the_environment_names_a_custom_pool(variable: str) -> None:
    program = "from taskq.concurrency import *; print(get_implementation('custom').__module__)"
    output = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, variable: "taskq.concurrency.solo:TaskPool"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert output == "taskq.concurrency.solo\n"
    assert "custom" not in get_available_pool_names()
