"""Whether the body of a task runs in this process right now: only that may be interrupted.

Written by the tracer, read by pools whose processes run one task at a time.
"""

from __future__ import annotations


class UserCode:
    """What of the user's own runs here."""

    running = False


user_code = UserCode()


def in_user_code() -> bool:
    """Return whether a task's own code runs: only that may be interrupted by a time limit."""
    return user_code.running
