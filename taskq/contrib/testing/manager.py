"""Waiting for results and for workers, for integration and stress tests.

Mixed into or used by test suites of projects.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TextIO

from kombu.exceptions import ContentDisallowed
from kombu.utils.functional import retry_over_time

from taskq.exceptions import TimeoutError
from taskq.result import AsyncResult, ResultSet

__all__ = ("Manager", "ManagerMixin", "Sentinel")

#: States in which a task has begun.
_STARTED_OR_DONE = ("STARTED", "RETRY", "SUCCESS", "FAILURE", "REVOKED")


class Sentinel(Exception):
    """What must not be raised has not been: ends a wait that went well."""


class ManagerMixin:
    """Waiting with patience: each wait repeats until it succeeds or its tries are used up.

    A class that mixes it in calls `_init_manager` and has an ``app``.
    """

    app: Any

    def _init_manager(
        self,
        block_timeout: float = 30 * 60.0,
        no_join: bool = False,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        """Set up the waiting.

        Parameters:
            block_timeout: seconds that `join` waits for results at a time.
            no_join: have `join` do nothing.
            stdout, stderr: where remarks and warnings go.
        """
        self.stdout = sys.stdout if stdout is None else stdout
        self.stderr = sys.stderr if stderr is None else stderr
        self.connerrors: tuple[type[Exception], ...] = (
            self.app.connection().recoverable_connection_errors
        )
        self.block_timeout = block_timeout
        self.no_join = no_join

    def remark(self, s: str, sep: str = "-") -> None:
        """Print ``s`` with ``sep`` before it."""
        print(f"{sep}{s}", file=self.stdout)

    def warn(self, s: str) -> None:
        """Print ``s`` on stderr."""
        print(s, file=self.stderr)

    def missing_results(self, r: Sequence[AsyncResult[Any]]) -> Sequence[str]:
        """Return the ids of the results that nothing is stored for."""
        return [result.id for result in r if result.id not in result.backend._cache]

    def wait_for(
        self,
        fun: Callable[..., Any],
        catch: Sequence[type[Exception]] | type[Exception],
        desc: str = "thing",
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        errback: Callable[..., Any] | None = None,
        max_retries: int = 10,
        interval_start: float = 0.1,
        interval_step: float = 0.5,
        interval_max: float = 5.0,
        emit_warning: bool = False,
        **options: Any,
    ) -> Any:
        """Call ``fun`` until it raises none of ``catch``, and return its value.

        Parameters:
            desc: what is waited for, for warnings.
            args, kwargs: of ``fun``.
            errback: called with the error, the seconds to wait so far and the number of tries.
            max_retries: number of tries.
            interval_start, interval_step, interval_max: seconds between tries.
            emit_warning: print each failed try.

        Raises what ``fun`` raised when the tries are used up.
        """

        def on_error(exc: Exception, intervals: Any, retries: int) -> float:
            interval = next(intervals)
            if emit_warning:
                self.warn(f"Still waiting for {desc}: {exc!r}. Trying again in {interval} s")
            if errback:
                errback(exc, interval, retries)
            return float(interval)

        return self.retry_over_time(
            fun,
            catch,
            args=args,
            kwargs=kwargs or {},
            errback=on_error,
            max_retries=max_retries,
            interval_start=interval_start,
            interval_step=interval_step,
            interval_max=interval_max,
            **options,
        )

    def ensure_not_for_a_while(
        self,
        fun: Callable[..., Any],
        catch: Sequence[type[Exception]] | type[Exception],
        desc: str = "thing",
        max_retries: int = 20,
        interval_start: float = 0.1,
        interval_step: float = 0.02,
        interval_max: float = 1.0,
        emit_warning: bool = False,
        **options: Any,
    ) -> None:
        """Call ``fun`` for a while and see that it raises one of ``catch`` each time.

        Parameters as in `wait_for`. Raises AssertionError when ``fun`` succeeds.
        """
        expected = tuple(catch) if isinstance(catch, Sequence) else (catch,)
        try:
            self.wait_for(
                fun,
                catch,
                desc=desc,
                max_retries=max_retries,
                interval_start=interval_start,
                interval_step=interval_step,
                interval_max=interval_max,
                emit_warning=emit_warning,
                **options,
            )
        except Exception as exc:
            if not isinstance(exc, expected):
                raise
            return
        raise AssertionError(f"should not have happened: {desc}")

    def retry_over_time(self, *args: Any, **kwargs: Any) -> Any:
        """Call kombu's function of that name."""
        return retry_over_time(*args, **kwargs)

    def join(
        self,
        r: Any,
        propagate: bool = False,
        max_retries: int = 10,
        **kwargs: Any,
    ) -> list[Any] | None:
        """Wait for the results ``r`` and return their values.

        Lost connections are ridden out. Raises AssertionError when some never come.
        """
        if self.no_join:
            return None
        if not isinstance(r, ResultSet):
            r = self.app.ResultSet([r])
        received: list[str] = []
        passing: tuple[type[Exception], ...] = (TimeoutError, ContentDisallowed, *self.connerrors)
        for tries in range(max_retries):
            try:
                values: list[Any] = r.get(
                    callback=lambda task_id, value: received.append(task_id),
                    propagate=propagate,
                    timeout=self.block_timeout,
                    **kwargs,
                )
                return values
            except passing as exc:
                waiting = [result.id for result in r.results if result.id not in received]
                self.remark(
                    f"{tries}: still waiting for {len(waiting)}/{len(r)}: {waiting}: {exc!r}", "!"
                )
        raise AssertionError(f"Never received results of {r!r} after {max_retries} tries")

    def inspect(self, timeout: float = 3.0) -> Any:
        """Return the app's inspector, that waits ``timeout`` seconds for replies."""
        return self.app.control.inspect(timeout=timeout)

    def query_tasks(self, ids: Iterable[str], timeout: float = 0.5) -> Iterable[Any]:
        """Yield what each worker knows of the tasks: ``(worker, {id: [state, info]})``."""
        yield from (self.inspect(timeout).query_task(*ids) or {}).items()

    def query_task_states(self, ids: Iterable[str], timeout: float = 0.5) -> dict[str, set[str]]:
        """Return the ids of the tasks by the state that workers report."""
        states: defaultdict[str, set[str]] = defaultdict(set)
        for _hostname, reply in self.query_tasks(ids, timeout=timeout):
            for task_id, (state, _info) in reply.items():
                states[state].add(task_id)
        return states

    def assert_accepted(
        self,
        ids: Iterable[str],
        interval: float = 0.5,
        desc: str = "waiting for tasks to be accepted",
        **policy: Any,
    ) -> Any:
        """Wait until workers run the tasks, or have them reserved."""
        return self.assert_task_worker_state(
            self.is_accepted, ids, interval=interval, desc=desc, **policy
        )

    def assert_received(
        self,
        ids: Iterable[str],
        interval: float = 0.5,
        desc: str = "waiting for tasks to be received",
        **policy: Any,
    ) -> Any:
        """Wait until workers have the tasks."""
        return self.assert_task_worker_state(
            self.is_received, ids, interval=interval, desc=desc, **policy
        )

    def assert_result_tasks_in_progress_or_completed(
        self,
        async_results: Sequence[AsyncResult[Any]],
        interval: float = 0.5,
        desc: str = "waiting for tasks to be started or completed",
        **policy: Any,
    ) -> Any:
        """Wait until the tasks have begun, by their results."""
        return self.assert_task_state_from_result(
            self.is_result_task_in_progress, async_results, interval=interval, desc=desc, **policy
        )

    def assert_task_state_from_result(
        self,
        fun: Callable[..., bool],
        results: Sequence[AsyncResult[Any]],
        interval: float = 0.5,
        **policy: Any,
    ) -> Any:
        """Wait until ``fun(results)`` is true."""
        return self.wait_for(
            lambda: self.true_or_raise(fun, results, timeout=interval),
            (Sentinel,),
            **{"interval_start": interval, "interval_step": 0.0, **policy},
        )

    @staticmethod
    def is_result_task_in_progress(results: Sequence[AsyncResult[Any]], **kwargs: Any) -> bool:
        """Return whether all of the tasks have begun."""
        return all(result.state in _STARTED_OR_DONE for result in results)

    def assert_task_worker_state(
        self, fun: Callable[..., bool], ids: Iterable[str], interval: float = 0.5, **policy: Any
    ) -> Any:
        """Wait until ``fun(ids)`` is true."""
        return self.wait_for(
            lambda: self.true_or_raise(fun, ids, timeout=interval),
            (Sentinel,),
            **{"interval_start": interval, "interval_step": 0.0, **policy},
        )

    def is_received(self, ids: Iterable[str], **kwargs: Any) -> bool:
        """Return whether workers hold all of the tasks."""
        return self._ids_matches_state(["reserved", "active", "ready"], ids, **kwargs)

    def is_accepted(self, ids: Iterable[str], **kwargs: Any) -> bool:
        """Return whether workers run all of the tasks, or did."""
        return self._ids_matches_state(["active", "ready"], ids, **kwargs)

    def _ids_matches_state(
        self, expected_states: Sequence[str], ids: Iterable[str], timeout: float = 0.5
    ) -> bool:
        wanted = list(ids)
        states = self.query_task_states(wanted, timeout=timeout)
        known: set[str] = set().union(*(states.get(state, set()) for state in expected_states))
        return known.issuperset(wanted)

    def true_or_raise(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return ``fun(…)`` if it is true.

        Raises Sentinel if it is not.
        """
        value = fun(*args, **kwargs)
        if not value:
            raise Sentinel
        return value

    def wait_until_idle(self) -> None:
        """Wait until no worker runs a task, then delete what waits in the queues."""
        while True:
            active = self.inspect().active() or {}
            if not any(active.values()):
                break
            time.sleep(1.0)
        self.app.control.purge()


class Manager(ManagerMixin):
    """A `ManagerMixin` for an app: ``Manager(app, **options of _init_manager)``."""

    def __init__(self, app: Any, **kwargs: Any) -> None:
        self.app = app
        self._init_manager(**kwargs)
