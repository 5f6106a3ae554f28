"""Stacks and attributes private to a context; threads that work and stop; timers."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from taskq.utils.threads import (
    Local,
    LocalManager,
    LocalStack,
    bgThread,
    bound_open_broker_sockets,
    default_socket_timeout,
    get_ident,
    release_local,
)
from taskq.utils.timer2 import Entry, Timer


def in_thread(fun):
    found = []
    thread = threading.Thread(target=lambda: found.append(fun()))
    thread.start()
    thread.join()
    return found[0]


class Test_LocalStack:
    def test_push_and_pop(self):
        stack = LocalStack()
        assert (stack.top, stack.stack, len(stack), stack.pop()) == (None, [], 0, None)
        assert stack.push(1) == [1]
        assert stack.push(2) == [1, 2]
        assert (stack.top, stack.stack, len(stack)) == (2, [1, 2], 2)
        assert (stack.pop(), stack.pop(), stack.pop()) == (2, 1, None)

    def test_threads(self):
        stack = LocalStack()
        stack.push(1)
        assert in_thread(lambda: stack.stack) == []

    def test_asyncio_tasks_start_with_their_parents_and_keep_theirs(self):
        stack = LocalStack()

        async def child():
            seen = stack.stack
            stack.push("child")
            await asyncio.sleep(0)
            return seen, stack.stack

        async def parent():
            stack.push("parent")
            seen = await asyncio.gather(child(), child())
            return seen, stack.stack

        seen, left = asyncio.run(parent())
        assert seen == [(["parent"], ["parent", "child"])] * 2
        assert left == ["parent"]

    def test_contexts(self):
        stack = LocalStack()
        stack.push(1)
        context = contextvars.copy_context()
        assert context.run(stack.pop) == 1
        assert stack.top == 1

    def test_release(self):
        stack = LocalStack()
        stack.push(1)
        release_local(stack)
        assert stack.top is None

    def test_generic(self):
        assert LocalStack[int] is not None


class Test_Local:
    def test_attributes(self):
        local = Local()
        local.a = 1
        assert local.a == 1
        assert [values for _, values in local] == [{"a": 1}]
        assert in_thread(lambda: getattr(local, "a", None)) is None
        del local.a
        with pytest.raises(AttributeError):
            local.a
        with pytest.raises(AttributeError):
            del local.a

    def test_manager(self):
        local, stack = Local(), LocalStack()
        local.a = 1
        stack.push(1)
        manager = LocalManager([local, stack])
        assert manager.get_ident() == get_ident()
        manager.cleanup()
        assert (list(local), stack.top) == ([], None)
        assert "2" in repr(manager)
        assert LocalManager(local).locals == [local]
        assert LocalManager().locals == []


class Test_bgThread:
    def test_works_until_stopped(self):
        rounds = threading.Event()

        class Worker(bgThread):
            def body(self):
                rounds.set()
                time.sleep(0.001)

        thread = Worker()
        thread.start()
        assert rounds.wait(5)
        thread.stop()
        assert not thread.is_alive()
        assert thread.name == "Worker"

    def test_stop_before_start(self):
        bgThread().stop()

    def test_a_crash_ends_the_process(self):
        code = (
            "from taskq.utils.threads import bgThread\n"
            "class T(bgThread):\n"
            "    def body(self): raise ValueError('broken')\n"
            "t = T(); t.start(); t.join(5)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 1
        assert "broken" in done.stderr


def test_default_socket_timeout():
    before = socket.getdefaulttimeout()
    with default_socket_timeout(3):
        assert socket.getdefaulttimeout() == 3
    assert socket.getdefaulttimeout() == before


def test_bound_open_broker_sockets():
    left, right = socket.socketpair()
    with left, right:
        raw = SimpleNamespace(transport=SimpleNamespace(sock=left))
        with bound_open_broker_sockets(SimpleNamespace(_connection=raw), 2):
            assert left.gettimeout() == 2
        assert left.gettimeout() is None
    with bound_open_broker_sockets(SimpleNamespace(_connection=None), 2):
        pass


class Test_Timer:
    @pytest.fixture
    def timer(self):
        timer = Timer(max_interval=0.05)
        yield timer
        timer.stop()
        assert not timer.is_alive()

    def test_calls_later(self, timer):
        called = threading.Event()
        timer.call_after(0.01, called.set)
        assert called.wait(5)
        assert timer.running

    def test_entry(self, timer):
        called = threading.Event()
        timer.enter_after(0.01, Entry(called.set))
        assert called.wait(5)

    def test_a_nearer_entry_is_not_kept_waiting_by_a_far_one(self, timer):
        called = threading.Event()
        timer.call_after(1000, called.clear)
        timer.call_after(0.01, called.set)
        assert called.wait(5)
        assert len(timer) == 1
        timer.clear()
        assert timer.empty()

    def test_repeats_until_cancelled(self, timer):
        calls, enough = [], threading.Event()

        def call():
            calls.append(1)
            if len(calls) == 3:
                enough.set()

        entry = timer.call_repeatedly(0.01, call)
        assert enough.wait(5)
        timer.cancel(entry)
        assert entry.canceled

    def test_true_even_if_empty(self):
        assert Timer()
        assert Timer().queue == []
