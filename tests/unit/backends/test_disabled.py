"""An app without a result backend."""

from __future__ import annotations

import pytest

from taskq import TaskQ
from taskq.backends.base import DisabledBackend


@pytest.fixture
def bare() -> TaskQ:
    return TaskQ("bare", broker="memory://", set_as_current=False)


def test_it_is_the_default(bare: TaskQ) -> None:
    assert isinstance(bare.backend, DisabledBackend)
    assert bare.backend.as_uri() == "disabled://"


def test_tasks_run_and_nothing_is_stored(bare: TaskQ) -> None:
    bare.backend.mark_as_done("a", 1)
    bare.backend.mark_as_failure("a", ValueError(1))


@pytest.mark.parametrize("attribute", ["state", "result", "traceback", "children"])
def test_asking_for_a_result_says_what_to_do(bare: TaskQ, attribute: str) -> None:
    with pytest.raises(NotImplementedError, match="No result backend is configured") as failed:
        getattr(bare.AsyncResult("a"), attribute)
    assert "result_backend" in str(failed.value)


def test_waiting_says_what_to_do(bare: TaskQ) -> None:
    with pytest.raises(NotImplementedError, match="No result backend is configured"):
        bare.AsyncResult("a").get(timeout=1)


def test_chords_need_a_backend(bare: TaskQ) -> None:
    with pytest.raises(NotImplementedError, match="Starting chords requires a result backend"):
        bare.backend.ensure_chords_allowed()
