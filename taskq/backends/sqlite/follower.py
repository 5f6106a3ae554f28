"""Waiting for results on an event loop: the loop itself listens to the bell that results ring."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from taskq.backends.awaiting import AwaitedResults, Follower, Patience
from taskq.backends.sqlite.source import BYSTANDER_PAUSE, SQLiteSource
from taskq.backends.waiting import Meta
from taskq.transport.sqlite.bell import FIRST_POLL, LONGEST_WAIT
from taskq.transport.sqlite.errors import DatabaseLocked
from taskq.utils.asyncclient import loop_runs
from taskq.utils.inthread import call_in_thread

__all__ = ("SQLiteFollower",)

#: Seconds until a read is tried again for which somebody else holds a lock.
LOCKED_PAUSE = 0.002


class SQLiteFollower(Follower):
    """Reads results in the loop's thread when it hears of them; readers wait for no writer.

    Opening the file is left to the thread beside the loop. Where the system, or the loop, has no
    notification of files, the file is looked at every few milliseconds.

    - source: with a connection of its own, which does not wait for locks.
    - policy: how often and when to open the file anew.
    """

    def __init__(
        self, awaited: AwaitedResults, source: SQLiteSource, policy: dict[str, Any]
    ) -> None:
        super().__init__(awaited)
        self._source = source
        self._patience = Patience(policy, source.path)
        #: Ids that nobody has looked for yet, and those that somebody waits for: ordered sets.
        self._new: dict[str, None] = {}
        self._watched: dict[str, None] = {}
        self._opening: asyncio.Task[None] | None = None
        #: The next look that does not wait for the bell, and the descriptor that tells of it.
        self._timer: asyncio.TimerHandle | None = None
        self._fileno: int | None = None

    def begin(self, task_ids: Sequence[str]) -> None:
        new = dict.fromkeys(task_ids)
        self._new.update(new)
        self._watched.update(new)
        self._look()

    def end(self, task_ids: Sequence[str]) -> None:
        ended = [each for each in task_ids if each in self._watched]
        for task_id in ended:
            del self._watched[task_id]
            self._new.pop(task_id, None)
        self._source.end(ended)
        if not self._watched:
            self._rest()

    def close(self) -> None:
        self._begin_again()

    # -- looking

    def _look(self) -> None:
        """Read what somebody waits for: new ids, and what has changed."""
        if self._opening is not None or not self._watched:
            return
        if not self._source.is_open:
            self._opening = asyncio.ensure_future(self._open())
            return
        try:
            metas = self._read()
        except DatabaseLocked:
            self._look_in(LOCKED_PAUSE)
            return
        except self._source.recoverable_errors as exc:
            self._patience.failed(exc)
            self._begin_again()
            self._look()
            return
        self._patience.succeeded()
        self.deliver(metas)
        if not self._watched:
            return
        if metas or self._fileno is None:
            self._listen()
        else:
            # The bell rang for others, or was not there to ring. A process that waits for one
            # result is not to be kept busy by thousands of others.
            self._rest()
            self._look_in(BYSTANDER_PAUSE)

    def _read(self) -> list[Meta]:
        metas = list(self._source.begin(list(self._new))) if self._new else []
        self._new.clear()
        return metas + list(self._source.changes())

    def _look_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _listen(self) -> None:
        """Look when the bell rings; the ringer may have been killed before it rang."""
        fileno = self._source.fileno()
        if fileno is None:
            self._look_in(self._source.poll_interval() or FIRST_POLL)
            return
        self._look_in(LONGEST_WAIT)
        if fileno == self._fileno:
            return
        try:
            asyncio.get_running_loop().add_reader(fileno, self._look)
            self._fileno = fileno
        except NotImplementedError:
            self._look_in(FIRST_POLL)

    def _rest(self) -> None:
        """Look no more until somebody says so."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        fileno, self._fileno = self._fileno, None
        if fileno is not None and loop_runs():
            asyncio.get_running_loop().remove_reader(fileno)

    # -- opening

    async def _open(self) -> None:
        try:
            while self._watched and not self._source.is_open:
                await self._patience.pause()
                try:
                    await call_in_thread(self._source.open)
                except self._source.recoverable_errors as exc:
                    self._patience.failed(exc)
        except Exception as exc:
            self.fail(exc)
        finally:
            self._opening = None
        self._look()

    def _begin_again(self) -> None:
        self._rest()
        self._source.disconnect()
        self._new = dict(self._watched)
