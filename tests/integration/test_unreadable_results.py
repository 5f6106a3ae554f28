"""A result that can't be decoded fails those who wait for it, and nobody else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from kombu.exceptions import DecodeError

from taskq import TaskQ

STORES = ["sqlite", "redis", "database", "file", "memory"]


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    return {
        "sqlite": f"sqlite:///{tmp_path}/results.db",
        "database": f"db+sqlite:///{tmp_path}/results.db",
        "file": f"file://{tmp_path}",
        "memory": "cache+memory://",
    }[request.param]


def app_at(url: str, serializer: str) -> TaskQ:
    app = TaskQ("unreadable", broker="memory://", backend=url, set_as_current=False)
    app.conf.result_serializer = serializer
    return app


@pytest.fixture
def reader(url: str) -> Iterator[TaskQ]:
    with app_at(url, "json") as app:
        yield app


@pytest.fixture
def foreign(url: str) -> Iterator[TaskQ]:
    """Stores in a format that the reader does not expect."""
    with app_at(url, "yaml") as app:
        yield app


def test_it_is_raised_at_once_and_ends_with_it(reader, foreign, unique) -> None:
    foreign.backend.store_result(f"{unique}bad", {"a": 1}, "SUCCESS")
    reader.backend.store_result(f"{unique}good", 1, "SUCCESS")
    for propagate in (True, False):
        with pytest.raises(DecodeError):
            reader.AsyncResult(f"{unique}bad").get(timeout=20, propagate=propagate)
    assert reader.AsyncResult(f"{unique}good").get(timeout=20) == 1
    # Nothing of the first one is left where the second one waits.
    threading.Timer(0.2, reader.backend.store_result, [f"{unique}later", 2, "SUCCESS"]).start()
    assert reader.AsyncResult(f"{unique}later").get(timeout=20) == 2


def test_those_who_wait_for_others_go_on_waiting(reader, foreign, unique) -> None:
    ids = [f"{unique}{number}" for number in range(4)]
    outcomes: dict[str, Any] = {}

    def wait(task_id: str) -> None:
        try:
            outcomes[task_id] = reader.AsyncResult(task_id).get(timeout=30)
        except Exception as exc:
            outcomes[task_id] = type(exc)

    threads = [threading.Thread(target=wait, args=[each]) for each in ids]
    for thread in threads:
        thread.start()
    foreign.backend.store_result(ids[1], {"a": 1}, "SUCCESS")
    threads[1].join(30)
    for number in (3, 0, 2):
        reader.backend.store_result(ids[number], number, "SUCCESS")
    for thread in threads:
        thread.join(30)
    assert outcomes == {ids[0]: 0, ids[1]: DecodeError, ids[2]: 2, ids[3]: 3}


def test_in_an_event_loop(reader, foreign, unique) -> None:
    async def main() -> list[Any]:
        waiting = [
            asyncio.create_task(reader.AsyncResult(f"{unique}{name}").aget(timeout=30))
            for name in ("good", "bad")
        ]
        await asyncio.sleep(0.05)
        foreign.backend.store_result(f"{unique}bad", {"a": 1}, "SUCCESS")
        await asyncio.wait([waiting[1]], timeout=30)
        reader.backend.store_result(f"{unique}good", 1, "SUCCESS")
        return await asyncio.gather(*waiting, return_exceptions=True)

    good, bad = asyncio.run(main())
    assert good == 1
    assert isinstance(bad, DecodeError)


def test_a_callback_is_not_called_with_it(reader, foreign, unique) -> None:
    heard = []
    result = reader.AsyncResult(f"{unique}bad")
    result.then(heard.append)
    foreign.backend.store_result(result.id, {"a": 1}, "SUCCESS")
    reader.backend.store_result(f"{unique}good", 1, "SUCCESS")
    assert reader.AsyncResult(f"{unique}good").get(timeout=20) == 1
    with pytest.raises(DecodeError):
        reader.AsyncResult(result.id).get(timeout=20)
    assert heard == []
