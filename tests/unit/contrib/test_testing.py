"""Helpers for tests: apps in memory, a worker in a thread, messages that need no broker."""

from __future__ import annotations

import json
import threading

import pytest

from taskq import TaskQ, current_app
from taskq._state import get_current_app
from taskq.contrib.testing.app import TestApp, setup_default_app
from taskq.contrib.testing.manager import Manager, Sentinel
from taskq.contrib.testing.mocks import (
    ContextMock,
    TaskMessage,
    TaskMessage1,
    task_message_from_sig,
)
from taskq.contrib.testing.worker import (
    start_worker,
    test_worker_started,
    test_worker_starting,
    test_worker_stopped,
)


class TestApps:
    def test_an_app_in_memory(self):
        app = TestApp("mine")
        assert app.main == "mine"
        assert app.conf.broker_url == "memory://"
        assert app.conf.result_backend == "cache+memory://"
        assert app.log.already_setup
        assert "celery.ping" in app.tasks

    def test_arguments_and_settings(self):
        app = TestApp(config={"task_always_eager": True}, broker="redis://elsewhere")
        assert app.conf.task_always_eager is True
        assert app.conf.broker_url == "redis://elsewhere"

    def test_the_current_app_is_put_back(self):
        before = get_current_app()
        app = TestApp("inside")
        with setup_default_app(app):
            app.set_current()
            app.set_default()
            assert current_app.main == "inside"
        assert get_current_app() is before

    def test_in_other_threads_too(self):
        before = get_current_app()
        app = TestApp("inside")
        with setup_default_app(app):
            app.set_current()
        seen = []
        thread = threading.Thread(target=lambda: seen.append(get_current_app()))
        thread.start()
        thread.join()
        assert seen == [before]

    def test_the_trap(self):
        with setup_default_app(TestApp("inside"), use_trap=True):
            with pytest.raises(RuntimeError, match="Test depends on current_app"):
                assert current_app.conf
        assert get_current_app().conf


class TestWorkerInAThread:
    @pytest.mark.parametrize("pool", ["solo", "threads"])
    def test_it_runs_tasks(self, pool):
        app = TestApp("worked")

        @app.task
        def add(x, y):
            return x + y

        with setup_default_app(app), start_worker(app, pool=pool) as worker:
            assert add.delay(1, 2).get(timeout=10) == 3
            assert worker.hostname.startswith("gen")

    def test_a_worker_on_other_queues_is_pinged_there(self):
        app = TestApp("queued")
        with setup_default_app(app), start_worker(app, queues=["a", "b"]):
            assert app.tasks["celery.ping"].apply_async(queue="b").get(timeout=10) == "pong"

    def test_its_life_is_announced(self):
        app = TestApp("told")
        seen = []

        def starting(**kwargs):
            seen.append("starting")

        def started(worker, consumer, **kwargs):
            seen.append("started")

        def stopped(worker, **kwargs):
            seen.append("stopped")

        test_worker_starting.connect(starting)
        test_worker_started.connect(started)
        test_worker_stopped.connect(stopped)
        try:
            with setup_default_app(app), start_worker(app, perform_ping_check=False):
                pass
        finally:
            test_worker_starting.disconnect(starting)
            test_worker_started.disconnect(started)
            test_worker_stopped.disconnect(stopped)
        assert seen == ["starting", "started", "stopped"]

    def test_a_worker_that_cannot_start_says_why(self):
        app = TestApp("broken")

        class Unwilling:
            requires = ()

        with setup_default_app(app):
            app.conf.worker_consumer = "no.such.module:Consumer"
            with pytest.raises(Exception, match="no"):
                with start_worker(app, perform_ping_check=False):
                    raise AssertionError("must not start")

    def test_a_worker_that_ends_while_it_starts_does_not_hang_the_test(self):
        app = TestApp("ending")

        @app.task(Request="no.such.module:Request")
        def unwilling():
            raise AssertionError("never runs")

        with setup_default_app(app):
            with pytest.raises(RuntimeError, match="the test worker did not start: it ended"):
                with start_worker(app, perform_ping_check=False):
                    raise AssertionError("must not start")

    def test_the_task_for_pinging_must_be_there(self):
        app = TaskQ("bare", broker="memory://", set_as_current=False)
        app.tasks.pop("celery.ping", None)
        with setup_default_app(app):
            with pytest.raises(RuntimeError, match=r"taskq\.contrib\.testing\.tasks"):
                with start_worker(app):
                    raise AssertionError("must not start")


class TestMocks:
    def test_protocol_2(self):
        message = TaskMessage("t", id="i", args=(1,), kwargs={"a": 2}, shadow="s", lang="py")
        assert message.headers == {"id": "i", "task": "t", "shadow": "s", "lang": "py"}
        assert json.loads(message.body) == [
            [1],
            {"a": 2},
            {"callbacks": None, "errbacks": None, "chain": None},
        ]
        assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")

    def test_protocol_1(self):
        message = TaskMessage1("t", id="i", args=(1,), kwargs={"a": 2})
        assert message.headers == {}
        assert json.loads(message.body)["task"] == "t"
        assert message.payload["args"] == (1,)

    def test_from_a_signature(self):
        app = TestApp("signed")

        @app.task
        def add(x, y):
            return x + y

        sig = add.s(1, 2).set(countdown=10, link=[add.s(3)])
        message = task_message_from_sig(app, sig)
        assert message.headers["task"] == add.name
        assert message.headers["id"] == sig.id
        assert message.headers["eta"]
        assert message.payload[0] == (1, 2)
        assert message.payload[2]["callbacks"][0]["args"] in ((3,), [3])

    def test_contexts(self):
        mock = ContextMock(a=1)
        with mock as inside:
            assert inside is mock


class TestManager:
    @pytest.fixture
    def manager(self) -> Manager:
        return Manager(TestApp("managed"))

    def test_waiting_until_it_works(self, manager):
        tries = []

        def fun():
            tries.append(1)
            if len(tries) < 3:
                raise KeyError("not yet")
            return "done"

        assert manager.wait_for(fun, KeyError, interval_start=0.0, interval_step=0.0) == "done"

    def test_waiting_has_an_end(self, manager):
        def never():
            raise Sentinel

        with pytest.raises(Sentinel):
            manager.wait_for(never, Sentinel, max_retries=2, interval_start=0, interval_step=0)

    def test_something_must_not_happen(self, manager):
        def never():
            raise Sentinel

        quick = {"max_retries": 2, "interval_start": 0, "interval_step": 0}
        manager.ensure_not_for_a_while(never, Sentinel, **quick)
        with pytest.raises(AssertionError):
            manager.ensure_not_for_a_while(lambda: None, Sentinel, **quick)
