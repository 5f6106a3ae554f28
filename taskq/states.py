"""Names of the states a task goes through, and the order they rank in.

Used wherever states are compared: results, events, and the result stores.
"""

from __future__ import annotations

__all__ = (
    "EXCEPTION_STATES",
    "FAILURE",
    "IGNORED",
    "PENDING",
    "PROPAGATE_STATES",
    "READY_STATES",
    "RECEIVED",
    "RETRY",
    "REVOKED",
    "STARTED",
    "SUCCESS",
    "UNREADY_STATES",
    "precedence",
    "state",
)

#: Nothing is known of the task: it waits, or its id is unknown.
PENDING = "PENDING"
#: A worker holds the task's message (seen in events only).
RECEIVED = "RECEIVED"
#: The task runs (stored only with ``task_track_started``).
STARTED = "STARTED"
#: The task returned.
SUCCESS = "SUCCESS"
#: The task raised, or its retries were used up.
FAILURE = "FAILURE"
#: The task was revoked before or while it ran.
REVOKED = "REVOKED"
#: The task's message was rejected (seen in events only).
REJECTED = "REJECTED"
#: The task will be tried again.
RETRY = "RETRY"
#: The task asked that its outcome not be stored.
IGNORED = "IGNORED"

#: The task is over and has a result.
READY_STATES = frozenset({SUCCESS, FAILURE, REVOKED})
#: The task is not over.
UNREADY_STATES = frozenset({PENDING, RECEIVED, STARTED, REJECTED, RETRY})
#: The result is an exception.
EXCEPTION_STATES = frozenset({RETRY, FAILURE, REVOKED})
#: The exception is raised for whoever asks for the result.
PROPAGATE_STATES = frozenset({FAILURE, REVOKED})
ALL_STATES = frozenset({PENDING, RECEIVED, STARTED, SUCCESS, FAILURE, RETRY, REVOKED})

#: From the last word on a task to the least: None stands for every custom state.
PRECEDENCE: list[str | None] = [
    SUCCESS,
    FAILURE,
    None,
    REVOKED,
    STARTED,
    RECEIVED,
    REJECTED,
    RETRY,
    PENDING,
]
PRECEDENCE_LOOKUP: dict[str | None, int] = {name: rank for rank, name in enumerate(PRECEDENCE)}
NONE_PRECEDENCE = PRECEDENCE_LOOKUP[None]


def precedence(state: str) -> int:
    """Return the rank of ``state``: the lower, the more final. Custom states follow FAILURE."""
    return PRECEDENCE_LOOKUP.get(state, NONE_PRECEDENCE)


class state(str):
    """A state that compares by how final it is, not by its letters.

    ``state("STARTED") < state("SUCCESS")`` is true, since a success is the last word on a task.
    """

    __slots__ = ()

    def __gt__(self, other: str) -> bool:
        return precedence(self) < precedence(other)

    def __ge__(self, other: str) -> bool:
        return precedence(self) <= precedence(other)

    def __lt__(self, other: str) -> bool:
        return precedence(self) > precedence(other)

    def __le__(self, other: str) -> bool:
        return precedence(self) >= precedence(other)
