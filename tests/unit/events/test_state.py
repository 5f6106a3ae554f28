"""The cluster's state: what events in any order make of it, and that it stays small."""

from __future__ import annotations

import pickle
import threading
import time
from typing import Any

import pytest

from taskq.events.state import State, Task, Worker, heartbeat_expires

SOFTWARE = {"sw_ident": "py-celery", "sw_ver": "5.7.0", "sw_sys": "Linux", "freq": 2.0}


def event(type_: str, clock: int, **fields: Any) -> dict[str, Any]:
    timestamp = fields.pop("timestamp", 1000.0 + clock)
    return {
        "type": type_,
        "clock": clock,
        "timestamp": timestamp,
        "local_received": timestamp,
        "hostname": "w1@h",
        "pid": 1,
        **fields,
    }


def feed(state: State, *types: str, uuid: str = "a") -> Any:
    for clock, type_ in enumerate(types, start=1):
        state.event(event(f"task-{type_}", clock, uuid=uuid, name=f"name{clock}", args=str(clock)))
    return state.tasks[uuid]


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (("sent", "received", "started", "succeeded"), "SUCCESS"),
        (("succeeded", "started", "received", "sent"), "SUCCESS"),
        (("started", "received"), "STARTED"),
        (("received", "started", "retried", "received", "started", "failed"), "FAILURE"),
        (("failed", "succeeded"), "SUCCESS"),
        (("succeeded", "failed"), "SUCCESS"),
        (("revoked", "started"), "REVOKED"),
        (("received", "rejected"), "RECEIVED"),
        (("retried", "received"), "RECEIVED"),
        (("received", "custom"), "CUSTOM"),
    ],
)
def test_state_of_a_task_whatever_the_order(types: tuple[str, ...], expected: str) -> None:
    assert feed(State(), *types).state == expected


def test_late_received_fills_in_what_it_knows_best() -> None:
    task = feed(State(), "succeeded", "received")

    assert task.name == "name2"
    assert task.received == 1002.0
    assert task.timestamp == 1001.0


def test_event_returns_what_it_was_about() -> None:
    state = State()

    (worker, created), subject = state.event(event("worker-online", 1, **SOFTWARE))
    assert (worker.hostname, created, subject) == ("w1@h", True, "online")
    (task, created), subject = state.event(event("task-received", 2, uuid="a"))
    assert (task.uuid, created, subject) == ("a", True, "received")
    assert state.event(event("other-thing", 3)) is None
    assert (state.event_count, state.task_count) == (3, 1)


def test_sender_and_worker_of_a_task() -> None:
    state = State()

    state.event(event("task-sent", 1, uuid="a", hostname="gen@c"))
    assert (state.tasks["a"].origin, state.tasks["a"].worker) == ("gen@c", None)
    state.event(event("task-started", 2, uuid="a"))
    assert state.tasks["a"].worker is state.workers["w1@h"]


def test_nodes_that_join_and_leave() -> None:
    seen: list[Any] = []
    state = State(
        on_node_join=lambda worker: seen.append(("join", worker.hostname)),
        on_node_leave=lambda worker: seen.append(("leave", worker.hostname)),
    )
    for type_ in ("online", "heartbeat", "offline", "heartbeat"):
        state.event(event(f"worker-{type_}", 1, **SOFTWARE))

    assert seen == [("join", "w1@h"), ("leave", "w1@h"), ("join", "w1@h")]


def test_worker_is_alive_for_two_heartbeats() -> None:
    state = State()
    now = time.time()
    state.event(event("worker-heartbeat", 1, timestamp=now - 1, **SOFTWARE))
    state.event(event("worker-heartbeat", 1, timestamp=now - 9, **SOFTWARE | {"hostname": "w2@h"}))

    assert [worker.hostname for worker in state.alive_workers()] == ["w1@h"]
    assert heartbeat_expires(100.0, freq=5) == 110.0


def test_worker_remembers_the_last_heartbeats_in_order() -> None:
    worker = Worker("w")
    for received in (1.0, 3.0, 2.0, 5.0, 4.0):
        worker.event("heartbeat", received, received, {})

    assert worker.heartbeats == [2.0, 3.0, 4.0, 5.0]


def test_fields_of_events_do_not_replace_what_is_ours() -> None:
    state = State()
    state.event(event("task-received", 1, uuid="a", children=3, cluster_state=4, worker="x"))
    state.event(event("worker-heartbeat", 2, heartbeats="x", event=3, **SOFTWARE))

    assert state.tasks["a"].cluster_state is state
    assert state.tasks["a"].worker is state.workers["w1@h"]
    state.event(event("worker-heartbeat", 3, **SOFTWARE))


