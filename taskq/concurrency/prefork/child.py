"""The life of a pool process: initialise, read a task, run it, report, until told to leave.

Entered from a fresh fork or a spawned interpreter; never returns to either.
"""

from __future__ import annotations

import atexit
import gc
import logging
import marshal
import os
import pickle
import socket
import sys
import threading
import time
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from billiard.pool import MaybeEncodingError

from taskq.concurrency.executors import Executor, load_executor
from taskq.concurrency.jobs import FAILED, OK, escaped, exception_info, exit_status
from taskq.concurrency.prefork import frames, identity
from taskq.concurrency.prefork.channel import LostFile, enter_child, receive_packet
from taskq.concurrency.prefork.initializer import process_destructor, process_initializer
from taskq.concurrency.prefork.interrupts import Interrupts
from taskq.concurrency.prefork.memory import MemoryLimit
from taskq.concurrency.prefork.page import BEGUN, Page
from taskq.utils.coroutines import close_loop
from taskq.utils.serialization import get_pickleable_exception

logger = logging.getLogger(__name__)

#: Exit status of a child whose initialisation failed.
EX_INIT_FAILED = 1


@dataclass(frozen=True, slots=True)
class ChildConfig:
    """What a child needs to know besides its socket and its page."""

    index: int
    name: str
    main_pid: int
    #: Dotted name of the function that runs payloads.
    executor: str
    #: Tasks after which the child leaves; None for no limit.
    max_tasks: int | None
    #: Resident memory in kB above which the child leaves after a task; None for no limit.
    max_memory: int | None
    app: Any
    hostname: str | None

    def with_app(self, app: Any) -> ChildConfig:
        """Return a copy for ``app``."""
        return replace(self, app=app)

    def without_app(self) -> ChildConfig:
        """Return a copy that can be pickled, whatever the app is."""
        return replace(self, app=None)


def run_child(config: ChildConfig, sock: socket.socket, page: Page) -> NoReturn:
    """Be a pool process until it ends."""
    exitcode = EX_INIT_FAILED
    try:
        interrupts = _become(config, page)
        child = ChildLoop(config, sock, page, interrupts)
        child.announce()
        exitcode = child.serve()
        child.settle()
        _leave(config, exitcode)
        interrupts.die_if_told()
    except BaseException:
        logger.critical("%s pid:%d failed", config.name, os.getpid(), exc_info=True)
    finally:
        _flush_streams()
        os._exit(exitcode)


