"""Tasks that are asked to stop."""

from __future__ import annotations

import pytest

from taskq.contrib.abortable import ABORTED, AbortableAsyncResult, AbortableTask
from taskq.contrib.testing.app import TestApp
from taskq.contrib.testing.worker import start_worker


@pytest.fixture
def app():
    return TestApp("aborting")


@pytest.fixture
def export(app):
    @app.task(bind=True, base=AbortableTask)
    def export(self):
        return "stopped" if self.is_aborted() else "finished"

    return export


def test_the_handle_is_one_that_aborts(export):
    result = export.AsyncResult("some-id")
    assert isinstance(result, AbortableAsyncResult)
    assert not result.is_aborted()
    result.abort()
    assert result.state == ABORTED
    assert result.is_aborted()
    assert export.is_aborted(task_id="some-id")


def test_a_task_sees_that_it_was_aborted(app, export):
    export.AsyncResult("early").abort()
    with start_worker(app):
        assert export.apply_async(task_id="usual").get(timeout=10) == "finished"
        assert app.send_task(export.name, task_id="early").id == "early"
