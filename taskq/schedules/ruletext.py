"""The text of a recurrence rule: read, checked, and made into a rule of dateutil.

Used by `taskq.schedules.recurrence`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from dateutil import rrule as dateutil_rrule
from dateutil.parser import isoparse

__all__ = ("DEFAULT_START", "ClockRule", "check_days", "check_start", "text_of")

#: Start of rules that are given none: what they leave open is the time of day at most, midnight.
DEFAULT_START = datetime(2000, 1, 1)
#: Frequencies -> the time of one period. Months and years have no fixed length.
PERIODS = {
    "WEEKLY": timedelta(weeks=1),
    "DAILY": timedelta(days=1),
    "HOURLY": timedelta(hours=1),
    "MINUTELY": timedelta(minutes=1),
    "SECONDLY": timedelta(seconds=1),
}

_START = re.compile(r"DTSTART(?:;TZID=(?P<zone>[^:;]+))?:(?P<time>\d{8}T\d{6}Z?|\d{8})")
_UNTIL_UTC = re.compile(r"(?<=UNTIL=)(\d{8}T\d{6}Z)")
#: Parts that say on which days a rule of weeks, months or years comes round.
_DAYS = frozenset(
    {"BYDAY", "BYWEEKDAY", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYEASTER", "BYSETPOS"}
)
#: Months that have less than 31 days -> how many at most.
LONGEST_MONTHS = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
_OPEN_DAYS = frozenset({"WEEKLY", "MONTHLY", "YEARLY"})


def text_of(rule: Any, parts: dict[str, Any]) -> tuple[str, datetime | None, str | None]:
    """Return the text of a rule, its start and the name of its zone if they are in it.

    Parameters:
        rule: text, a rule of dateutil, or a frequency.
        parts: with a frequency, the rest of the rule.

    Raises ValueError if it is not one rule.
    """
    if isinstance(rule, int):
        # A start of its own, that is dropped: that of the schedule counts.
        freq: Any = rule
        given = dateutil_rrule.rrule(freq, dtstart=DEFAULT_START, **parts)
        return str(given).rpartition("RRULE:")[2], None, None
    if parts:
        raise TypeError(
            f"a rule that is not a frequency has its parts in it: {', '.join(sorted(parts))}"
        )
    if isinstance(rule, dateutil_rrule.rruleset):
        raise ValueError(f"{rule!r} is a set of rules; a schedule is of one")
    zone = None
    start = None
    text = ""
    for line in str(rule).split():
        begun = _START.fullmatch(line)
        if begun:
            zone = begun["zone"]
            start = isoparse(begun["time"])
        elif text or (":" in line and not line.startswith("RRULE:")):
            raise ValueError(f"{line!r}: a schedule is of one RRULE, and one DTSTART at most")
        else:
            text = line.removeprefix("RRULE:").upper()
    if not text:
        raise ValueError(f"{rule!r} has no rule, such as FREQ=DAILY;BYHOUR=9")
    if start is not None and isinstance(rule, dateutil_rrule.rrule):
        # Its text has no zone.
        first = next(iter(rule), start)
        start = start.replace(tzinfo=first.tzinfo)
    return text, start, zone


def check_start(text: str, start: datetime | None) -> None:
    """Raise ValueError if a rule without a start takes more from it than the time of day."""
    if start is not None:
        return
    parts = _parts(text)
    counted = [name for name in ("COUNT", "INTERVAL") if parts.get(name, "1") != "1"]
    if "COUNT" in parts or counted:
        what = " and ".join(counted or ["COUNT"])
        raise ValueError(f"{text}: {what} is counted from a start, so give it: dtstart")
    if parts.get("FREQ") in _OPEN_DAYS and not _DAYS & set(parts):
        raise ValueError(f"{text}: on which day? Add BYDAY or BYMONTHDAY, or give a dtstart")


def check_days(text: str) -> None:
    """Raise ValueError for a rule that stands still, or whose days never come."""
    parts = _parts(text)
    if not parts.get("INTERVAL", "1").lstrip("0").isdecimal():
        raise ValueError(f"{text}: INTERVAL must be 1 or more")
    months, days = _numbers(parts, "BYMONTH"), _numbers(parts, "BYMONTHDAY")
    if months and days and min(map(abs, days)) > max(LONGEST_MONTHS.get(m, 31) for m in months):
        raise ValueError(f"{text}: there is no such day in these months")


def _parts(text: str) -> dict[str, str]:
    return dict(part.partition("=")[::2] for part in text.split(";"))


def _numbers(parts: dict[str, str], name: str) -> list[int]:
    return [int(number) for number in parts.get(name, "").split(",") if number]


class ClockRule:
    """A rule on the clock of a zone.

    Parameters:
        text: of the rule.
        start: naive, on that clock.
        zone: in which times of the text that are in UTC are shown.

    Raises ValueError for a text that is no rule.
    """

    def __init__(self, text: str, start: datetime, zone: tzinfo) -> None:
        text = _UNTIL_UTC.sub(lambda found: _on_clock(found[1], zone), text)
        try:
            rule = dateutil_rrule.rrulestr(text, dtstart=start)
        except (ValueError, KeyError, AttributeError, TypeError) as exc:
            raise ValueError(f"{text!r} is not a recurrence rule: {exc}") from exc
        assert isinstance(rule, dateutil_rrule.rrule)
        self._rule = rule
        self._start = start
        parts = _parts(text)
        period = None if "COUNT" in parts else PERIODS.get(parts["FREQ"])
        #: Starts that are so far apart have the same times; None if they have not.
        self._step = period and period * int(parts.get("INTERVAL", 1))

    def after(self, on_clock: datetime) -> datetime | None:
        """Return the next time that is later, None if there is none."""
        rule = self._rule
        if self._step:
            # dateutil goes through all times since the start, which is a long way. Two steps
            # early: the first one may be a part of one.
            steps = (on_clock - self._start) // self._step - 2
            if steps > 0:
                rule = rule.replace(dtstart=self._start + steps * self._step)
        return rule.after(on_clock)


def _on_clock(utc: str, zone: tzinfo) -> str:
    moment = datetime.strptime(utc, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return moment.astimezone(zone).strftime("%Y%m%dT%H%M%S")
