"""Messages that may have been sent twice: of their copies one is run.

They have a header, so all others pay nothing. Who knows which copy was the first is above this
room, in ``taskq.beat.copies``.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any
from weakref import WeakKeyDictionary

from kombu.utils.imports import symbol_by_name

from taskq.exceptions import Ignore

__all__ = ("HEADER", "check_first")

#: Header with the key of the run that a message belongs to, and the name of this copy.
HEADER = "taskq_beat_copy"

#: App -> what tells whether a copy is the first.
_judges: MutableMapping[Any, Any] = WeakKeyDictionary()


def check_first(app: Any, task_id: str, request: Mapping[str, Any]) -> None:
    """Raise Ignore if another copy of a message is the one to run. It may block."""
    judge = _judges.get(app)
    if judge is None:
        judge = _judges[app] = symbol_by_name("taskq.beat.copies:Copies")()
    if not judge.is_first(app, request[HEADER], task_id):
        raise Ignore("another copy of this message is run")
