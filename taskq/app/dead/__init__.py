"""Dead letters: messages of tasks that came to nothing, kept on a queue with the reason.

Workers write them (`DeadLetters.keep`), people read, repeat and delete them: ``app.dead_letters``
and ``taskq dead``.
"""

from __future__ import annotations

from taskq.app.dead.letter import DeadLetter, Reason, kept_headers, kept_properties
from taskq.app.dead.letters import DeadLetters
from taskq.app.dead.source import source_queue

__all__ = (
    "DeadLetter",
    "DeadLetters",
    "Reason",
    "kept_headers",
    "kept_properties",
    "source_queue",
)
