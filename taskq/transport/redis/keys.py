"""Names of the keys that queues live in, with the global prefix applied: kombu's, and ours."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: kombu's name of the hash of unacknowledged messages, unless an option changes it.
DEFAULT_UNACKED = "unacked"


@dataclass(frozen=True, slots=True)
class Keys:
    """Full names of the keys that the channels of a fleet share.

    The `unacked*` names are kombu's. kombu and Celery processes never touch the others.
    """

    unacked: str
    unacked_index: str
    unacked_mutex: str
    #: Living owners, by the server time of their last heartbeat.
    owners: str
    #: Owners declared dead whose messages are not all recovered, by time of the last attempt.
    dead_owners: str
    #: A key of this name followed by an owner's name exists once that owner was declared dead.
    fence: str
    #: A key of this name followed by a message's id exists if that may be published only once.
    once: str
    #: Tags of parked messages by due time (server clock), and the messages.
    parked: str
    parked_messages: str
    #: A key of this name followed by a message's own tag counts how often it was begun again.
    starts: str
    #: Prefix of the sets of kombu that say which queues an exchange leads to.
    bindings: str

    @classmethod
    def of(cls, channel: Any) -> Keys:
        """Return the keys for the options of a channel."""
        prefix = channel.global_keyprefix
        # Fleets that keep their unacknowledged messages apart have owners of their own too.
        own = f"{prefix}taskq."
        if channel.unacked_key != DEFAULT_UNACKED:
            own += f"{channel.unacked_key}."
        return cls(
            unacked=prefix + channel.unacked_key,
            unacked_index=prefix + channel.unacked_index_key,
            unacked_mutex=prefix + channel.unacked_mutex_key,
            owners=own + "owners",
            dead_owners=own + "owners.dead",
            fence=own + "fence.",
            once=own + "once.",
            starts=own + "starts.",
            parked=own + "parked",
            parked_messages=own + "parked.messages",
            bindings=prefix + channel.keyprefix_queue % "",
        )


@dataclass(frozen=True, slots=True)
class ListNames:
    """How the lists of a queue are named: one list for each priority step.

    - prefix: the global key prefix.
    - separator: between queue and step.
    - steps: the priority steps in ascending order; the first is delivered first.
    """

    prefix: str
    separator: str
    steps: Sequence[int]

    @classmethod
    def of(cls, channel: Any) -> ListNames:
        """Return the naming for the options of a channel."""
        return cls(channel.global_keyprefix, channel.sep, tuple(channel.priority_steps))

    def of_step(self, queue: str, step: int) -> str:
        """Return the full name of the list of a queue for one of the steps."""
        return f"{self.prefix}{queue}{self.separator}{step}" if step else f"{self.prefix}{queue}"

    def of_priority(self, queue: str, priority: Any) -> str:
        """Return the full name of the list that a message of this priority belongs in.

        - priority: 0 to 9; anything else counts as the nearest of these, or as 0.
        """
        try:
            number = max(0, min(9, int(priority)))
        except (TypeError, ValueError):
            number = 0
        return self.of_step(queue, self.steps[bisect(self.steps, number) - 1])
