"""Whether what a worker holds is still its own."""

from __future__ import annotations

import mmap
import threading
import time

import pytest

from taskq.utils.leaseclock import GivenAway, LeaseClock, guarded
from taskq.utils.sharedfile import shared_file


@pytest.fixture
def clock():
    clock = LeaseClock(shared_file(mmap.PAGESIZE, "clock"))
    clock.kept_here()
    return clock


def test_a_lease_that_nobody_renews_does_not_run_out(clock):
    assert clock.holds(clock.token(), "t")


def test_what_ran_out_is_waited_for(clock):
    clock.renewed(5, since=time.monotonic() - 10)
    timer = threading.Timer(0.1, clock.renewed, (5,))
    timer.start()
    assert clock.holds(clock.token(), "t")
    timer.join()


def test_what_ran_out_is_given_up_when_its_keeper_is_dead():
    clock = LeaseClock(shared_file(mmap.PAGESIZE, "clock"))
    clock.renewed(5, since=time.monotonic() - 10)
    assert not clock.holds(clock.token(), "t")


def test_a_result_after_the_loss_is_refused(clock):
    clock.renewed(5)
    assert guarded(lambda: 1, "t", clock)() == 1

    def lose(*, fail):
        clock.lost()
        if fail:
            raise ValueError
        return 1

    for fail in (False, True):
        with pytest.raises(GivenAway):
            guarded(lose, "t", clock)(fail=fail)
