"""What a worker remembers of early acknowledgements is bounded, and tells messages apart."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from taskq.worker.early import LEAST, EarlyAcks


def message(task_id, **headers):
    return SimpleNamespace(
        headers={"id": task_id, "task": "t", **headers},
        delivery_info={"exchange": "", "routing_key": "q", "redelivered": True},
    )


def test_only_the_last_of_a_connection_are_remembered():
    early = EarlyAcks(lambda: 4)
    for number in range(LEAST + 500):
        early.remembering(message(f"id-{number}"), lambda *args: None)()
    assert not early.has_started(message(f"id-{LEAST + 499}"))  # the connection is still there
    early.connection_lost()
    assert early.has_started(message(f"id-{LEAST + 499}"))
    assert early.has_started(message("id-500"))
    assert not early.has_started(message("id-499"))


def test_a_retry_is_another_message():
    early = EarlyAcks(lambda: 4)
    early.remembering(message("id", retries=0), lambda *args: None)()
    early.connection_lost()
    assert early.has_started(message("id", retries=0))
    assert not early.has_started(message("id", retries=1))
    assert not early.has_started(message("id", retries=0, replaced_task_nesting=1))


def test_what_could_not_be_acknowledged_has_not_started():
    early = EarlyAcks(lambda: 4)

    def broken(*args):
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        early.remembering(message("id"), broken)()
    early.connection_lost()
    assert not early.has_started(message("id"))
