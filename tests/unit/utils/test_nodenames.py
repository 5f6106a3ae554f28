"""Names of workers and what is made of them."""

from __future__ import annotations

import os

import pytest

from taskq.utils import processes
from taskq.utils.nodenames import (
    anon_nodename,
    default_nodename,
    gethostname,
    host_format,
    node_format,
    nodename,
    nodesplit,
    worker_direct,
)


def test_names():
    assert nodename("w1", "example.com") == "w1@example.com"
    assert tuple(nodesplit("w1@example.com")) == ("w1", "example.com")
    assert nodesplit("example.com") == (None, "example.com")
    assert anon_nodename("h", "gen") == f"gen{os.getpid()}@h"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("w1@h", "w1@h"),
        ("h", "celery@h"),
        ("w1@", f"w1@{gethostname()}"),
        (None, f"celery@{gethostname()}"),
    ],
)
def test_default_nodename(given, expected):
    assert default_nodename(given) == expected


def test_formats():
    assert node_format("%n-%h-%d%%", "w1@a.example.com") == "w1-a.example.com-example.com%"
    assert node_format("%p", "w1@h") == "w1@h"
    assert host_format("%n.%d", "a.example.com") == "a.example.com"
    assert host_format("%x", "h", x="extra") == "extra"


def test_process_index(monkeypatch):
    assert node_format("%n%I.log %i", "w1@h") == "w1.log 0"
    monkeypatch.setattr(processes, "_index", 1)
    assert node_format("%n%I.log %i", "w1@h") == "w1-2.log 2"
    processes.set_process_index(None)
    assert processes.current_process_index() is None


def test_worker_direct():
    queue = worker_direct("w1@h")
    assert (queue.name, queue.exchange.name, queue.routing_key) == ("w1@h.dq2", "C.dq2", "w1@h")
    assert worker_direct(queue) is queue
