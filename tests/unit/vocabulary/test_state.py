"""The current app and task are right per thread, and per asyncio task."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest

from taskq import _state


@pytest.fixture(autouse=True)
def untouched_state(monkeypatch):
    monkeypatch.setattr(_state, "default_app", None)
    monkeypatch.setattr(_state, "_process_app", None)
    monkeypatch.setattr(_state, "_default_is_fallback", False)
    monkeypatch.setattr(_state, "_tls", _state._TLS())


class App:
    """Something that can be weakly referenced, as apps are."""


def in_thread(fun):
    found = []
    thread = threading.Thread(target=lambda: found.append(fun()))
    thread.start()
    thread.join()
    return found[0]


def test_current_app_of_a_thread_is_its_own():
    mine, other = App(), App()
    _state._set_current_app(mine)

    def use_other():
        _state._set_current_app(other)
        return _state.get_current_app()

    assert in_thread(use_other) is other
    assert _state.get_current_app() is mine


def test_a_thread_that_chose_no_app_gets_the_default_one():
    mine, default = App(), App()
    _state._set_current_app(mine)
    _state.set_default_app(default)
    assert in_thread(_state.get_current_app) is default


def test_a_thread_gets_the_programs_app_rather_than_an_unconfigured_one():
    mine = App()
    _state._set_current_app(mine)
    assert in_thread(_state.get_current_app) is mine


def test_app_or_default():
    mine = App()
    _state._set_current_app(mine)
    other = App()
    assert _state.app_or_default() is mine
    assert _state.app_or_default(other) is other


def test_trace_tells_of_falling_back(capsys):
    _state._set_current_app(App())
    _state.enable_trace()
    try:
        _state.app_or_default()
    finally:
        _state.disable_trace()
    assert "CURRENT APP" in capsys.readouterr().err
    _state.app_or_default()
    assert capsys.readouterr().err == ""


def test_finalizers_hear_of_apps(monkeypatch):
    # The built-in tasks are finalizers too, and want a real app.
    monkeypatch.setattr(_state, "_on_app_finalizers", set())
    heard = []
    _state.connect_on_app_finalize(heard.append)
    app = App()
    _state._announce_app_finalized(app)
    assert heard == [app]


def test_active_apps_are_not_kept_alive():
    app = App()
    _state._register_app(app)
    assert app in _state._get_active_apps()
    _state._deregister_app(app)
    assert app not in _state._get_active_apps()


class Test_current_task:
    def test_innermost_task_is_current(self):
        outer, inner = object(), object()
        _state.push_current_task(outer)
        _state.push_current_task(inner)
        try:
            assert _state.get_current_task() is inner
        finally:
            _state.pop_current_task()
            _state.pop_current_task()
        assert _state.get_current_task() is None
        assert not _state.current_task

    def test_worker_task_is_the_one_that_was_not_called_directly(self):
        called = SimpleNamespace(request=SimpleNamespace(called_directly=False))
        nested = SimpleNamespace(request=SimpleNamespace(called_directly=True))
        _state.push_current_task(called)
        _state.push_current_task(nested)
        try:
            assert _state.get_current_worker_task() is called
        finally:
            _state.pop_current_task()
            _state.pop_current_task()
        assert _state.get_current_worker_task() is None

    def test_threads_do_not_see_each_others(self):
        _state.push_current_task(object())
        try:
            assert in_thread(_state.get_current_task) is None
        finally:
            _state.pop_current_task()

    def test_asyncio_tasks_do_not_see_each_others(self):
        async def run(name, started, go_on):
            _state.push_current_task(name)
            started.set()
            await go_on.wait()
            current = _state.get_current_task()
            _state.pop_current_task()
            return current, _state.get_current_task()

        async def both():
            first, second = asyncio.Event(), asyncio.Event()
            return await asyncio.gather(run("a", first, second), run("b", second, first))

        assert asyncio.run(both()) == [("a", None), ("b", None)]


def test_task_join_will_block():
    _state._set_task_join_will_block(True)
    try:
        assert _state.task_join_will_block()
    finally:
        _state._set_task_join_will_block(False)
    assert not _state.task_join_will_block()
