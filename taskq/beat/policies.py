"""What becomes of runs that are late, overlap, or would all start at once.

Keys of an entry of ``beat_schedule`` beside Celery's; the scheduler asks.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

__all__ = ("CATCH_UP", "OVERLAP", "Policies")

#: ``allow``: send it anyway. ``skip``: not while the last run is unfinished. ``queue``: once the
#: last run has finished, if it came due meanwhile.
OVERLAP = ("allow", "skip", "queue")
#: Due times that passed while no beat ran: ``none`` are sent, ``one`` for all of them, or ``all``.
CATCH_UP = ("none", "one", "all")


@dataclass(frozen=True, slots=True)
class Policies:
    """How an entry is sent.

    Parameters:
        overlap: one of `OVERLAP`.
        catch_up: one of `CATCH_UP`.
        jitter: each run is sent up to so many seconds late, by chance.
    """

    overlap: str = "allow"
    catch_up: str = "one"
    jitter: float = 0.0

    @classmethod
    def of(cls, entry: str | None, **given: Any) -> Policies:
        """Return the policies of an entry; None stands for the default.

        Raises ValueError that names the entry for a value that there is not.
        """
        known = {field.name: field.default for field in fields(cls)}
        chosen = cls(**{**known, **{k: v for k, v in given.items() if v is not None}})
        for name, value, values in (
            ("overlap", chosen.overlap, OVERLAP),
            ("catch_up", chosen.catch_up, CATCH_UP),
        ):
            if value not in values:
                raise ValueError(
                    f"Periodic task {entry!r}: {name} is {value!r}, must be one of "
                    f"{', '.join(map(repr, values))}."
                )
        if isinstance(chosen.jitter, bool) or not isinstance(chosen.jitter, (int, float)):
            raise ValueError(f"Periodic task {entry!r}: jitter is {chosen.jitter!r}, not seconds.")
        if chosen.jitter < 0:
            raise ValueError(f"Periodic task {entry!r}: jitter is {chosen.jitter}, below zero.")
        return chosen
