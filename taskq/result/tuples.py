"""Handles made again from the tuples that `as_tuple` returns and messages carry."""

from __future__ import annotations

from typing import Any

from taskq._state import app_or_default
from taskq.backends.handles import ResultBase

__all__ = ("result_from_tuple",)


def result_from_tuple(r: Any, app: Any = None) -> Any:
    """Return the handle that ``as_tuple`` made `r` of; a handle comes back as it is.

    Parameters:
        r: ``((id, parent), nodes)``, where nodes is None for a task and a list for a group.
        app: the app of the handle; the current one when None.
    """
    if isinstance(r, ResultBase):
        return r
    app = app_or_default(app)
    if hasattr(r, "as_tuple"):
        r = r.as_tuple()  # a handle of Celery's, which it pickled
    # Parents first and without recursion: a chain has as many as it has steps.
    line = []
    while r:
        if isinstance(r, ResultBase):
            break
        head, nodes = r
        id, parent = head if isinstance(head, (list, tuple)) else (head, None)
        line.append((id, nodes))
        r = parent
    else:
        r = None
    if not line:
        raise ValueError("a result tuple is expected, not an empty value")
    handle: Any = r
    for id, nodes in reversed(line):
        if nodes is None:
            handle = app.AsyncResult(id, parent=handle)
        else:
            members = [result_from_tuple(node, app) for node in nodes]
            handle = app.GroupResult(id, members, parent=handle)
    return handle
