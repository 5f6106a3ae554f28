"""The awaitable client's own input and output on Redis and SQLite, seen from the server's side."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from kombu import Exchange, Queue
from redis import exceptions

from taskq import TaskQ, chain, group, signals
from taskq.app.looppublisher import CALLS_BEFORE_CONNECTING
from taskq.exceptions import OperationalError, TimeoutError
from taskq.result import AsyncResult
from tests.integration.redis_support import Server, wait_for

#: Calls after which the loop publishes.
WARM_UP = CALLS_BEFORE_CONNECTING + 1
#: Fields of a message that differ from call to call.
VARIABLE = {"id", "root_id", "correlation_id", "delivery_tag", "reply_to", "origin"} | {
    "expires",
    "expiration",
}


@pytest.fixture
def app(server: Server) -> Iterator[TaskQ]:
    """An app on a server of its own."""
    with make_app(server.url) as app:
        yield app


def make_app(url: str, **conf: Any) -> TaskQ:
    app = TaskQ("native", broker=url, backend=url, set_as_current=False)
    app.conf.update(conf)

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    return app


def clients(server: Server) -> list[dict[str, str]]:
    """The connections to the server but the one that asks."""
    with server.client() as client:
        mine = str(client.client_id())
        return [each for each in client.client_list() if each["id"] != mine]


def subscribers(server: Server) -> list[dict[str, str]]:
    return [each for each in clients(server) if each["sub"] != "0"]


async def until(condition: Callable[[], Any]) -> Any:
    """Wait for a condition while the loop goes on."""
    return await asyncio.to_thread(wait_for, condition)


async def warm_up(app: TaskQ) -> None:
    """Make the calls that are made in the thread, so that the loop is what publishes."""
    for _ in range(WARM_UP):
        await app.tasks["add"].adelay(0, 0)


# -- publishing


@pytest.mark.parametrize(
    ("conf", "options"),
    [
        ({}, {}),
        ({}, {"queue": "other", "priority": 3}),
        ({}, {"eta": datetime(2031, 1, 2, tzinfo=UTC), "expires": 9e9}),
        ({}, {"headers": {"h": 1}, "serializer": "pickle", "compression": "gzip"}),
        ({"task_routes": {"add": "routed"}}, {"ignore_result": True}),
        (
            {"task_queues": [Queue("topical", Exchange("topics", "topic"), routing_key="a.#")]},
            {"queue": "topical", "routing_key": "a.b"},
        ),
    ],
)
def test_the_same_message_as_from_the_blocking_client(
    server: Server, conf: dict[str, Any], options: dict[str, Any]
) -> None:
    def stored() -> dict[str, list[Any]]:
        with server.client() as client:
            lists = [key for key in client.scan_iter() if client.type(key) == b"list"]
            return {
                key.decode(): [normal(json.loads(each)) for each in client.lrange(key, 0, -1)]
                for key in lists
            }

    def normal(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: normal(v) for k, v in value.items() if k not in VARIABLE}
        return value

    async def send() -> None:
        for _ in range(WARM_UP + 2):
            await app.tasks["add"].aapply_async((1, 2), **options)

    with make_app(server.url, **conf) as app:
        for _ in range(WARM_UP + 2):
            app.tasks["add"].apply_async((1, 2), **options)
        blocking = stored()
        with server.client() as client:
            client.delete(*blocking)
        asyncio.run(send())
        assert stored() == blocking
        assert [len(messages) for messages in blocking.values()] == [WARM_UP + 2]


def test_the_loop_publishes_in_the_order_of_the_calls(app: TaskQ, server: Server) -> None:
    async def send() -> set[str]:
        await warm_up(app)
        await until(lambda: not named_threads("taskq-client"))
        await asyncio.gather(*(app.tasks["add"].adelay(n, 0) for n in range(500)))
        return named_threads("taskq-client")

    assert not asyncio.run(send())
    with server.client() as client:
        entries = [json.loads(each) for each in client.lrange("celery", 0, -1)][::-1]
    reprs = [entry["headers"]["argsrepr"] for entry in entries[WARM_UP:]]
    assert reprs == [f"({n}, 0)" for n in range(500)]


def named_threads(name: str) -> set[str]:
    return {each.name for each in threading.enumerate()} & {name}


def test_cancelled_while_publishing_leaves_no_half_command(app: TaskQ, server: Server) -> None:
    big = "x" * 8_000_000

    async def send() -> None:
        add = app.tasks["add"]
        await warm_up(app)
        with server.client() as client:
            client.execute_command("CLIENT", "PAUSE", "1000", "ALL")
        calls = [asyncio.ensure_future(add.adelay(big, n)) for n in range(3)]
        await asyncio.sleep(0.1)
        assert not any(call.done() for call in calls)
        calls[1].cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert calls[1].cancelled()
        await add.adelay("last", 0)

    asyncio.run(send())
    with server.client() as client:
        entries = [json.loads(each) for each in client.lrange("celery", 0, -1)]
    assert len(entries) == WARM_UP + 4  # what was begun is sent whole, and nothing else is
    assert entries[0]["headers"]["argsrepr"] == "('last', 0)"


def test_a_broken_connection_is_made_anew(app: TaskQ, server: Server) -> None:
    async def send() -> int:
        add = app.tasks["add"]
        await warm_up(app)
        for _ in range(3):
            with server.client() as client:
                client.client_kill_filter(_type="normal", skipme=True)
            await asyncio.gather(*(add.adelay(n, n) for n in range(20)))
        server.stop()
        later = asyncio.ensure_future(add.aapply_async((1, 1), retry_policy={"max_retries": 50}))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(server.start)
        await later
        await add.adelay(2, 2)
        with server.client() as client:
            return int(client.llen("celery"))

    assert asyncio.run(send()) >= WARM_UP + 60 + 2


def test_without_retries_the_error_is_raised(app: TaskQ, server: Server) -> None:
    async def send() -> None:
        await warm_up(app)
        server.stop()
        with pytest.raises(OperationalError):
            await app.tasks["add"].aapply_async((1, 1), retry=False)
        with pytest.raises(OperationalError):
            await app.tasks["add"].aapply_async(
                (1, 1), retry_policy={"max_retries": 1, "interval_start": 0}
            )
        server.start()
        await app.tasks["add"].aapply_async((1, 1), retry=False)

    asyncio.run(send())


def test_what_users_hang_onto_publishing_does_not_run_on_the_loop(app: TaskQ) -> None:
    seen = []

    def receiver(**kwargs: Any) -> None:
        seen.append(threading.current_thread().name)

    async def send() -> None:
        await warm_up(app)
        signals.before_task_publish.connect(receiver)
        try:
            await app.tasks["add"].adelay(1, 2)
        finally:
            signals.before_task_publish.disconnect(receiver)
        app.conf.task_routes = (lambda *args, **kw: seen.append(threading.current_thread().name),)
        await app.tasks["add"].adelay(1, 2)

    asyncio.run(send())
    assert seen == ["taskq-client"] * 2


def test_names_and_signatures_go_the_same_way(app: TaskQ, server: Server) -> None:
    async def send() -> None:
        await warm_up(app)
        await app.signature("elsewhere").aapply_async(queue="e")  # which is declared once
        await until(lambda: not named_threads("taskq-client"))
        await app.signature("elsewhere", args=(1,)).aapply_async(queue="e")
        await app.tasks["add"].s(1).adelay(2)
        assert not named_threads("taskq-client")

    asyncio.run(send())
    with server.client() as client:
        assert client.llen("e") == 2
        assert json.loads(client.lindex("celery", 0))["headers"]["argsrepr"] == "(2, 1)"


def workflows(app: TaskQ) -> list[Any]:
    add = app.tasks["add"]
    return [
        chain(add.s(1, 2), add.s(3), add.s(4)),
        group(add.s(n, n) for n in range(20)),
        group([add.s(1, 1).set(priority=3), add.s(2, 2).set(queue="other"), add.s(3, 3)]),
    ]


def test_the_loop_publishes_workflows_of_plain_calls(app: TaskQ, server: Server) -> None:
    async def send() -> list[Any]:
        await warm_up(app)
        await until(lambda: not named_threads("taskq-client"))
        sent = [await each.aapply_async() for each in workflows(app)]
        assert named_threads("taskq-client") == {"taskq-client"}  # declared a queue
        await until(lambda: not named_threads("taskq-client"))
        sent = [await each.aapply_async() for each in workflows(app)]
        assert not named_threads("taskq-client")
        return sent

    def stored() -> dict[str, list[str]]:
        with server.client() as client:
            lists = [key for key in client.scan_iter() if client.type(key) == b"list"]
            found = {key.decode(): client.lrange(key, 0, -1) for key in lists}
            client.delete(*lists)
        return {
            key: [json.loads(each)["headers"]["argsrepr"] for each in entries]
            for key, entries in found.items()
        }

    sent = asyncio.run(send())
    by_loop = stored()
    for _ in range(2):
        blocking = [each.apply_async() for each in workflows(app)]
    assert [type(each) for each in sent] == [type(each) for each in blocking]
    assert sent[0].parent.parent.parent is None
    assert [len(each.results) for each in sent[1:]] == [20, 3]
    by_thread = stored()
    assert by_loop.pop("celery")[: -WARM_UP or None] == by_thread.pop("celery")
    assert by_loop == by_thread
    assert len(by_loop) == 2  # another priority, another queue


def test_a_group_is_published_again_when_the_connection_breaks(app: TaskQ, server: Server) -> None:
    add = app.tasks["add"]

    async def send() -> None:
        await warm_up(app)
        with server.client() as client:
            client.client_kill_filter(_type="normal", skipme=True)
        assert len(await group(add.s(n, n) for n in range(20)).aapply_async()) == 20
        server.stop()
        with pytest.raises(OperationalError):
            await group(add.s(n, n) for n in range(20)).aapply_async()

    app.conf.task_publish_retry_policy = {"max_retries": 1, "interval_start": 0}
    asyncio.run(send())


# -- looking


def test_states_are_read_by_the_loop(app: TaskQ, server: Server) -> None:
    async def look() -> None:
        result = app.AsyncResult("one")
        for _ in range(CALLS_BEFORE_CONNECTING + 1):
            assert await result.astate() == "PENDING"
        await until(lambda: not named_threads("taskq-client"))
        await asyncio.to_thread(finish, app, ["one"], {"page": 3}, "PROGRESS")
        assert (await result.astate(), await result.ainfo()) == ("PROGRESS", {"page": 3})
        assert not await result.aready()
        with pytest.raises(TimeoutError):
            await result.aget(timeout=0)
        await asyncio.to_thread(finish, app, ["one"], "done")
        assert await result.aready()
        assert result.result == "done"  # needs no reading any more
        assert not named_threads("taskq-client")

        several = app.GroupResult("g", [app.AsyncResult(each) for each in ("one", "two")])
        assert (await several.aready(), await several.acompleted_count()) == (False, 1)
        await asyncio.to_thread(finish, app, ["two"], ValueError("two"), "FAILURE")
        assert (await several.aready(), await several.acompleted_count()) == (True, 1)
        assert not named_threads("taskq-client")

    asyncio.run(look())


def test_states_are_read_again_when_the_connection_breaks(app: TaskQ, server: Server) -> None:
    async def look() -> None:
        result = app.AsyncResult("one")
        for _ in range(CALLS_BEFORE_CONNECTING + 1):
            await result.astate()
        for _ in range(3):
            with server.client() as client:
                client.client_kill_filter(_type="normal", skipme=True)
            assert await result.astate() == "PENDING"
        server.stop()
        later = asyncio.ensure_future(result.astate())
        await asyncio.sleep(0.3)
        await asyncio.to_thread(server.start)
        with contextlib.suppress(exceptions.ConnectionError):  # as result.state has it
            assert await later == "PENDING"
        assert await result.astate() == "PENDING"

    asyncio.run(look())


class Shouting(AsyncResult[Any]):
    """A handle that says states in its own way."""

    @property
    def state(self) -> str:
        return f"{super().state}!"


def test_handles_that_read_in_their_own_way_go_on_doing_so(app: TaskQ) -> None:
    async def look() -> list[Any]:
        result: Shouting = Shouting("one", app=app)
        several = app.ResultSet([app.ResultSet([app.AsyncResult("one")]), app.AsyncResult("two")])
        eager = app.tasks["add"].apply((1, 2))
        return [
            await result.astate(),
            await several.aready(),
            await eager.astate(),
            await eager.ainfo(),
            await eager.aready(),
        ]

    assert asyncio.run(look()) == ["PENDING!", False, "SUCCESS", 3, True]


# -- waiting


@pytest.fixture(params=["redis", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[TaskQ]:
    """An app on each store that is waited on without a thread."""
    if request.param == "redis":
        yield request.getfixturevalue("app")
        return
    with make_app(f"sqlite:///{tmp_path}/q.db") as app:
        yield app


def finish(app: TaskQ, ids: list[str], value: Any = None, state: str = "SUCCESS") -> None:
    for task_id in ids:
        app.backend.store_result(task_id, task_id if value is None else value, state)


def test_thousands_wait_without_a_thread(store: TaskQ) -> None:
    early, late = [f"early{n}" for n in range(1000)], [f"late{n}" for n in range(2000)]

    async def wait() -> list[Any]:
        waiting = [asyncio.ensure_future(store.AsyncResult(each).aget()) for each in late]
        await asyncio.sleep(0.2)
        assert not named_threads("taskq-results")
        await asyncio.to_thread(finish, store, late)
        return await asyncio.gather(*(store.AsyncResult(each).aget() for each in early), *waiting)

    finish(store, early)
    assert asyncio.run(wait()) == early + late


def test_one_subscription_for_all(app: TaskQ, server: Server) -> None:
    async def wait() -> None:
        results = [app.AsyncResult(f"t{n}") for n in range(3000)]
        waiting = [asyncio.ensure_future(each.aget(timeout=30)) for each in results]
        await until(lambda: [each["sub"] for each in subscribers(server)] == ["3000"])
        for call in waiting[1:]:
            call.cancel()
        await until(lambda: [each["sub"] for each in subscribers(server)] == ["1"])
        await asyncio.to_thread(finish, app, ["t0"], "first")
        assert await waiting[0] == "first"
        await until(lambda: not subscribers(server))

    asyncio.run(wait())


def test_waiting_survives_breaks_of_the_connection(app: TaskQ, server: Server) -> None:
    async def wait() -> None:
        waiting = asyncio.ensure_future(app.AsyncResult("t").aget(timeout=30))
        for _ in range(3):
            (one,) = await until(lambda: subscribers(server))
            with server.client() as client:
                client.client_kill_filter(_id=one["id"])
        server.stop()
        await asyncio.sleep(0.3)
        await asyncio.to_thread(server.start)
        await asyncio.to_thread(finish, app, ["t"], "value")
        assert await waiting == "value"

    asyncio.run(wait())


def test_a_store_that_stays_away_is_told(app: TaskQ, server: Server) -> None:
    app.conf.result_backend_transport_options = {
        "retry_policy": {"max_retries": 2, "interval_step": 0}
    }

    async def wait() -> None:
        server.stop()
        with pytest.raises(RuntimeError, match="Retry limit exceeded"):
            await app.AsyncResult("t").aget(timeout=30)

    asyncio.run(wait())
    server.start()


def test_a_server_without_the_newer_protocol(app: TaskQ, server: Server) -> None:
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-hello")

    async def wait() -> None:
        waiting = [asyncio.ensure_future(app.AsyncResult(str(n)).aget()) for n in range(3)]
        await asyncio.sleep(0.1)
        await asyncio.to_thread(finish, app, ["0", "1", "2"])
        assert await asyncio.gather(*waiting) == ["0", "1", "2"]

    asyncio.run(wait())


def test_a_database_that_is_locked_does_not_hold_up_the_loop(tmp_path: Any) -> None:
    import sqlite3

    async def wait() -> float:
        await app.AsyncResult("warm").aget()
        other = sqlite3.connect(f"{tmp_path}/q.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        begun = time.monotonic()
        sending = asyncio.ensure_future(app.tasks["add"].adelay(1, 2))
        waiting = asyncio.ensure_future(app.AsyncResult("t").aget())
        slowest = 0.0
        while time.monotonic() < begun + 0.5:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            slowest = max(slowest, time.monotonic() - before)
        assert not sending.done()
        other.execute("COMMIT")
        other.close()
        await asyncio.to_thread(finish, app, ["t"])
        await asyncio.gather(sending, waiting)
        return slowest

    with make_app(f"sqlite:///{tmp_path}/q.db") as app:
        finish(app, ["warm"])
        assert asyncio.run(wait()) < 0.4


def test_where_files_tell_of_no_changes(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from taskq.transport.sqlite import bell, inotify

    class Unavailable:
        def __init__(self) -> None:
            raise inotify.InotifyUnavailable("used up")

    monkeypatch.setattr(bell, "Inotify", Unavailable)

    async def wait() -> Any:
        waiting = asyncio.ensure_future(app.AsyncResult("t").aget())
        await asyncio.sleep(0.1)
        await asyncio.to_thread(finish, app, ["t"])
        return await waiting

    with make_app(f"sqlite:///{tmp_path}/q.db") as app:
        assert asyncio.run(wait()) == "t"


def test_no_time_to_wait_is_time_to_look(store: TaskQ) -> None:
    async def look() -> None:
        assert await store.AsyncResult("there").aget(timeout=0) == "there"
        with pytest.raises(TimeoutError):
            await store.AsyncResult("nowhere").aget(timeout=0)

    finish(store, ["there"])
    asyncio.run(look())


def test_a_task_that_ran_out_of_time_is_no_time_out(store: TaskQ) -> None:
    async def wait() -> None:
        both = store.ResultSet([store.AsyncResult("fine"), store.AsyncResult("late")])
        with pytest.raises(OSError, match="too late") as raised:
            await both.ajoin(timeout=20)
        assert not isinstance(raised.value, TimeoutError)

    finish(store, ["fine"])
    finish(store, ["late"], OSError("too late"), "FAILURE")
    asyncio.run(wait())


def test_a_chain_that_fails_before_its_end(store: TaskQ) -> None:
    async def wait() -> None:
        add = store.tasks["add"]
        last = await chain(add.s(1, 2), add.s(3), add.s(4)).aapply_async()
        waiting = asyncio.ensure_future(last.aget(timeout=30))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(finish, store, [last.parent.parent.id], KeyError("k"), "FAILURE")
        with pytest.raises(KeyError):
            await waiting
        with pytest.raises(KeyError):
            await last.aget(timeout=30)
        with pytest.raises(TimeoutError):
            await last.aget(timeout=0.05, follow_parents=False)

    asyncio.run(wait())


def test_as_they_finish(store: TaskQ) -> None:
    async def wait() -> list[Any]:
        results = await group(store.tasks["add"].s(n, n) for n in range(3)).aapply_async()
        ids = [each.id for each in results]
        seen = []
        asyncio.get_running_loop().call_later(0.1, finish, store, [ids[1]])
        async for each in results:
            seen.append(ids.index(each.id))
            if len(seen) < 3:
                finish(store, [ids[2 if len(seen) == 1 else 0]])
        return seen

    assert asyncio.run(wait()) == [1, 2, 0]


# -- loops, forks and the end


def test_several_loops_at_once(store: TaskQ) -> None:
    values: list[Any] = []

    async def wait(n: int) -> None:
        for k in range(WARM_UP + 3):
            await store.tasks["add"].adelay(n, k)
        values.append(await store.AsyncResult(f"t{n}").aget(timeout=30))

    loops = [threading.Thread(target=lambda n=n: asyncio.run(wait(n))) for n in range(4)]
    for each in loops:
        each.start()
    time.sleep(0.2)
    finish(store, [f"t{n}" for n in range(4)])
    for each in loops:
        each.join(30)
    assert sorted(values) == [f"t{n}" for n in range(4)]


def test_what_a_loop_opened_closes_with_it(app: TaskQ, server: Server) -> None:
    async def use() -> None:
        await warm_up(app)
        waiting = asyncio.ensure_future(app.AsyncResult("never").aget())
        await until(lambda: subscribers(server))
        waiting.cancel()

    asyncio.run(use())  # and what a program opens once, for all its loops
    app.backend.get_task_meta("x")
    before = len(clients(server))
    for _ in range(3):
        asyncio.run(use())
    wait_for(lambda: len(clients(server)) <= before)


def test_what_a_loop_opened_closes_with_the_app(server: Server) -> None:
    async def use() -> None:
        async with make_app(server.url) as app:
            await warm_up(app)
            finish(app, ["t"])
            assert await app.AsyncResult("t").aget() == "t"
        gc.collect()
        await until(lambda: not clients(server))

    asyncio.run(use())


def test_a_forked_child_has_connections_of_its_own(store: TaskQ) -> None:
    async def use(n: int) -> None:
        for _ in range(WARM_UP + 1):
            await store.tasks["add"].adelay(n, n)
        assert await store.AsyncResult(f"t{n}").aget(timeout=20) == f"t{n}"

    async def parent() -> int:
        await use(0)
        waiting = asyncio.ensure_future(store.AsyncResult("t2").aget(timeout=20))
        await asyncio.sleep(0.1)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                asyncio.set_event_loop(None)
                in_child = threading.Thread(target=lambda: asyncio.run(use(1)))
                in_child.start()
                in_child.join()
                status = 0
            finally:
                os._exit(status)
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        await asyncio.to_thread(finish, store, ["t2"])
        assert await waiting == "t2"
        await use(0)
        return status

    finish(store, ["t0", "t1"])
    assert asyncio.run(parent()) == 0
