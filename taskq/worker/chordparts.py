"""Header tasks of chords that are acknowledged before they run, and what becomes of their chord.

Such a task is not run again if its worker dies with it, and nobody would be left to count it: its
chord would wait for ever. So the broker keeps a message in its place until it has ended, of another
task with the same id: one that fails it (`celery.chord_part_lost`). As a message that is
acknowledged late it is delivered when the worker is dead, and only then.

Needs a broker that can exchange a message which is held, in one step: Redis and SQLite.
"""

from __future__ import annotations

from binascii import a2b_base64
from typing import Any

from taskq.utils.log import get_logger

__all__ = ("leave_loss",)

logger = get_logger("celery.worker.request")

#: Task that fails a header task in its place.
LOSS = "celery.chord_part_lost"
#: How the body of a task ends that is in a group, and in no chord.
NO_CHORD = b'"chord": null}]'
#: Characters of base64 that contain the end.
TAIL = 32


def leave_loss(request: Any) -> bool:
    """Leave a message with the broker that fails the task if this worker dies, in place of its own.

    - request: of a task that is in a group and about to be handed to the pool.

    Returns whether that was done: the message is to be acknowledged when the task has ended then.
    """
    message = request.message
    rewrite = getattr(message.channel, "rewrite", None)
    headers = message.headers
    if rewrite is None or not headers or not _is_in_chord(request):
        return False
    try:
        rewrite(
            message,
            {
                **headers,
                "task": LOSS,
                "shadow": request.name,
                "eta": None,
                "expires": None,
                "timelimit": [None, None],
            },
        )
    except Exception as exc:
        # It is acknowledged like others: what is lost then is that its chord is told.
        logger.warning("Could not have the chord of %s told of its loss: %r", request, exc)
        return False
    return True


def _is_in_chord(request: Any) -> bool:
    """Tell whether a task of a group is in a chord's header. Decodes the body if need be."""
    if request.has_decoded_body:
        return False  # of a protocol that the task in its place can't be sent by
    body = request.raw_body
    try:
        end = body[-len(NO_CHORD) :] if isinstance(body, bytes) else a2b_base64(body[-TAIL:])
        return not end.endswith(NO_CHORD) and request.chord is not None
    except Exception as exc:
        # Whoever runs it says so.
        logger.debug("The body of %s can't be decoded: %r", request, exc)
        return False
