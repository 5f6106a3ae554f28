"""The leader and followers of a `Waiter`, over a source that the test feeds."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from taskq.backends.waiting import Meta, ResultSource, Waiter, Wakeup
from taskq.exceptions import TimeoutError


def meta(task_id: str, status: str = "SUCCESS", result: Any = None) -> Meta:
    return {"task_id": task_id, "status": status, "result": result}


class FedSource(ResultSource):
    """Has what is stored in it, and drains what is sent to it."""

    recoverable_errors = (ConnectionError,)

    def __init__(self) -> None:
        self.stored: dict[str, Meta] = {}
        self.sent: queue.Queue[Meta | BaseException] = queue.Queue()
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.kept: list[Meta] = []
        self.disconnects = 0
        self.users: set[int] = set()
        self.busy = threading.Lock()
        self.begin_error: BaseException | None = None

    def begin(self, task_ids: Sequence[str]) -> Iterable[Meta]:
        with self.alone():
            if self.begin_error is not None:
                error, self.begin_error = self.begin_error, None
                raise error
            self.begun.extend(task_ids)
            return [self.stored[each] for each in task_ids if each in self.stored]

    def end(self, task_ids: Sequence[str]) -> None:
        with self.alone():
            self.ended.extend(task_ids)

    def drain(self, timeout: float, wakeup: Wakeup) -> Iterable[Meta]:
        with self.alone():
            deadline = time.monotonic() + timeout
            while not wakeup.is_set():
                try:
                    left = deadline - time.monotonic()
                    item = self.sent.get(timeout=max(0.0, min(0.005, left)))
                except queue.Empty:
                    if time.monotonic() >= deadline:
                        return []
                else:
                    if isinstance(item, BaseException):
                        raise item
                    return [item]
            return []

    def unclaimed(self, meta: Meta) -> None:
        self.kept.append(meta)

    def disconnect(self) -> None:
        self.disconnects += 1

    def alone(self) -> Any:
        """Fail if two threads are in the source at the same time."""
        self.users.add(threading.get_ident())
        source = self

        class Alone:
            def __enter__(self) -> None:
                assert source.busy.acquire(blocking=False), "two threads in one source"

            def __exit__(self, *exc: object) -> None:
                source.busy.release()

        return Alone()


@pytest.fixture
def source() -> FedSource:
    return FedSource()


@pytest.fixture
def waiter(source: FedSource) -> Waiter:
    policy = {"max_retries": 3, "interval_start": 0, "interval_step": 0, "interval_max": 0}
    return Waiter(lambda: source, retry_policy=policy, url="fed://")


def in_threads(count: int, call: Any) -> list[Any]:
    """Return what `call` returned, or raised, in each of `count` threads."""
    outcomes: list[Any] = []

    def run() -> None:
        try:
            outcomes.append(call())
        except BaseException as exc:
            outcomes.append(exc)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return outcomes


def arrives(source: FedSource, result: Meta) -> None:
    """Store a result and tell of it, as stores do: who comes too late to be told finds it."""
    source.stored[result["task_id"]] = result
    source.sent.put(result)


def test_what_is_stored_is_returned_without_waiting(source: FedSource, waiter: Waiter) -> None:
    source.stored["a"] = meta("a", result=1)
    assert waiter.wait_for("a", timeout=0)["result"] == 1


def test_what_is_sent_later_is_returned(source: FedSource, waiter: Waiter) -> None:
    threading.Timer(0.05, source.sent.put, [meta("a", result=2)]).start()
    assert waiter.wait_for("a", timeout=10)["result"] == 2


def test_time_out(source: FedSource, waiter: Waiter) -> None:
    with pytest.raises(TimeoutError):
        waiter.wait_for("a", timeout=0.02)


def test_time_out_ends_the_subscription(source: FedSource, waiter: Waiter) -> None:
    with pytest.raises(TimeoutError):
        waiter.wait_for("a", timeout=0.01)
    assert source.begun == ["a"]
    assert source.ended == ["a"]


def test_a_ready_task_ends_the_subscription(source: FedSource, waiter: Waiter) -> None:
    source.stored["a"] = meta("a")
    waiter.wait_for("a")
    assert source.ended == ["a"]


def test_on_message_gets_every_state_in_order(source: FedSource, waiter: Waiter) -> None:
    source.stored["a"] = meta("a", "STARTED")
    source.sent.put(meta("a", "PROGRESS", 1))
    source.sent.put(meta("a", "PROGRESS", 2))
    source.sent.put(meta("a", "SUCCESS", 3))
    seen: list[Any] = []
    waiter.wait_for("a", timeout=10, on_message=lambda m: seen.append((m["status"], m["result"])))
    assert seen == [("STARTED", None), ("PROGRESS", 1), ("PROGRESS", 2), ("SUCCESS", 3)]


def test_on_interval_is_called_every_interval(source: FedSource, waiter: Waiter) -> None:
    calls: list[None] = []

    def on_interval() -> None:
        calls.append(None)
        if len(calls) == 3:
            source.sent.put(meta("a"))

    waiter.wait_for("a", timeout=10, interval=0.01, on_interval=on_interval)
    assert len(calls) >= 3


def test_an_error_of_on_interval_ends_waiting(source: FedSource, waiter: Waiter) -> None:
    def on_interval() -> None:
        raise LookupError("parent failed")

    with pytest.raises(LookupError):
        waiter.wait_for("a", interval=0.01, on_interval=on_interval)
    assert source.ended == ["a"]


def test_many_threads_wait_for_one_task(source: FedSource, waiter: Waiter) -> None:
    threading.Timer(0.1, arrives, [source, meta("a", result=5)]).start()
    metas = in_threads(8, lambda: waiter.wait_for("a", timeout=10))
    assert [each["result"] for each in metas] == [5] * 8


def test_many_threads_wait_for_tasks_of_their_own(source: FedSource, waiter: Waiter) -> None:
    ids = iter([f"task{n}" for n in range(30)])
    lock = threading.Lock()

    def wait() -> bool:
        with lock:
            task_id = next(ids)
        timer = threading.Timer(0.05, arrives, [source, meta(task_id, result=task_id)])
        timer.start()
        return bool(waiter.wait_for(task_id, timeout=10)["result"] == task_id)

    assert in_threads(30, wait) == [True] * 30
    assert len(source.users) > 1
    assert sorted(source.ended) == sorted(source.begun)


def test_a_follower_takes_over_when_the_leader_is_done(source: FedSource, waiter: Waiter) -> None:
    leader = threading.Thread(target=lambda: waiter.wait_for("quick", timeout=10))
    leader.start()
    threading.Timer(0.05, source.sent.put, [meta("quick")]).start()
    threading.Timer(0.15, source.sent.put, [meta("slow", result=1)]).start()
    assert waiter.wait_for("slow", timeout=10)["result"] == 1
    leader.join(10)


def test_a_follower_without_time_gets_what_is_stored(source: FedSource, waiter: Waiter) -> None:
    source.stored["b"] = meta("b", result=2)
    leader = threading.Thread(target=lambda: waiter.wait_for("a", timeout=10))
    leader.start()
    while not source.begun:
        time.sleep(0.001)
    assert waiter.wait_for("b", timeout=0)["result"] == 2
    source.sent.put(meta("a"))
    leader.join(10)


def test_a_follower_times_out_while_another_leads(source: FedSource, waiter: Waiter) -> None:
    leader = threading.Thread(target=lambda: waiter.wait_for("a", timeout=10))
    leader.start()
    while not source.begun:
        time.sleep(0.001)
    with pytest.raises(TimeoutError):
        waiter.wait_for("b", timeout=0.05)
    source.sent.put(meta("a"))
    leader.join(10)
    assert sorted(source.ended) == ["a", "b"]


def test_what_nobody_watches_goes_to_the_source(source: FedSource, waiter: Waiter) -> None:
    source.sent.put(meta("other"))
    source.sent.put(meta("a"))
    waiter.wait_for("a", timeout=10)
    assert [each["task_id"] for each in source.kept] == ["other"]


def test_a_lost_connection_is_begun_again(source: FedSource, waiter: Waiter) -> None:
    source.sent.put(ConnectionError("gone"))
    threading.Timer(0.05, source.sent.put, [meta("a", result=1)]).start()
    assert waiter.wait_for("a", timeout=10)["result"] == 1
    assert source.disconnects == 1
    assert source.begun == ["a", "a"]


def test_a_connection_that_stays_away_is_given_up(source: FedSource, waiter: Waiter) -> None:
    for _ in range(10):
        source.sent.put(ConnectionError("gone"))
    # begin() succeeds in between, so make it fail as well
    source.begin = lambda ids: (_ for _ in ()).throw(ConnectionError("away"))  # type: ignore
    with pytest.raises(RuntimeError, match="fed://"):
        waiter.wait_for("a", timeout=10)


def test_other_errors_reach_the_caller_and_spare_the_rest(
    source: FedSource, waiter: Waiter
) -> None:
    source.begin_error = LookupError("bad id")
    with pytest.raises(LookupError):
        waiter.wait_for("a", timeout=10)
    source.stored["a"] = meta("a", result=1)
    assert waiter.wait_for("a", timeout=10)["result"] == 1


def test_iter_ready_yields_each_once_as_they_come(source: FedSource, waiter: Waiter) -> None:
    source.stored["b"] = meta("b", result=2)
    source.sent.put(meta("c", "STARTED"))
    source.sent.put(meta("c", result=3))
    source.sent.put(meta("a", result=1))
    found = [(each, m["result"]) for each, m in waiter.iter_ready(["a", "b", "c"], timeout=10)]
    assert found == [("b", 2), ("c", 3), ("a", 1)]


def test_leaving_iter_ready_ends_the_rest(source: FedSource, waiter: Waiter) -> None:
    source.stored["b"] = meta("b")
    for _ in waiter.iter_ready(["a", "b"], timeout=10):
        break
    assert sorted(source.ended) == ["a", "b"]


class Handle:
    def __init__(self, id: str) -> None:
        self.id = id
        self.metas: list[Meta] = []

    def _maybe_set_cache(self, meta: Meta) -> None:
        self.metas.append(meta)


def test_followed_results_are_told_by_whoever_drains(source: FedSource, waiter: Waiter) -> None:
    followed = Handle("b")
    waiter.follow(followed)
    source.sent.put(meta("b"))
    source.sent.put(meta("a"))
    waiter.wait_for("a", timeout=10)
    assert [each["task_id"] for each in followed.metas] == ["b"]


def test_a_followed_result_that_is_stored_is_told_at_once(
    source: FedSource, waiter: Waiter
) -> None:
    followed = Handle("b")
    source.stored["b"] = meta("b")
    waiter.follow(followed)
    waiter.take()
    assert len(followed.metas) == 1


def test_weakly_followed_results_are_let_go(source: FedSource, waiter: Waiter) -> None:
    followed = Handle("b")
    waiter.follow(followed, weak=True)
    del followed
    source.stored["b"] = meta("b")
    waiter.take()


def test_unfollowed_results_are_not_told(source: FedSource, waiter: Waiter) -> None:
    followed = Handle("b")
    waiter.follow(followed)
    waiter.take()
    waiter.unfollow(followed)
    assert source.ended == ["b"]
    source.sent.put(meta("b"))
    waiter.take(timeout=0.01)
    assert followed.metas == []


def test_the_callback_of_a_followed_result_may_wait(source: FedSource, waiter: Waiter) -> None:
    source.stored["c"] = meta("c", result=3)
    values: list[Any] = []

    class Waiting(Handle):
        def _maybe_set_cache(self, meta: Meta) -> None:
            values.append(waiter.wait_for("c", timeout=5)["result"])

    waiter.follow(Waiting("b"))
    source.sent.put(meta("b"))
    source.sent.put(meta("a"))
    waiter.wait_for("a", timeout=10)
    assert values == [3]


def test_close_disconnects_and_waiting_goes_on(source: FedSource, waiter: Waiter) -> None:
    source.stored["a"] = meta("a")
    waiter.wait_for("a")
    waiter.close()
    waiter.wait_for("a")
    assert source.disconnects == 1


def test_a_forked_child_starts_anew_while_the_parent_waits(
    source: FedSource, waiter: Waiter
) -> None:
    leader = threading.Thread(target=lambda: waiter.wait_for("a", timeout=10))
    leader.start()
    while not source.begun:
        time.sleep(0.001)
    pid = os.fork()
    if not pid:
        status = 1
        try:
            source.busy = threading.Lock()
            source.sent = queue.Queue()
            source.stored["c"] = meta("c")
            waiter.after_fork()
            waiter.wait_for("c", timeout=5)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    source.sent.put(meta("a"))
    leader.join(10)
    assert not leader.is_alive()


class TestWakeup:
    def test_the_descriptor_is_readable_while_the_flag_is_set(self) -> None:
        wakeup = Wakeup()
        wakeup.set()
        assert wakeup.wait(5)
        wakeup.clear()
        assert not wakeup.wait(0.001)

    def test_set_takes_a_thread_out_of_wait(self) -> None:
        wakeup = Wakeup()
        threading.Timer(0.05, wakeup.set).start()
        assert wakeup.wait(10)


def test_a_wait_that_times_out_says_that_the_store_was_away(
    source: FedSource, waiter: Waiter
) -> None:
    waiter._retry_policy["max_retries"] = None

    def begin(ids: Sequence[str]) -> Iterable[Meta]:
        time.sleep(0.01)
        raise ConnectionError("cable pulled")

    source.begin = begin  # type: ignore[method-assign]
    with pytest.raises(TimeoutError, match=r"timed out, and .* fed:// .*cable pulled") as caught:
        waiter.wait_for("a", timeout=0.2)
    assert isinstance(caught.value.__cause__, ConnectionError)

    del source.begin
    with pytest.raises(TimeoutError, match=r"^The operation timed out\.$"):
        waiter.wait_for("a", timeout=0.05)


def test_a_wait_that_ends_in_an_undecodable_state_ends_at_the_source(
    source: FedSource, waiter: Waiter
) -> None:
    source.begin_error = LookupError("bad id")
    with pytest.raises(LookupError):
        waiter.wait_for("a", timeout=10)
    assert source.ended == ["a"]
