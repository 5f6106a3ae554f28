"""Waiting inside a task: refused, unless the thread that waits asked for it."""

from __future__ import annotations

import threading

import pytest

from taskq import _state
from taskq.result import allow_join_result, assert_will_not_block


@pytest.fixture
def inside_a_task():
    _state._set_task_join_will_block(True)
    yield
    _state._set_task_join_will_block(False)


def test_waiting_is_refused(inside_a_task):
    with pytest.raises(RuntimeError, match="Never call result"):
        assert_will_not_block()
    with allow_join_result():
        assert_will_not_block()
    with pytest.raises(RuntimeError):
        assert_will_not_block()


def test_one_thread_does_not_allow_it_for_another(inside_a_task):
    refused = []

    def other():
        try:
            assert_will_not_block()
        except RuntimeError:
            refused.append(True)

    with allow_join_result():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert refused == [True]
