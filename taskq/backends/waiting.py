"""Waiting for task states: one leader thread drains the store for every waiting thread.

``AsyncResult.get`` and ``ResultSet.iter_native`` come here through the backend; a ``ResultSource``
feeds it.
"""

from __future__ import annotations

import math
import select
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from taskq import states
from taskq.backends.unreadable import error_of
from taskq.exceptions import TimeoutError
from taskq.utils.log import get_logger

__all__ = ("Meta", "ResultSource", "Wakeup", "Waiter")

logger = get_logger(__name__)

Meta = dict[str, Any]
OnMessage = Callable[[Meta], Any]
OnInterval = Callable[[], Any]

#: Longest time (seconds) one drain may block, so that ended subscriptions are dropped soon.
DRAIN_SLICE = 1.0
#: How long (seconds) a follower with no time left waits for the leader to read its state once.
FIRST_READ_GRACE = 1.0

E_RETRY_LIMIT_EXCEEDED = (
    "Retry limit exceeded while trying to reconnect to the result backend {url}: {error!r}. "
    "Check that the store is running; the result can be asked for again."
)
E_TIMED_OUT_AWAY = (
    "The operation timed out, and the result backend {url} could not be reached: {error!r}"
)


def wait_readable(fileno: int, timeout: float) -> None:
    """Block until the descriptor is readable, at most `timeout` seconds."""
    if hasattr(select, "poll"):
        poller = select.poll()
        poller.register(fileno, select.POLLIN)
        poller.poll(math.ceil(timeout * 1000))
    else:
        select.select([fileno], [], [], timeout)


class Wakeup:
    """Takes a thread out of ``select``: a flag with a file descriptor, made on first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flag = False
        self._pair: tuple[socket.socket, socket.socket] | None = None

    def fileno(self) -> int:
        """Return a descriptor that is readable while the flag is set."""
        with self._lock:
            if self._pair is None:
                self._pair = socket.socketpair()
                for end in self._pair:
                    end.setblocking(False)
                if self._flag:
                    self._pair[1].send(b"\0")
            return self._pair[0].fileno()

    def set(self) -> None:
        """Set the flag and make the descriptor readable."""
        with self._lock:
            if not self._flag:
                self._flag = True
                if self._pair is not None:
                    self._pair[1].send(b"\0")

    def clear(self) -> None:
        """Unset the flag."""
        with self._lock:
            if self._flag:
                self._flag = False
                if self._pair is not None:
                    self._pair[0].recv(64)

    def is_set(self) -> bool:
        """Tell whether somebody asked for attention."""
        return self._flag

    def wait(self, timeout: float) -> bool:
        """Sleep at most `timeout` seconds; return True at once when the flag is or gets set."""
        if self._flag or timeout <= 0:
            return self._flag
        wait_readable(self.fileno(), timeout)
        return self._flag

    def discard(self) -> None:
        """Close the descriptors; takes no lock, so a forked child can call it."""
        if self._pair is not None:
            for end in self._pair:
                end.close()


class ResultSource:
    """Where states come from; one per backend, and used by one thread at a time.

    A backend that can be notified subclasses this and returns it from
    ``Backend.create_result_source``. A source has connections of its own.
    """

    #: Errors of `begin` and `drain` after which the source is disconnected and begun anew.
    recoverable_errors: tuple[type[BaseException], ...] = ()
    #: Raised when the store stays away for longer than the retry policy allows.
    retry_limit_error: type[Exception] = RuntimeError

    def begin(self, task_ids: Sequence[str]) -> Iterable[Meta]:
        """Subscribe to these ids, then read them; return the metas of those that are stored."""
        raise NotImplementedError(f"{type(self).__name__} must implement begin()")

    def end(self, task_ids: Sequence[str]) -> None:
        """Drop the subscriptions of these ids: nobody waits for them any more."""

    def drain(self, timeout: float, wakeup: Wakeup) -> Iterable[Meta]:
        """Block at most `timeout` seconds for changes and return the metas seen, in order.

        Returns early when `wakeup` is set and as soon as there is one meta; with a timeout of 0
        only what has already arrived.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement drain()")

    def unclaimed(self, meta: Meta) -> None:
        """Take note of a drained meta that nobody watches."""

    def disconnect(self) -> None:
        """Forget connections and subscriptions; the next `begin` makes new ones."""

    def after_fork(self) -> None:
        """Drop the parent's sockets in a forked child, without talking on them."""


