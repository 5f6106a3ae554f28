"""What a task that succeeded sends: its callbacks, and the next step of its chain."""

from __future__ import annotations

from typing import Any

from taskq.app.context import Context
from taskq.canvas import signature


def send_links(app: Any, uuid: str, retval: Any, request: Context) -> None:
    """Send what follows the task with this id, which returned ``retval``.

    - request: with its callbacks, and its chain: a reversed list of what remains.
    """
    options: dict[str, Any] = {"parent_id": uuid, "root_id": request.root_id or uuid}
    if app.conf.task_inherit_parent_priority and request.delivery_info:
        priority = request.delivery_info.get("priority")
        if priority is not None:
            options["priority"] = priority
    for callback in request.callbacks or ():
        signature(callback, app=app).apply_async((retval,), **options)
    if request.chain:
        remaining = list(request.chain)
        following = signature(remaining.pop(), app=app)
        following.apply_async((retval,), chain=remaining, **options)
