"""Parsing of dates in ISO 8601, kept for old callers.

New code uses ``datetime.fromisoformat`` or ``taskq.utils.time.maybe_iso8601``.
"""

from __future__ import annotations

from datetime import datetime

from taskq.utils.deprecated import warn
from taskq.utils.time import _parse_iso

__all__ = ("parse_iso8601",)


def parse_iso8601(datestring: str) -> datetime:
    """Parse a date or time in ISO 8601. Deprecated."""
    warn(
        "parse_iso8601",
        deprecation="5.3",
        removal="6",
        alternative="Use datetime.datetime.fromisoformat or dateutil.parser.isoparse",
    )
    try:
        return _parse_iso(datestring)
    except ValueError:
        raise ValueError(f"unable to parse date string {datestring!r}") from None
