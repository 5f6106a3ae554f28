"""What taskq and Celery store for one and the same result, and reading each other's.

The library named first in a test writes, the other one reads; or both write and the bytes are
compared, all but the time of day.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskq import TaskQ
from taskq.app.task import Context as OurContext

celery = pytest.importorskip("celery")
from celery.app.task import Context as CelerysContext  # noqa: E402

#: Moments in a stored meta, which differ from one call to the next.
MOMENT = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(\+00:00)?")

#: Name, state, result, traceback.
RESULTS: dict[str, tuple[str, Any, str | None]] = {
    "value": ("SUCCESS", {"x": [1, 2.5, None, "ü"]}, None),
    "none": ("SUCCESS", None, None),
    "failure": ("FAILURE", ValueError("bad", 3), "Traceback (most recent call last):\n"),
    "argument": ("FAILURE", KeyError("k"), None),
    "progress": ("PROGRESS", {"percent": 10}, None),
    "started": ("STARTED", {"pid": 1, "hostname": "w1"}, None),
    "retry": ("RETRY", OSError("later"), None),
    "custom": ("CUSTOM", "data", None),
}

Make = Callable[[Any], Any]


def ours(url: str, **settings: Any) -> TaskQ:
    app = TaskQ("ours", broker="memory://", backend=url, set_as_current=False)
    app.conf.update(settings)
    return app


def celerys(url: str, **settings: Any) -> Any:
    app = celery.Celery("celerys", broker="memory://", backend=url, set_as_current=False)
    app.conf.update(settings)
    return app


def request(context: Any, app: Any, task_id: str) -> Any:
    """Return the request of a task with everything that can go into a meta."""
    request = context(
        id=task_id,
        task="proj.add",
        args=[1, 2],
        kwargs={"z": 3},
        hostname="w1@host",
        retries=2,
        delivery_info={"routing_key": "celery"},
        group="the-group",
        parent_id="the-parent",
        stamped_headers=["color"],
        stamps={"color": "red"},
    )
    request.children.append(app.AsyncResult("child"))
    request.children.append(app.GroupResult("g", [app.AsyncResult("c1")]))
    return request


def write(app: Any, context: Any, name: str, **kwargs: Any) -> None:
    state, result, traceback = RESULTS[name]
    app.backend.store_result(
        name, result, state, traceback=traceback, request=request(context, app, name)
    )


def timeless(data: bytes) -> bytes:
    return MOMENT.sub(b"<moment>", data)


SETTINGS: list[dict[str, Any]] = [
    {},
    {"result_extended": True},
    {"result_serializer": "pickle", "accept_content": ["pickle", "json"]},
    {"result_serializer": "yaml", "accept_content": ["yaml"]},
    {"result_serializer": "msgpack", "accept_content": ["msgpack"]},
    {"result_compression": "gzip"},
]


def named(settings: dict[str, Any]) -> str:
    return "-".join(str(value) for value in settings.values() if isinstance(value, (str, bool)))


@pytest.fixture
def directories(tmp_path: Path) -> tuple[Path, Path]:
    pair = tmp_path / "ours", tmp_path / "celerys"
    for each in pair:
        each.mkdir()
    return pair


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("settings", SETTINGS[:2], ids=named)
def test_both_write_the_same_bytes(
    directories: tuple[Path, Path], settings: dict[str, Any], name: str
) -> None:
    write(ours(f"file://{directories[0]}", **settings), OurContext, name)
    write(celerys(f"file://{directories[1]}", **settings), CelerysContext, name)
    [our_file], [celerys_file] = (list(each.iterdir()) for each in directories)
    assert our_file.name == celerys_file.name
    assert timeless(our_file.read_bytes()) == timeless(celerys_file.read_bytes())


def test_both_save_the_same_group(directories: tuple[Path, Path]) -> None:
    for app in (ours(f"file://{directories[0]}"), celerys(f"file://{directories[1]}")):
        members = [app.AsyncResult("a"), app.GroupResult("inner", [app.AsyncResult("b")])]
        app.GroupResult("g", members, parent=app.AsyncResult("p")).save()
    [our_file], [celerys_file] = (list(each.iterdir()) for each in directories)
    assert our_file.name == celerys_file.name
    assert json.loads(our_file.read_bytes()) == json.loads(celerys_file.read_bytes())


def assert_same(name: str, result: Any) -> None:
    """Check that a handle of either library shows what was stored."""
    state, value, traceback = RESULTS[name]
    assert result.state == state
    assert result.traceback == traceback
    if isinstance(value, BaseException):
        assert (type(result.result), result.result.args) == (type(value), value.args)
    else:
        assert result.result == value
    assert (result.date_done is None) == (state not in ("SUCCESS", "FAILURE"))
    if state in ("SUCCESS", "FAILURE"):
        assert [child.id for child in result.children] == ["child", "g"]
    if result.app.conf.result_extended:
        assert (result.name, result.args, result.kwargs) == ("proj.add", [1, 2], {"z": 3})
        assert (result.worker, result.retries, result.queue) == ("w1@host", 2, "celery")


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("settings", SETTINGS, ids=named)
class TestFiles:
    def test_celery_reads_ours(self, tmp_path: Path, settings: Any, name: str) -> None:
        write(ours(f"file://{tmp_path}", **settings), OurContext, name)
        assert_same(name, celerys(f"file://{tmp_path}", **settings).AsyncResult(name))

    def test_we_read_celerys(self, tmp_path: Path, settings: Any, name: str) -> None:
        write(celerys(f"file://{tmp_path}", **settings), CelerysContext, name)
        assert_same(name, ours(f"file://{tmp_path}", **settings).AsyncResult(name))


@pytest.fixture(params=["sqlite", "postgres", "mysql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"db+sqlite:///{tmp_path / 'results.db'}"
        return
    import sqlalchemy as sa

    url: str = request.getfixturevalue(f"{request.param}_url")
    yield f"db+{url}"
    engine = sa.create_engine(url)
    metadata = sa.MetaData()
    metadata.reflect(engine)
    metadata.drop_all(engine)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            for name in ("task_id_sequence", "taskset_id_sequence"):
                connection.execute(sa.text(f"DROP SEQUENCE IF EXISTS {name}"))
    engine.dispose()


@pytest.mark.parametrize("first", ["ours", "celerys"])
@pytest.mark.parametrize("settings", [SETTINGS[1], SETTINGS[2]], ids=named)
def test_a_database_whose_tables_either_made(database: str, settings: Any, first: str) -> None:
    makers: list[tuple[Make, Any]] = [
        (lambda url: ours(url, **settings), OurContext),
        (lambda url: celerys(url, **settings), CelerysContext),
    ]
    if first == "celerys":
        makers.reverse()
    (make_writer, writer_context), (make_reader, _) = makers
    writer, reader = make_writer(database), make_reader(database)
    for name in RESULTS:
        write(writer, writer_context, name)
        assert_same(name, reader.AsyncResult(name))
    # Each changes a row of the other.
    reader.backend.store_result("progress", 1, "SUCCESS")
    assert writer.AsyncResult("progress").result == 1
    writer.backend.store_result("progress", ValueError(2), "FAILURE")
    assert reader.AsyncResult("progress").result == 1
    writer.GroupResult("g", [writer.AsyncResult("value")]).save()
    assert [each.id for each in reader.GroupResult.restore("g")] == ["value"]


@pytest.mark.parametrize("name", RESULTS)
def test_memcached(memcached_url: str, name: str) -> None:
    url, settings = memcached_url, {"result_extended": True}
    if not url.startswith("cache+"):
        url = f"cache+{url}"
    us, them = ours(url, **settings), celerys(url, **settings)
    for writer, context, reader in ((us, OurContext, them), (them, CelerysContext, us)):
        write(writer, context, name)
        assert_same(name, reader.AsyncResult(name))
        writer.AsyncResult(name).forget()
        assert reader.AsyncResult(name).state == "PENDING"


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("client", ["ours", "celerys"])
def test_replies(amqp_url: str, name: str, client: str) -> None:
    """The client is one of the two, the worker that sends the reply the other."""
    us = ours("rpc://", broker_url=amqp_url, result_expires=60)
    them = celerys("rpc://", broker_url=amqp_url, result_expires=60)
    asking, answering = (us, them) if client == "ours" else (them, us)
    context = CelerysContext if answering is them else OurContext
    with asking.producer_pool.acquire(block=True) as producer:
        asking.backend.on_task_call(producer, name)
    reply = request(context, answering, name)
    reply.update(reply_to=asking.thread_oid, correlation_id=name)
    state, value, traceback = RESULTS[name]
    answering.backend.store_result(name, value, state, traceback=traceback, request=reply)
    result = asking.AsyncResult(name)
    for _ in range(200):
        if result.state != "PENDING":
            break
    assert_same(name, result)
    us.close()
    them.close()


class TestExceptionsOfTheLibraries:
    """Each finds its own class for an exception that both have."""

    @pytest.mark.parametrize("name", ["TaskRevokedError", "ChordError", "MaxRetriesExceededError"])
    def test_celery_reads_ours(self, tmp_path: Path, name: str) -> None:
        import celery.exceptions

        import taskq.exceptions

        exc = getattr(taskq.exceptions, name)("why")
        ours(f"file://{tmp_path}").backend.store_result("a", exc, "FAILURE")
        found = celerys(f"file://{tmp_path}").AsyncResult("a").result
        assert type(found) is getattr(celery.exceptions, name)
        assert str(found) == "why"

    @pytest.mark.parametrize("name", ["TaskRevokedError", "ChordError", "MaxRetriesExceededError"])
    def test_we_read_celerys(self, tmp_path: Path, name: str) -> None:
        import celery.exceptions

        import taskq.exceptions

        exc = getattr(celery.exceptions, name)("why")
        celerys(f"file://{tmp_path}").backend.store_result("a", exc, "FAILURE")
        found = ours(f"file://{tmp_path}").AsyncResult("a").result
        assert type(found) is getattr(taskq.exceptions, name)
        assert str(found) == "why"