class Watch:
    """What one waiting thread is waiting for, and what has arrived for it."""

    __slots__ = ("begun", "event", "ids", "inbox")

    def __init__(self, task_ids: Iterable[str]) -> None:
        #: Ids that are not ready yet, as far as the waiting thread has seen.
        self.ids = set(task_ids)
        self.inbox: deque[Meta] = deque()
        #: Set while the thread follows; a leader needs none.
        self.event: threading.Event | None = None
        #: The ids have been read from the store at least once.
        self.begun = False

    def deliver(self, meta: Meta) -> None:
        """Put a meta into the inbox. Called with the waiter's lock held."""
        self.inbox.append(meta)
        self.wake()

    def wake(self) -> None:
        """Wake the thread if it sleeps. Called with the waiter's lock held."""
        if self.event is not None:
            self.event.set()

    def take(self) -> list[Meta]:
        """Return what arrived; ids that became ready are no longer waited for."""
        taken = []
        while self.inbox:
            meta = self.inbox.popleft()
            if meta["task_id"] in self.ids:
                taken.append(meta)
                if meta["status"] in states.READY_STATES:
                    self.ids.discard(meta["task_id"])
        return taken


class Waiter:
    """Lets any number of threads wait for states of tasks on one `ResultSource`.

    1. A thread registers a `Watch` and tries to become the leader.
    2. The leader begins everybody's new ids, drains the source and delivers to all watches.
    3. Followers sleep on their watch; a new one wakes the leader up so that its ids are begun.
    4. A leader that has what it wants resigns and wakes a follower to take over.
    """

    def __init__(
        self,
        create_source: Callable[[], ResultSource],
        *,
        retry_policy: dict[str, Any] | None = None,
        url: str = "",
    ) -> None:
        self._create_source = create_source
        self._retry_policy = retry_policy or {}
        self._url = url
        self._source: ResultSource | None = None
        self._followed: dict[str, list[Callable[[], Any]]] = {}
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._leading = False
        self._following: deque[Watch] = deque()
        self._watches: dict[str, list[Watch]] = {}
        #: Ids to begin, in the order they were asked for (a dict is an ordered set).
        self._new: dict[str, None] = dict.fromkeys(self._followed)
        self._begun: set[str] = set()
        self._ended: set[str] = set()
        self._failures = 0
        #: Why the store could not be reached when it was tried last; None when it was.
        self._away: BaseException | None = None
        self._wakeup = Wakeup()

    # -- what callers use ---------------------------------------------------

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float = 0.5,
        on_interval: OnInterval | None = None,
        on_message: OnMessage | None = None,
    ) -> Meta:
        """Block until the task is ready and return its meta.

        Parameters:
            task_id: the task.
            timeout: seconds; None waits for ever.
            interval: seconds between two calls of `on_interval`, and the longest polling pause.
            on_interval: called without arguments every `interval` seconds, in this thread.
            on_message: called with the meta of every state seen, in this thread.

        Raises:
            taskq.exceptions.TimeoutError: not ready after `timeout` seconds.
            Exception: what decoding the stored state of the task raised.
        """
        found = self.iter_ready([task_id], timeout, interval, on_interval, on_message)
        for _, meta in found:
            return meta
        raise AssertionError("iter_ready ended without a meta")  # pragma: no cover

    def iter_ready(
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        interval: float = 0.5,
        on_interval: OnInterval | None = None,
        on_message: OnMessage | None = None,
    ) -> Iterator[tuple[str, Meta]]:
        """Yield ``(task_id, meta)`` of each task once, as they become ready.

        Parameters and errors are those of `wait_for`.
        """
        watch = Watch(task_ids)
        now = time.monotonic()
        deadline = None if timeout is None else now + timeout
        tick = now + interval
        self._register(watch)
        try:
            while watch.ids:
                limit = tick if deadline is None else min(tick, deadline)
                for meta in self._next(watch, limit):
                    if (error := error_of(meta)) is not None:
                        raise error
                    if on_message is not None:
                        on_message(meta)
                    if meta["status"] in states.READY_STATES:
                        yield meta["task_id"], meta
                now = time.monotonic()
                if now >= tick:
                    tick = now + interval
                    if on_interval is not None:
                        on_interval()
                if deadline is not None and now >= deadline and watch.ids and not watch.inbox:
                    raise self._timed_out()
        finally:
            self._unregister(watch)

    def _timed_out(self) -> TimeoutError:
        """Return the error of a wait that took too long, with what kept it from reading."""
        error = self._away
        if error is None:
            return TimeoutError("The operation timed out.")
        timed_out = TimeoutError(E_TIMED_OUT_AWAY.format(url=self._url or "", error=error))
        timed_out.__cause__ = error
        return timed_out

    def take(self, timeout: float = 0) -> None:
        """Drain once on behalf of followed results; what nobody watches goes to the source."""
        with self._lock:
            if self._leading:
                return
            self._leading = True
        fired: list[tuple[Any, Meta]] = []
        try:
            limit = time.monotonic() + timeout
            self._begin_and_end(limit, fired)
            self._drain(timeout, limit, fired)
        finally:
            self._resign()
            self._fire(fired)

    def follow(self, result: Any, *, weak: bool = False) -> None:
        """Set the cache of `result` when a draining thread sees that it is ready.

        Parameters:
            result: an AsyncResult that has callbacks to call.
            weak: do not keep the result alive.
        """
        reference: Callable[[], Any] = weakref.ref(result) if weak else lambda: result
        with self._lock:
            self._followed.setdefault(result.id, []).append(reference)
            self._new.setdefault(result.id)
            self._ended.discard(result.id)

    def unfollow(self, result: Any) -> None:
        """Undo `follow`."""
        with self._lock:
            followers = self._followed.get(result.id)
            if followers is None:
                return
            left = [ref for ref in followers if ref() is not None and ref() is not result]
            if left:
                self._followed[result.id] = left
            else:
                del self._followed[result.id]
                self._forget_unwatched(result.id)
        self._end_if_idle()

    def close(self) -> None:
        """Disconnect the source; waiting can start again afterwards."""
        if self._source is not None:
            self._source.disconnect()
            with self._lock:
                self._new = dict.fromkeys([*self._watches, *self._followed])
                self._begun.clear()

    def after_fork(self) -> None:
        """Start anew in a forked child: the parent's threads and sockets are not ours."""
        self._wakeup.discard()
        if self._source is not None:
            self._source.after_fork()
        self._reset()

    @property
    def source(self) -> ResultSource:
        """The backend's source, made on first use."""
        if self._source is None:
            self._source = self._create_source()
        return self._source

    # -- what the event loop's threads use -----------------------------------

    def extend(self, watch: Watch, task_ids: Iterable[str]) -> None:
        """Have a watch wait for more tasks; any thread may call it, whoever follows the watch."""
        with self._lock:
            for task_id in task_ids:
                watch.ids.add(task_id)
                self._watches.setdefault(task_id, []).append(watch)
                self._new.setdefault(task_id)
                self._ended.discard(task_id)
            if self._leading:
                self._wakeup.set()

    def reduce(self, watch: Watch, task_ids: Iterable[str]) -> None:
        """Have a watch wait no longer for these tasks."""
        with self._lock:
            for task_id in task_ids:
                watch.ids.discard(task_id)
                self._stop_watching(watch, task_id)
        self._end_if_idle()

    def next(self, watch: Watch, limit: float) -> list[Meta]:
        """Return what arrived for a watch, or nothing when the monotonic clock reaches `limit`."""
        return self._next(watch, limit)

    # -- registration -------------------------------------------------------

    def _register(self, watch: Watch) -> None:
        with self._lock:
            for task_id in watch.ids:
                self._watches.setdefault(task_id, []).append(watch)
                self._new.setdefault(task_id)
                self._ended.discard(task_id)
            if self._leading:
                self._wakeup.set()

    def _unregister(self, watch: Watch) -> None:
        with self._lock:
            for task_id in watch.ids:
                self._stop_watching(watch, task_id)
        self._end_if_idle()

    def _stop_watching(self, watch: Watch, task_id: str) -> None:
        """Take a watch from a task. Called with the lock held."""
        watching = self._watches.get(task_id)
        if watching is not None and watch in watching:
            watching.remove(watch)
            if not watching:
                del self._watches[task_id]
                self._forget_unwatched(task_id)

    def _forget_unwatched(self, task_id: str) -> None:
        """Schedule the end of a subscription nobody needs. Called with the lock held."""
        if task_id not in self._watches and task_id not in self._followed:
            self._new.pop(task_id, None)
            if task_id in self._begun:
                self._begun.discard(task_id)
                self._ended.add(task_id)

    def _end_if_idle(self) -> None:
        """End what is to be ended, unless a leader is there to do it."""
        with self._lock:
            if self._leading or not self._ended:
                return
            self._leading = True
            ended = list(self._ended)
            self._ended.clear()
        try:
            self.source.end(ended)
        except self.source.recoverable_errors:
            # The subscription went with the connection; whoever waits next starts a new one.
            self._disconnect()
        finally:
            self._resign()

    # -- leading and following ----------------------------------------------

    def _next(self, watch: Watch, limit: float) -> list[Meta]:
        """Return metas for `watch`, or nothing when the monotonic clock reaches `limit`."""
        while True:
            if taken := watch.take():
                return taken
            if self._try_to_lead(watch):
                self._lead(watch, limit)
                return watch.take()
            expired = self._sleep(watch, limit)
            promoted = self._stop_following(watch)
            if watch.inbox or expired:
                if promoted:
                    self._pass_on()
                return watch.take()

    def _try_to_lead(self, watch: Watch) -> bool:
        """Become the leader and return True, or get in the queue of followers."""
        with self._lock:
            if not self._leading:
                self._leading = True
                return True
            watch.event = threading.Event()
            self._following.append(watch)
            return False

    def _sleep(self, watch: Watch, limit: float) -> bool:
        """Sleep until something is delivered or the lead is free; return whether time is up."""
        left = limit - time.monotonic()
        in_grace = not watch.begun
        if in_grace:
            left = max(left, FIRST_READ_GRACE)
        if left > 0 and not watch.inbox and watch.event is not None:
            watch.event.wait(left)
        return time.monotonic() >= limit and (in_grace or watch.begun)

    def _stop_following(self, watch: Watch) -> bool:
        """Leave the queue of followers; return whether it was this one's turn to lead."""
        with self._lock:
            watch.event = None
            if watch in self._following:
                self._following.remove(watch)
                return False
            return True

    def _pass_on(self) -> None:
        """Give a turn to lead that is not taken up to the next follower."""
        with self._lock:
            self._promote()

    def _lead(self, watch: Watch, limit: float) -> None:
        fired: list[tuple[Any, Meta]] = []
        try:
            while not watch.inbox:
                self._begin_and_end(limit, fired)
                if watch.inbox:
                    break
                if not self._new:
                    left = limit - time.monotonic()
                    self._drain(max(0.0, min(left, DRAIN_SLICE)), limit, fired)
                if time.monotonic() >= limit:
                    break
        finally:
            self._resign()
            self._fire(fired)

    def _resign(self) -> None:
        with self._lock:
            self._leading = False
            self._promote()

    def _promote(self) -> None:
        """Wake a follower so that it takes the lead. Called with the lock held."""
        if not self._leading and self._following:
            self._following.popleft().wake()

    # -- the leader's work ----------------------------------------------------

    def _begin_and_end(self, limit: float, fired: list[tuple[Any, Meta]]) -> None:
        """Drop ended subscriptions and begin new ids."""
        with self._lock:
            self._wakeup.clear()
            ended = list(self._ended)
            self._ended.clear()
            new = list(self._new)
            self._new.clear()
            self._begun.update(new)
        try:
            if ended:
                self.source.end(ended)
            if not new:
                return
            metas = list(self.source.begin(new))
        except self.source.recoverable_errors as exc:
            self._recover(exc, limit)
            return
        except BaseException:
            self._begin_again(new)
            raise
        self._failures, self._away = 0, None
        self._deliver(metas, fired)
        self._mark_begun(new)

    def _begin_again(self, task_ids: list[str]) -> None:
        """Whoever leads next tries these ids again, where somebody still wants them."""
        # They stay in `_begun`: the source may have some of them, and is told when they end.
        with self._lock:
            for task_id in task_ids:
                if task_id in self._watches or task_id in self._followed:
                    self._new.setdefault(task_id)

    def _mark_begun(self, task_ids: list[str]) -> None:
        with self._lock:
            for task_id in task_ids:
                for watch in self._watches.get(task_id, ()):
                    if not watch.begun:
                        watch.begun = True
                        watch.wake()

    def _drain(self, timeout: float, limit: float, fired: list[tuple[Any, Meta]]) -> None:
        try:
            metas = list(self.source.drain(timeout, self._wakeup))
        except self.source.recoverable_errors as exc:
            self._recover(exc, limit)
            return
        self._away = None
        if metas:
            self._failures = 0
            self._deliver(metas, fired)

    def _recover(self, exc: BaseException, limit: float) -> None:
        """Reconnect after a lost connection, or give up after the policy's number of tries."""
        self._disconnect()
        policy = self._retry_policy
        self._failures += 1
        self._away = exc
        max_retries = policy.get("max_retries")
        if max_retries is not None and self._failures > max_retries:
            self._failures = 0
            raise self.source.retry_limit_error(
                E_RETRY_LIMIT_EXCEEDED.format(url=self._url or "", error=exc)
            ) from exc
        pause = policy.get("interval_start", 0) + policy.get("interval_step", 1) * (
            self._failures - 1
        )
        left = limit - time.monotonic()
        time.sleep(max(0.0, min(pause, policy.get("interval_max", 1), left)))

    def _disconnect(self) -> None:
        self.source.disconnect()
        with self._lock:
            self._begun.clear()
            self._ended.clear()
            self._new = dict.fromkeys([*self._watches, *self._followed])

    def _deliver(self, metas: list[Meta], fired: list[tuple[Any, Meta]]) -> None:
        """Hand metas to the watches of their ids; note followed results to be told."""
        for meta in metas:
            task_id = meta["task_id"]
            ready = meta["status"] in states.READY_STATES
            with self._lock:
                watching = self._watches.get(task_id, [])
                followers = self._followed.get(task_id, [])
                claimed = bool(watching or followers)
                for watch in watching:
                    watch.deliver(meta)
                if ready and claimed:
                    self._watches.pop(task_id, None)
                    self._followed.pop(task_id, None)
                    self._forget_unwatched(task_id)
            if ready:
                fired.extend((ref(), meta) for ref in followers)
            if not claimed:
                self.source.unclaimed(meta)

    def _fire(self, fired: list[tuple[Any, Meta]]) -> None:
        """Resolve followed results, outside of leadership: their callbacks may wait themselves."""
        for result, meta in fired:
            if (error := error_of(meta)) is not None:
                logger.error("The result of task %s can't be read: %r", meta["task_id"], error)
            elif result is not None:
                result._maybe_set_cache(meta)
