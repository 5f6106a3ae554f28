"""The database backend on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskq import TaskQ
from taskq.app.task import Context
from taskq.exceptions import BackendGetMetaError, ImproperlyConfigured, TimeoutError

sa = pytest.importorskip("sqlalchemy")

MakeApp = Callable[..., Any]


def app_at(url: str, **settings: Any) -> TaskQ:
    app = TaskQ("db", broker="memory://", backend=f"db+{url}", set_as_current=False)
    app.conf.update(settings)
    return app


@pytest.fixture(params=["sqlite", "postgres", "mysql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """SQLAlchemy URL of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'results.db'}"
        return
    url: str = request.getfixturevalue(f"{request.param}_url")
    yield url
    engine = sa.create_engine(url)
    metadata = sa.MetaData()
    metadata.reflect(engine)
    metadata.drop_all(engine)
    engine.dispose()


@pytest.fixture
def app(url: str) -> Iterator[TaskQ]:
    app = app_at(url)
    yield app
    app.close()


def test_state_and_result(app: TaskQ) -> None:
    result = app.AsyncResult("a")
    assert result.state == "PENDING"
    app.backend.store_result("a", {"percent": 10}, "PROGRESS")
    assert (result.state, result.info) == ("PROGRESS", {"percent": 10})
    app.backend.store_result("a", [1, 2], "SUCCESS")
    assert result.get(timeout=5) == [1, 2]
    assert result.date_done is not None
    result.forget()
    assert not app.AsyncResult("a").exists()


def test_a_large_result(app: TaskQ) -> None:
    app.backend.store_result("a", "x" * 300_000, "SUCCESS")
    assert len(app.AsyncResult("a").get(timeout=5)) == 300_000


def test_waiting_for_a_result_of_another_thread(app: TaskQ) -> None:
    threading.Timer(0.2, app.backend.store_result, ["a", 5, "SUCCESS"]).start()
    assert app.AsyncResult("a").get(timeout=20) == 5
    with pytest.raises(TimeoutError):
        app.AsyncResult("b").get(timeout=0.05)


def test_many_results_are_read_together(app: TaskQ) -> None:
    ids = [f"t{n}" for n in range(600)]
    for number, task_id in enumerate(ids):
        app.backend.store_result(task_id, number, "SUCCESS")
    assert app.ResultSet([app.AsyncResult(each) for each in ids]).get(timeout=20) == list(
        range(600)
    )


def test_a_success_stays_whoever_writes_when(app: TaskQ) -> None:
    app.backend.store_result("a", None, "STARTED")
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait(10)
        if number == 3:
            app.backend.store_result("a", "the one", "SUCCESS")
        else:
            for _ in range(5):
                app.backend.store_result("a", ValueError(number), "FAILURE")

    threads = [threading.Thread(target=write, args=[n]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert app.AsyncResult("a").result == "the one"


def test_new_results_of_many_threads_at_once(app: TaskQ) -> None:
    failures: list[BaseException] = []

    def write(thread: int) -> None:
        try:
            for number in range(20):
                app.backend.store_result(f"{thread}.{number}", number, "SUCCESS")
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=write, args=[n]) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert all(app.AsyncResult(f"{t}.{n}").result == n for t in range(6) for n in range(20))


def test_groups(app: TaskQ) -> None:
    group = app.GroupResult("g", [app.AsyncResult("a"), app.AsyncResult("b")])
    group.save()
    group.save()
    assert app.GroupResult.restore("g") == group
    group.delete()
    assert app.GroupResult.restore("g") is None


def test_cleanup_removes_what_has_expired(url: str) -> None:
    app = app_at(url, result_expires=1)
    app.backend.store_result("old", 1, "SUCCESS")
    app.backend.store_result("waiting", 1, "STARTED")
    time.sleep(1.2)
    app.backend.store_result("new", 1, "SUCCESS")
    app.backend.cleanup()
    states = [app.AsyncResult(each).state for each in ("old", "waiting", "new")]
    assert states == ["PENDING", "STARTED", "SUCCESS"]
    app.close()


def test_tables_have_the_configured_names(url: str) -> None:
    app = app_at(url, database_table_names={"task": "my_tasks", "group": "my_groups"})
    app.backend.store_result("a", 1, "SUCCESS")
    engine = sa.create_engine(url)
    assert {"my_tasks", "my_groups"} <= set(sa.inspect(engine).get_table_names())
    assert "celery_taskmeta" not in sa.inspect(engine).get_table_names()
    engine.dispose()
    app.close()


def test_columns_that_an_old_table_lacks_are_added(url: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "CREATE TABLE celery_taskmeta (id INTEGER PRIMARY KEY, task_id VARCHAR(155) UNIQUE,"
                " status VARCHAR(50), date_done TIMESTAMP NULL, traceback TEXT)"
            )
        )
        if engine.dialect.name == "mysql":
            connection.execute(
                sa.text("ALTER TABLE celery_taskmeta MODIFY id INTEGER AUTO_INCREMENT")
            )
    app = app_at(url, result_extended=True)
    app.backend.store_result("a", 5, "SUCCESS")
    assert app.AsyncResult("a").get(timeout=5) == 5
    engine.dispose()
    app.close()