class ChildLoop:
    """Reads tasks from the socket and runs them one after the other."""

    def __init__(
        self, config: ChildConfig, sock: socket.socket, page: Page, interrupts: Interrupts
    ) -> None:
        self._config = config
        self._socket = sock
        self._page = page
        self._interrupts = interrupts
        self._executor: Executor = load_executor(config.executor)
        self._memory = MemoryLimit(config.max_memory) if config.max_memory else None
        self._done = 0
        self._sees_end = enter_child(sock)
        interrupts.watch(self._executor)

    def announce(self) -> None:
        """Tell the main process that tasks may come."""
        self._send(frames.encode_reply(0, frames.READY, None, 0.0))

    def serve(self) -> int:
        """Run tasks until it is time to leave; return the exit status."""
        sock, execute = self._socket, self._executor.execute
        slots, interrupts = self._page.slots, self._interrupts
        dumps, send, version = marshal.dumps, self._send, frames.MARSHAL_VERSION
        unlimited = self._config.max_tasks is None and self._memory is None
        plain, early, leaving, exitcode = frames.PLAIN, frames.EARLY, 0, 0
        ahead = self._executor.ahead
        while not leaving:
            try:
                packet = self._next_or_settle() if ahead.unsettled else receive_packet(sock)
            except LostFile as exc:
                send(encode_escaped(exc.seq, exc, 0))
                continue
            except TimeoutError:
                if self._is_orphan():
                    return 0
                continue
            if packet is None:
                return 0
            seq, kind, payload = packet
            # An acknowledgement that is still to come says that the result is stored.
            ahead.allowed = bool(kind & early)
            if kind != early:
                if kind == frames.STOP:
                    return 0
                if not kind & early and self._is_orphan():
                    # The broker delivers it again, to a worker that can acknowledge it.
                    continue
            slots[BEGUN] = interrupts.running = seq
            raised: BaseException | None = None
            outcome: Any = None
            try:
                if kind > plain:
                    payload = frames.unpack(kind, payload)
                if payload[0] is None:
                    outcome = self._call(payload)
                else:
                    outcome = execute(payload)
                interrupts.running = 0
            except BaseException as exc:
                interrupts.running = 0
                raised = exc
            if interrupts.ending:
                return 128 + interrupts.ending
            if not unlimited:
                leaving = self._leaving()
            if raised is not None:
                if isinstance(raised, SystemExit):
                    leaving, exitcode = frames.LEAVING, exit_status(raised)
                reply = encode_escaped(seq, raised, leaving)
            elif outcome.kind == OK:
                try:
                    reply = dumps((seq, leaving, outcome.value, outcome.runtime), version)
                except ValueError:
                    reply = self._encode_ended(seq, outcome, leaving)
            else:
                reply = self._encode_ended(seq, outcome, leaving)
            send(reply)
        return exitcode

    def settle(self) -> None:
        """Wait until the results are stored that were written ahead."""
        self._executor.ahead.settle()

    def _next_or_settle(self) -> tuple[int, int, Any] | None:
        """Return the next packet; before waiting for one, settle."""
        try:
            return receive_packet(self._socket, socket.MSG_DONTWAIT)
        except BlockingIOError:
            self.settle()
        return receive_packet(self._socket)

    def _call(self, payload: tuple[Any, ...]) -> Any:
        """Run a plain callable of ``apply_async()``."""
        started = time.monotonic()
        kind = OK
        try:
            target, args, kwargs = pickle.loads(payload[frames.BODY])
            value = target(*args, **kwargs)
        except Exception as exc:
            kind, value = FAILED, exception_info(exc)
        return self._executor.outcome(kind, value, time.monotonic() - started)

    def _encode_ended(self, seq: int, outcome: Any, leaving: int) -> bytes:
        try:
            pickled = pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)
        except Exception as exc:
            pickled = pickle.dumps(self._plain(outcome, exc), pickle.HIGHEST_PROTOCOL)
        return frames.encode_reply(seq, frames.ENDED | leaving, pickled, outcome.runtime)

    def _plain(self, outcome: Any, reason: Exception) -> Any:
        """Return ``outcome`` with everything in it that can't be pickled described as text."""
        kind = FAILED if outcome.kind == OK else outcome.kind
        error = MaybeEncodingError(reason, getattr(outcome.value, "exception", outcome.value))
        return self._executor.outcome(kind, exception_info(error), outcome.runtime)

    def _is_orphan(self) -> bool:
        return os.getppid() != self._config.main_pid

    def _leaving(self) -> int:
        """Return the flag to report when this was the child's last task."""
        self._done += 1
        most = self._config.max_tasks
        if most is not None and self._done >= most:
            return frames.LEAVING
        if self._memory is not None and self._memory.exceeded():
            return frames.LEAVING
        return 0

    def _send(self, reply: bytes) -> None:
        """Report to the main process; silently drop the report when that is gone."""
        if not self._sees_end and self._is_orphan():
            return
        try:
            if len(reply) <= frames.INLINE_LIMIT:
                self._socket.send(reply)
            else:
                self._send_in_pieces(reply)
        except ConnectionError:
            # The results of tasks are stored by the trace; only the main process's bookkeeping
            # is missing, and it is dead. What is left to run is decided when it is read.
            return

    def _send_in_pieces(self, reply: bytes) -> None:
        seq, kind, _, _ = marshal.loads(reply)
        view, step = memoryview(reply), frames.INLINE_LIMIT
        ends = range(step, len(reply), step)
        for end in ends:
            piece = frames.encode_reply(seq, frames.FRAGMENT, bytes(view[end - step : end]), 0.0)
            self._socket.send(piece)
        rest = bytes(view[ends[-1] :])
        kind = frames.LAST_FRAGMENT | (kind & frames.LEAVING)
        self._socket.send(frames.encode_reply(seq, kind, rest, 0.0))


def encode_escaped(seq: int, exc: BaseException, leaving: int) -> bytes:
    """Return the packet for a task that ended by an exception out of the executor itself."""
    # What a task's own code let through is logged by the main process.
    level = logging.ERROR if isinstance(exc, Exception) else logging.DEBUG
    logger.log(level, "The execution of job %d failed: %r", seq, exc, exc_info=exc)
    pickled = pickle.dumps(get_pickleable_exception(escaped(exc)))
    return frames.encode_reply(seq, frames.ESCAPED | leaving, pickled, 0.0)


def _become(config: ChildConfig, page: Page) -> Interrupts:
    atexit._clear()
    interrupts = Interrupts(page)
    interrupts.install()
    identity.become(config.name, config.index)
    _close_stdin()
    gc.enable()
    if config.app is not None:
        process_initializer(config.app, config.hostname)
        # It has reset the signals.
        interrupts.install()
    return interrupts


def _leave(config: ChildConfig, exitcode: int) -> None:
    """End as a Python process does: shutdown signal, threads, exit functions, buffers."""
    if config.app is not None:
        process_destructor(os.getpid(), exitcode)
    close_loop()
    threading._shutdown()  # type: ignore[attr-defined]
    identity.leave()
    atexit._run_exitfuncs()


def _close_stdin() -> None:
    """Give tasks an empty standard input: the terminal belongs to the main process."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    if null:
        os.close(null)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it stays open


def _flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            # Closed or replaced by the task's module; nobody is left to tell.
            continue
