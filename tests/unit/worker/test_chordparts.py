"""Which messages are exchanged for one that fails the task, and for what."""

from __future__ import annotations

import json
from base64 import b64encode
from types import SimpleNamespace
from typing import Any

import pytest

from taskq import TaskQ
from taskq.worker.chordparts import LOSS, leave_loss
from taskq.worker.request import Request

app = TaskQ(set_as_current=False)


@app.task(shared=False)
def add(x: Any) -> Any:
    return x


def make_request(chord: Any, *, large: bool = False, **channel: Any) -> Any:
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": chord}
    body = json.dumps([[1], {}, embed])
    headers = {"task": add.name, "id": "1", "group": "g", "expires": "2026-01-01", "retries": 1}
    message = SimpleNamespace(
        channel=SimpleNamespace(**channel),
        headers=headers,
        body=body.encode(),
        content_type="application/json",
        content_encoding="utf-8",
        properties={},
        delivery_info={},
    )
    if large:
        message.undecoded = memoryview(b64encode(message.body))
    return Request(message, app=app, task=add)


@pytest.mark.parametrize("large", [False, True])
def test_a_header_task_is_exchanged(large: bool) -> None:
    written: list[dict[str, Any]] = []
    request = make_request(
        {"task": "body"}, large=large, rewrite=lambda _, headers: written.append(headers)
    )
    assert leave_loss(request)
    (headers,) = written
    assert headers["task"] == LOSS
    assert LOSS in app.tasks
    assert headers["shadow"] == add.name
    assert headers["expires"] is None
    assert (headers["id"], headers["group"], headers["retries"]) == ("1", "g", 1)
    assert request.message.headers["task"] == add.name


@pytest.mark.parametrize("large", [False, True])
def test_a_task_of_a_group_is_not(large: bool) -> None:
    assert not leave_loss(make_request(None, large=large, rewrite=None))


def test_brokers_that_exchange_nothing_have_it_acknowledged() -> None:
    assert not leave_loss(make_request({"task": "body"}))


def test_what_cannot_be_exchanged_is_acknowledged(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(*args: Any) -> None:
        raise KeyError("not held")

    assert not leave_loss(make_request({"task": "body"}, rewrite=refuse))
    assert "not held" in caplog.text


def test_a_body_that_cannot_be_decoded_is_left_to_who_runs_it() -> None:
    request = make_request({"task": "body"}, rewrite=None)
    request._body = b"\xff"
    assert not leave_loss(request)
