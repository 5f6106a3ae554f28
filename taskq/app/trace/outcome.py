"""What an execution ends with: for the tracer's caller, and for the worker's main process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from taskq import states

IGNORED = states.IGNORED
REJECTED = states.REJECTED
RETRY = states.RETRY
#: States after which nothing is stored and `after_return` is not called.
IGNORE_STATES = frozenset({IGNORED, RETRY, REJECTED})


class trace_ok_t(NamedTuple):  # noqa: N801 - the public name
    """What a tracer returns.

    - retval: return value or ExceptionInfo.
    - info: TraceInfo when the task did not succeed, else None.
    - runtime: seconds.
    - retstr: representation of the return value.
    """

    retval: Any
    info: Any
    runtime: float
    retstr: str | None


#: Kinds of `Outcome`.
OK, FAILED, RETRIED, IGNORE, REJECT = range(5)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the main process learns about an execution.

    - kind: OK, FAILED, RETRIED, IGNORE or REJECT.
    - value: OK: representation of the return value; else the ExceptionInfo.
    - runtime: seconds.
    """

    kind: int
    value: Any
    runtime: float


#: State of an execution that did not succeed -> kind of its `Outcome`; others are FAILED.
KINDS = {RETRY: RETRIED, IGNORED: IGNORE, REJECTED: REJECT}


def outcome_of(traced: trace_ok_t) -> Outcome:
    """Return what the main process is told of what a tracer returned."""
    retval, failure, runtime, retstr = traced
    if failure is None:
        return Outcome(OK, retstr, runtime)
    return Outcome(KINDS.get(failure.state, FAILED), retval, runtime)
