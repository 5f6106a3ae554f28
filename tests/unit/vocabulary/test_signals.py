"""The signals that there are, and what they provide."""

from __future__ import annotations

import pytest

from taskq import signals


def test_there_are_31():
    assert len(signals.__all__) == 31


@pytest.mark.parametrize("name", signals.__all__)
def test_a_signal_knows_its_name(name):
    assert getattr(signals, name).name == name


def test_arguments():
    assert signals.task_prerun.providing_args == {"task_id", "task", "args", "kwargs"}
    assert signals.before_task_publish.providing_args == {
        "body", "exchange", "routing_key", "headers", "properties", "declare", "retry_policy"
    }  # fmt: skip
    assert signals.worker_ready.providing_args == set()