def test_processes_that_start_together_make_the_tables_once(url: str) -> None:
    start = multiprocessing.get_context("fork")
    barrier = start.Barrier(4)
    processes = [start.Process(target=_store_one, args=[url, n, barrier]) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    app = app_at(url)
    assert [app.AsyncResult(f"t{n}").result for n in range(4)] == [0, 1, 2, 3]
    app.close()


def _store_one(url: str, number: int, barrier: Any) -> None:
    barrier.wait(30)
    app_at(url).backend.store_result(f"t{number}", number, "SUCCESS")


def test_a_forked_child_has_connections_of_its_own(app: TaskQ) -> None:
    app.backend.store_result("a", 1, "SUCCESS")
    pid = os.fork()
    if not pid:
        status = 1
        try:
            for number in range(20):
                app.backend.store_result(f"child{number}", number, "SUCCESS")
            status = 0
        finally:
            os._exit(status)
    for number in range(20):
        app.backend.store_result(f"parent{number}", number, "SUCCESS")
    assert os.waitpid(pid, 0)[1] == 0
    assert app.AsyncResult("child19").result == 19
    assert app.AsyncResult("parent19").result == 19


def test_the_orm_session_sees_the_models(app: TaskQ) -> None:
    from taskq.backends.database import session_cleanup

    app.backend.store_result("a", 1, "SUCCESS")
    session = app.backend.ResultSession()
    with session_cleanup(session):
        task = session.query(app.backend.task_cls).filter_by(task_id="a").one()
        assert task.to_dict()["status"] == "SUCCESS"


class TestChords:
    """Header tasks end in threads; the body is what is sent."""

    @pytest.fixture
    def bodies(self, app: TaskQ) -> list[Any]:
        bodies: list[Any] = []

        @app.task(name="body", shared=False)
        def body(values: list[Any]) -> None:
            bodies.append(values)

        @app.task(name="errback", shared=False)
        def errback(request: Any, exc: BaseException, traceback: str) -> None:
            bodies.append(str(exc))

        app.conf.task_always_eager = True
        app.conf.task_store_eager_result = True
        app.conf.result_backend_transport_options = {"native_chords": True}
        return bodies

    def start(self, app: TaskQ, size: int) -> None:
        self.body = app.tasks["body"].s().set(task_id="the-body")
        self.body.link_error(app.tasks["errback"].s())
        results = [app.AsyncResult(f"part{n}") for n in range(size)]
        app.backend.apply_chord(("chord", results), self.body)
        app.backend.set_chord_size("chord", size)

    def request(self, number: int) -> Context:
        return Context(
            id=f"part{number}",
            group="chord",
            group_index=number,
            chord=dict(self.body),
            delivery_info={},
        )

    def test_header_tasks_that_end_together(self, app: TaskQ, bodies: list[Any]) -> None:
        size = 12
        self.start(app, size)
        together = threading.Barrier(size)

        def end(number: int) -> None:
            together.wait(30)
            for _ in range(2):  # each is delivered twice
                app.backend.mark_as_done(f"part{number}", number, request=self.request(number))

        threads = [threading.Thread(target=end, args=[n]) for n in range(size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert bodies == [list(range(size))]

    def test_a_failed_header_task(self, app: TaskQ, bodies: list[Any]) -> None:
        self.start(app, 2)
        app.backend.mark_as_failure("part1", ValueError("bad"), request=self.request(1))
        app.backend.mark_as_done("part0", 0, request=self.request(0))
        [reason] = bodies
        assert "part1" in reason
        assert "bad" in reason
        assert app.AsyncResult("the-body").state == "FAILURE"

    def test_nothing_is_left_when_it_is_over(self, app: TaskQ, bodies: list[Any]) -> None:
        self.start(app, 1)
        app.backend.mark_as_done("part0", 0, request=self.request(0))
        engine = app.backend._engine()
        with engine.connect() as connection:
            for table in ("taskq_chord", "taskq_chord_part"):
                count = connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar()
                assert count == 0

    def test_the_claimant_may_send_the_body_when_delivered_again(
        self, app: TaskQ, bodies: list[Any]
    ) -> None:
        self.start(app, 1)
        request = self.request(0)
        finish, app.backend._finish_chord = app.backend._finish_chord, _die
        with pytest.raises(KeyboardInterrupt):
            app.backend.mark_as_done("part0", 7, request=request)
        app.backend._finish_chord = finish
        app.backend.mark_as_done("part0", 7, request=request)
        assert bodies == [[7]]

    def test_they_are_polled_for_celerys_sake(
        self, app: TaskQ, bodies: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        polled: list[Any] = []
        app.conf.result_backend_transport_options = {}
        monkeypatch.setattr(
            app.backend, "fallback_chord_unlock", lambda *args, **kwargs: polled.append(args)
        )
        self.start(app, 1)
        app.backend.mark_as_done("part0", 0, request=self.request(0))
        assert len(polled) == 1
        assert bodies == []


def _die(*args: Any) -> None:
    raise KeyboardInterrupt


class TestSettings:
    def test_a_database_is_needed(self) -> None:
        app = TaskQ("db", backend="database", set_as_current=False)
        with pytest.raises(ImproperlyConfigured, match="database_url"):
            app.backend

    def test_the_setting_names_the_database(self, tmp_path: Path) -> None:
        app = TaskQ("db", backend="database", set_as_current=False)
        app.conf.database_url = f"sqlite:///{tmp_path / 'x.db'}"
        app.backend.store_result("a", 1, "SUCCESS")
        assert (tmp_path / "x.db").exists()

    def test_in_memory(self) -> None:
        app = app_at("sqlite://")
        app.backend.store_result("a", 1, "SUCCESS")
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(app.AsyncResult("a").result))
        thread.start()
        thread.join(10)
        assert found == [1]

    def test_engines_are_shown_to_the_callback(self, tmp_path: Path) -> None:
        engines: list[Any] = []
        app = app_at(f"sqlite:///{tmp_path / 'x.db'}", database_engine_callback=engines.append)
        app.backend.store_result("a", 1, "SUCCESS")
        assert len(engines) == 1

    def test_tables_can_wait_for_their_first_use(self, tmp_path: Path) -> None:
        app = app_at(f"sqlite:///{tmp_path / 'x.db'}", database_create_tables_at_setup=False)
        app.backend
        assert not (tmp_path / "x.db").exists()
        app.backend.store_result("a", 1, "SUCCESS")
        assert app.AsyncResult("a").result == 1

    def test_short_lived_sessions_keep_no_connection(self, tmp_path: Path) -> None:
        app = app_at(f"sqlite:///{tmp_path / 'x.db'}", database_short_lived_sessions=True)
        app.backend.store_result("a", 1, "SUCCESS")
        assert type(app.backend._engine().pool).__name__ == "NullPool"

    def test_the_password_is_masked(self) -> None:
        app = app_at(
            "postgresql+psycopg://me:secret@localhost:1/x", database_create_tables_at_setup=False
        )
        assert "secret" not in app.backend.as_uri()
        assert "secret" in app.backend.as_uri(include_password=True)

    def test_a_database_that_stays_away_is_given_up(self) -> None:
        app = app_at(
            "postgresql+psycopg://root@127.0.0.1:1/x",
            database_create_tables_at_setup=False,
            result_backend_always_retry=True,
            result_backend_max_retries=2,
            result_backend_max_sleep_between_retries_ms=1,
        )
        with pytest.raises(BackendGetMetaError):
            app.AsyncResult("a").state

    def test_results_that_old_celery_pickled_are_read(self, tmp_path: Path) -> None:
        import pickle

        app = app_at(f"sqlite:///{tmp_path / 'x.db'}")
        table = app.backend.task_cls.__table__
        with app.backend._engine().begin() as connection:
            for task_id, value in (("plain", {"x": [1]}), ("object", threading.Thread)):
                row = {"task_id": task_id, "status": "SUCCESS", "result": pickle.dumps(value)}
                connection.execute(table.insert().values(row))
        assert app.AsyncResult("plain").result == {"x": [1]}
        with pytest.raises(pickle.UnpicklingError, match="only plain data"):
            app.AsyncResult("object").result
