"""What tests of result stores share: a project whose workers use one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.project import Project

CODE = """
from taskq import chord, group

@app.task(name="t.add")
def add(x, y):
    return x + y

@app.task(name="t.total")
def total(numbers):
    return sum(numbers)

@app.task(name="t.fail")
def fail():
    raise ValueError("on purpose")
"""


def check_workers(
    make_project: Callable[..., Project], broker: str, backend: str, conf: dict[str, Any]
) -> None:
    """Have a worker store results, those of failures and of workflows among them."""
    conf = {**conf, "result_chord_retry_interval": 0.2}
    project = make_project(CODE, broker=broker, backend=backend, conf=conf)
    proj = project.proj
    with project.worker("-c", "2"):
        assert proj.add.delay(2, 2).get(timeout=30) == 4
        with pytest.raises(ValueError, match="on purpose"):
            proj.fail.delay().get(timeout=30)
        header = [proj.add.s(i, i) for i in range(5)]
        assert proj.group(header).delay().get(timeout=30) == [0, 2, 4, 6, 8]
        assert proj.chord(header, proj.total.s()).delay().get(timeout=30) == 20
        chain = proj.add.s(1, 1) | proj.add.s(1)
        assert chain.delay().get(timeout=30) == 3