def test_order_by_logical_time() -> None:
    state = State()
    for clock in (3, 1, 9, 4):
        # Wall clocks say the opposite.
        state.event(
            event(
                "task-received",
                clock,
                uuid=f"u{clock}",
                name=f"n{clock % 2}",
                hostname=f"w{clock % 2}",
                timestamp=1000.0 - clock,
            )
        )

    assert [uuid for uuid, _ in state.tasks_by_time()] == ["u9", "u4", "u3", "u1"]
    assert [uuid for uuid, _ in state.tasks_by_timestamp(limit=2)] == ["u9", "u4"]
    assert [uuid for uuid, _ in state.tasks_by_time(reverse=False)] == ["u1", "u3", "u4", "u9"]
    assert [uuid for uuid, _ in state.tasks_by_type("n1", limit=2)] == ["u9", "u3"]
    assert [uuid for uuid, _ in state.tasks_by_worker("w0")] == ["u4"]
    assert {task.uuid for task in state.tasks_by_type["n0"]} == {"u4"}
    assert state.task_types() == ["n0", "n1"]
    assert [uuid for uuid, _ in state.itertasks(limit=2)] == ["u3", "u1"]


def test_limit_counts_tasks_not_events() -> None:
    state = State()
    feed(state, "sent", "received", "started", "succeeded", uuid="a")
    feed(state, "sent", "received", "started", "succeeded", uuid="b")

    assert {uuid for uuid, _ in state.tasks_by_time(limit=2)} == {"a", "b"}


def test_memory_is_bounded() -> None:
    state = State(max_tasks_in_memory=10, max_workers_in_memory=5)
    for clock in range(1, 1000):
        state.event(
            event(
                "task-received",
                clock,
                uuid=f"u{clock}",
                name="n",
                hostname=f"w{clock}",
                parent_id=f"unseen{clock}",
            )
        )

    assert len(state.tasks) == 10
    assert len(state.workers) == 5
    assert len(state._taskheap) <= 10 * state.heap_multiplier
    assert len(state._orphans) <= 10
    assert len(state.tasks_by_worker) <= 10 * state.heap_multiplier + 1
    assert len(state.tasks_by_type["n"]) == 10
    assert [uuid for uuid, _ in state.tasks_by_time()] == [f"u{n}" for n in range(999, 989, -1)]


def test_a_busy_task_does_not_push_others_out_of_the_order() -> None:
    state = State(max_tasks_in_memory=3)
    for clock in (1, 2, 3):
        state.event(event("task-received", clock, uuid=f"u{clock}"))
    for clock in range(4, 40):
        state.event(event("task-progress", clock, uuid="u3"))

    assert [uuid for uuid, _ in state.tasks_by_time()] == ["u3", "u2", "u1"]


def test_chain_of_tasks_does_not_stay_in_memory() -> None:
    state = State(max_tasks_in_memory=2)
    for n in range(1, 6):
        state.event(event("task-received", n, uuid=f"u{n}", parent_id=f"u{n - 1}", root_id="u1"))
        assert state.tasks[f"u{n}"].as_dict()["parent"] == f"u{n - 1}"

    assert state.tasks["u5"].parent is state.tasks["u4"]
    assert state.tasks["u4"].parent is None


def test_children_find_their_parent_in_any_order() -> None:
    state = State()
    state.event(event("task-received", 1, uuid="child1", parent_id="p", root_id="p"))
    state.event(event("task-received", 2, uuid="p"))
    state.event(event("task-received", 3, uuid="child2", parent_id="p", root_id="p"))

    parent = state.tasks["p"]
    assert {task.uuid for task in parent.children} == {"child1", "child2"}
    assert state.tasks["child1"].root is parent


def test_clear_keeps_unfinished_tasks() -> None:
    state = State()
    feed(state, "received", uuid="running")
    feed(state, "received", "succeeded", uuid="done")
    state.clear()

    assert list(state.tasks) == ["running"]
    assert [uuid for uuid, _ in state.tasks_by_time()] == ["running"]
    assert (len(state.workers), state.event_count, state.task_count) == (0, 0, 0)
    state.clear(ready=False)
    assert not state.tasks


def test_pickled_state_is_the_same() -> None:
    state = State(max_tasks_in_memory=50)
    state.event(event("worker-online", 1, **SOFTWARE))
    state.event(event("task-received", 2, uuid="p", name="n"))
    state.event(event("task-received", 3, uuid="c", name="n", parent_id="p"))

    copy = pickle.loads(pickle.dumps(state))
    assert copy.max_tasks_in_memory == 50
    assert [uuid for uuid, _ in copy.tasks_by_time()] == ["c", "p"]
    assert {task.uuid for task in copy.tasks_by_type["n"]} == {"c", "p"}
    assert copy.tasks["c"].parent is copy.tasks["p"]
    assert copy.workers["w1@h"].sw_ver == "5.7.0"
    copy.event(event("task-started", 4, uuid="c"))
    assert copy.tasks["c"].state == "STARTED"


def test_nothing_changes_while_frozen() -> None:
    state = State()
    thread = threading.Thread(target=feed, args=(state, "received"))

    def look() -> int:
        thread.start()
        thread.join(0.05)
        return len(state.tasks)

    assert state.freeze_while(look) == 0
    thread.join()
    assert len(state.tasks) == 1


def test_info_tells_what_has_a_value() -> None:
    task = Task("a", name="n", args="()", retries=0)

    assert task.info() == {"args": "()", "retries": 0}
    assert task.info(fields=["name"], extra=["uuid"]) == {"name": "n", "uuid": "a"}
    assert Task("a") == Task("a") != Task("b")
