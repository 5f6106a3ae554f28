"""Sending where the lease is beside the broker: what was written down is sent, whatever it is."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq import TaskQ
from taskq.beat import Scheduler
from taskq.beat.leader import Leadership
from taskq.beat.leases import OutboxLease, open_lease
from tests.unit.beat.beat_support import ago, sent, tick_all


@pytest.fixture
def app(tmp_path: Path, unique: str) -> Iterator[TaskQ]:
    app = TaskQ("x", broker="memory://", backend=f"sqlite:///{tmp_path}/r.db", set_as_current=False)
    app.conf.update(task_default_queue=unique, beat_leader_lease=0.5, result_expires=None)
    yield app
    app.close()


def leading(app: TaskQ) -> Scheduler:
    scheduler = Scheduler(app)
    leadership = Leadership(app, scheduler, app.conf.beat_leader_lease)
    while (wait := leadership.standby()) > 0:
        time.sleep(wait)
    return scheduler


def write_down(app: TaskQ, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a leader write a run down, and go before it sends it."""
    scheduler = leading(app)
    monkeypatch.setattr(scheduler, "_send_written", lambda: None)
    scheduler.add(name="n", task="t", schedule=3600, args=(1,), last_run_at=ago(hours=2))
    tick_all(scheduler)
    assert not sent(app)
    scheduler.ledger.resign()


def test_what_the_leader_before_wrote_down_is_sent(
    app: TaskQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_down(app, monkeypatch)
    # An entry that has gone since; and nothing is due for an hour.
    tick_all(leading(app))
    (message,) = sent(app)
    assert message.payload[0] == [1]
    assert message.headers["celery_beat_task"] is True
    lease = open_lease(app)
    assert isinstance(lease, OutboxLease)
    assert lease.intents() == []
    key, copy = message.headers["taskq_beat_copy"].split()
    assert key == message.headers["id"]
    assert lease.is_first(key, key, copy)
    assert not lease.is_first(key, key, "another")
    assert lease.is_first(key, key, copy)
    lease.close()


def test_a_run_that_was_sent_once_is_not_remembered(app: TaskQ) -> None:
    scheduler = leading(app)
    scheduler.add(name="n", task="t", schedule=3600, last_run_at=ago(hours=2))
    tick_all(scheduler)
    (message,) = sent(app)
    lease = open_lease(app)
    assert isinstance(lease, OutboxLease)
    key, copy = message.headers["taskq_beat_copy"].split()
    assert lease.is_first(key, key, copy)
    assert lease.is_first(key, key, "another")
    lease.close()


def test_what_cannot_be_read_keeps_nobody_from_leading(
    app: TaskQ, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_down(app, monkeypatch)
    with sqlite3.connect(tmp_path / "r.db") as database:
        database.execute("UPDATE beat_outbox SET intent = 'of tomorrow'")
    database.close()
    scheduler = leading(app)
    assert "may be unsent cannot be read" in caplog.text
    scheduler.add(name="m", task="t", schedule=3600, args=(2,), last_run_at=ago(hours=2))
    tick_all(scheduler)
    assert [message.payload[0] for message in sent(app)] == [[2]]
