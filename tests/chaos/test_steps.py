"""A worker dies at each step from claim to acknowledgement: nothing is lost.

The steps are reached through public hooks (``Task.Request``, ``Task.after_return``): nothing in
taskq knows of this. Each step kills the whole worker once, amid other tasks.
"""

from __future__ import annotations

import os

import pytest

from tests.chaos.fleet import CODE, Fleet, new_seed
from tests.chaos.test_kills import LEASE, LONG, MARGIN, TAKEOVER

STEPS = ("claimed", "dispatched", "started", "stored", "acknowledging")

#: Task number n dies at its step, if it has one, the first time it gets there.
STEPPING = (
    CODE
    + """
import signal
from taskq.worker.request import Request

SIGNAL = {signal!r}
AT = {at!r}

def die_at(step, task_id):
    number = int(task_id.rpartition("-")[2])
    if AT.get(number) != step:
        return
    try:
        os.close(os.open(f"died-{number}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.killpg(os.getpgrp(), getattr(signal, "SIG" + SIGNAL))

class Mortal(Request):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        die_at("claimed", self.id)

    def on_dispatched(self):
        super().on_dispatched()
        die_at("dispatched", self.id)

    def acknowledge(self):
        die_at("acknowledging", self.id)
        super().acknowledge()

def before_start(self, task_id, args, kwargs):
    die_at("started", task_id)

def after_return(self, status, retval, task_id, args, kwargs, einfo):
    die_at("stored", task_id)

for task in (late, early):
    task.Request = Mortal
    cls = task.__class__
    cls.before_start, cls.after_return = before_start, after_return
"""
)


@pytest.mark.parametrize(
    ("broker", "acks"),
    [
        ("redis", "late"),
        ("sqlite", "late"),
        *(
            [("amqp", "late"), ("redis", "early"), ("sqlite", "early"), ("amqp", "early")]
            if LONG
            else []
        ),
    ],
)
@pytest.mark.parametrize("signal", ["KILL", "TERM", "QUIT"] if LONG else ["KILL"])
def test_death_at_each_step(make_project, request, redis_url, broker, acks, signal):
    url = redis_url if broker == "redis" else request.getfixturevalue(f"{broker}_url")
    seed = new_seed()
    print(f"TASKQ_CHAOS_SEED={seed}")
    tasks = 100
    rounds = 4 if LONG else 1
    at = {
        tasks // (rounds * len(STEPS)) * place + 3: step
        for place, step in enumerate(STEPS * rounds)
    }
    project = make_project(
        STEPPING.replace("{signal!r}", repr(signal)).replace("{at!r}", repr(at)),
        broker=url,
        backend=redis_url if broker == "amqp" else url,
        conf={"broker_transport_options": {"lease": LEASE}} if broker != "amqp" else {},
    )
    project.new_session = True  # a worker dies together with its children
    with Fleet(project, seed) as fleet:
        fleet.send(getattr(project.proj, acks), tasks)
        count = fleet.settle(
            quiet=LEASE + TAKEOVER + MARGIN, timeout=90, task_restarts=acks == "late"
        )
        print(count)
        reached = {step for number, step in at.items() if os.path.exists(died(project, number))}
        if acks == "late":
            assert reached == set(STEPS)
            assert len(count.ends) == tasks, str(count)
            fleet.wait_for_states({"SUCCESS"}, timeout=2 * LEASE + MARGIN)
        else:
            assert not count.doubled, str(count)
        fleet.stop()


def died(project, number):
    """Return the path of the file that says that a task has killed its worker."""
    return project.directory / f"died-{number}"
