"""Results as messages, over the transport in memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from taskq import TaskQ
from taskq.app.task import Context
from taskq.backends import rpc_source
from taskq.backends.rpc_source import StateStore
from taskq.exceptions import TimeoutError


@pytest.fixture
def client(unique: str) -> Iterator[TaskQ]:
    app = TaskQ("client", broker="memory://", backend="rpc://", set_as_current=False)
    app.conf.task_default_queue = unique

    @app.task(name="t", shared=False)
    def t() -> None: ...

    yield app
    app.close()


def send(client: TaskQ) -> Any:
    return client.tasks["t"].delay()


def reply(client: TaskQ, result: Any, state: str, value: Any, to: str | None = None) -> None:
    """Do as a worker does: send a state to who sent the task."""
    request = Context(
        id=result.id,
        reply_to=to or client.thread_oid,
        correlation_id=result.id,
        delivery_info={},
    )
    client.backend.store_result(result.id, value, state, request=request)


def test_a_result(client: TaskQ) -> None:
    result = send(client)
    reply(client, result, "SUCCESS", 5)
    assert result.get(timeout=5) == 5


def test_a_failure(client: TaskQ) -> None:
    result = send(client)
    reply(client, result, "FAILURE", ValueError("bad"))
    with pytest.raises(ValueError, match="bad"):
        result.get(timeout=5)


def test_states_can_be_polled(client: TaskQ) -> None:
    result = send(client)
    assert result.state == "PENDING"
    reply(client, result, "PROGRESS", {"percent": 10})
    assert result.state == "PROGRESS"
    assert result.info == {"percent": 10}
    assert not result.ready()
    reply(client, result, "SUCCESS", 1)
    assert result.ready()
    assert client.AsyncResult(result.id).state == "SUCCESS"


def test_all_states_reach_on_message_in_order(client: TaskQ) -> None:
    result = send(client)
    for percent in (10, 20):
        reply(client, result, "PROGRESS", percent)
    reply(client, result, "SUCCESS", "done")
    seen: list[Any] = []
    result.get(timeout=5, on_message=lambda meta: seen.append(meta["result"]))
    assert seen == [10, 20, "done"]


def test_results_may_arrive_in_any_order(client: TaskQ) -> None:
    results = [send(client) for _ in range(5)]
    for result in reversed(results):
        reply(client, result, "SUCCESS", result.id)
    assert [each.get(timeout=5) for each in results] == [each.id for each in results]


def test_a_result_can_be_had_again_for_a_while(client: TaskQ) -> None:
    result = send(client)
    reply(client, result, "SUCCESS", 5)
    assert result.get(timeout=5) == 5
    assert client.AsyncResult(result.id).get(timeout=5) == 5


def test_two_threads_wait_for_one_result(client: TaskQ) -> None:
    result = send(client)
    values: list[Any] = []
    threads = [
        threading.Thread(
            target=lambda: values.append(client.AsyncResult(result.id).get(timeout=10))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    reply(client, result, "SUCCESS", 5)
    for thread in threads:
        thread.join(10)
    assert values == [5, 5]


def test_a_task_sent_by_another_thread_can_be_waited_for(client: TaskQ) -> None:
    sent: list[Any] = []
    thread = threading.Thread(target=lambda: sent.append((send(client), client.thread_oid)))
    thread.start()
    thread.join()
    [(result, oid)] = sent
    assert oid != client.thread_oid
    reply(client, result, "SUCCESS", 5, to=oid)
    assert result.get(timeout=5) == 5


def test_many_at_once(client: TaskQ) -> None:
    results = [send(client) for _ in range(30)]
    for result in results:
        reply(client, result, "SUCCESS", result.id)
    values = client.ResultSet(results).get(timeout=5)
    assert values == [each.id for each in results]


def test_nothing_came(client: TaskQ) -> None:
    with pytest.raises(TimeoutError):
        send(client).get(timeout=0.05)


def test_a_success_stays(client: TaskQ) -> None:
    result = send(client)
    reply(client, result, "SUCCESS", 1)
    reply(client, result, "FAILURE", ValueError("second delivery"))
    assert result.get(timeout=5) == 1
    assert client.AsyncResult(result.id).state == "SUCCESS"


def test_content_that_is_not_accepted_fails_who_waits(client: TaskQ) -> None:
    result = send(client)
    with client.connection_for_write() as connection:
        connection.Producer().publish(
            {"task_id": result.id},
            routing_key=client.thread_oid,
            correlation_id=result.id,
            serializer="pickle",
        )
    with pytest.raises(Exception, match="pickle"):
        result.get(timeout=5)


def test_a_worker_needs_a_request(client: TaskQ) -> None:
    with pytest.raises(RuntimeError, match="missing task request"):
        client.backend.store_result("a", 1, "SUCCESS")


def test_nobody_wants_the_result(client: TaskQ) -> None:
    request = Context(id="a", reply_to="", correlation_id="a", delivery_info={})
    assert client.backend.store_result("a", 1, "SUCCESS", request=request) is None


def test_forget(client: TaskQ) -> None:
    result = send(client)
    reply(client, result, "SUCCESS", 1)
    assert client.AsyncResult(result.id).ready()
    client.AsyncResult(result.id).forget()
    assert client.AsyncResult(result.id).state == "PENDING"


@pytest.mark.parametrize("name", ["save_group", "restore_group", "delete_group"])
def test_groups_cannot_be_kept(client: TaskQ, name: str) -> None:
    arguments = ("g", None) if name == "save_group" else ("g",)
    with pytest.raises(NotImplementedError, match=name):
        getattr(client.backend, name)(*arguments)


def test_chords_are_refused(client: TaskQ) -> None:
    with pytest.raises(NotImplementedError, match="does not support chords"):
        client.backend.ensure_chords_allowed()


def test_a_forked_child_has_a_queue_of_its_own(client: TaskQ) -> None:
    send(client)
    parent = client.thread_oid
    pid = os.fork()
    if not pid:
        status = 1
        try:
            assert client.thread_oid != parent
            assert client.backend.reply_queue_names() == [client.thread_oid]
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


class TestBounds:
    def test_the_oldest_unclaimed_go_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rpc_source, "MAX_UNCLAIMED", 2)
        monkeypatch.setattr(rpc_source, "MAX_CLAIMED", 0)
        store = StateStore()
        for task_id in ("a", "b", "c"):
            store.keep({"task_id": task_id, "status": "SUCCESS"})
        assert [bool(store.claim(task_id)) for task_id in ("a", "b", "c")] == [False, True, True]

    def test_claimed_results_have_a_budget_of_bytes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rpc_source, "MAX_CLAIMED_BYTES", 100)
        store = StateStore()
        for task_id in ("a", "b", "c"):
            store.note(task_id, {"task_id": task_id, "status": "SUCCESS"}, 60)
        assert [store.last(task_id) is not None for task_id in ("a", "b", "c")] == [
            False,
            False,
            True,
        ]
