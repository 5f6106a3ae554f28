"""States rank by how final they are."""

from __future__ import annotations

import pytest

from taskq import states
from taskq.states import precedence, state


@pytest.mark.parametrize(
    ("more_final", "less_final"),
    [
        (states.SUCCESS, states.PENDING),
        (states.FAILURE, states.RECEIVED),
        (states.REVOKED, states.STARTED),
        (states.SUCCESS, "CUSTOM"),
        (states.FAILURE, "CUSTOM"),
        ("CUSTOM", states.REVOKED),
    ],
)
def test_order(more_final, less_final):
    assert state(more_final) > state(less_final)
    assert state(more_final) >= less_final
    assert state(less_final) < more_final
    assert state(less_final) <= state(more_final)
    assert precedence(more_final) < precedence(less_final)


def test_custom_states_rank_equally():
    assert not state("FOO") < state("BAR")
    assert state("FOO") <= state("BAR")


def test_state_is_still_text():
    assert state("SUCCESS") == "SUCCESS"
    assert {state("SUCCESS"): 1}["SUCCESS"] == 1


def test_sets():
    assert states.READY_STATES | states.UNREADY_STATES >= states.ALL_STATES
    assert not states.READY_STATES & states.UNREADY_STATES
    assert states.PROPAGATE_STATES < states.EXCEPTION_STATES
