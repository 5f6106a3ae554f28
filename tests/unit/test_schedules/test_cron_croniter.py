"""Crontabs against an independent library, croniter: its grammar and its calendar, in many zones.

The two differ on purpose around changes of clocks, which `test_clock_changes` is about.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import croniter
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from taskq.schedules import crontab
from tests.unit.test_schedules.schedule_support import ClockApp
from tests.unit.test_schedules.test_cron_properties import MOMENTS

ZONES = (
    "UTC",
    "America/New_York",
    "America/St_Johns",
    "America/Havana",
    "America/Santiago",
    "Europe/Berlin",
    "Europe/Dublin",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Tehran",
    "Asia/Kathmandu",
    "Asia/Tokyo",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Pacific/Apia",
    "Antarctica/Troll",
)
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def field(first: int, last: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    """Return texts that a field may be."""
    number = st.integers(first, last)
    step = st.integers(1, (last - first) // 2 + 1)
    # One number twice is a range of one to us, and goes all round to croniter.
    span = st.lists(number, min_size=2, max_size=2, unique=True).map(sorted)
    one = [number.map(str), span.map(lambda s: f"{s[0]}-{s[1]}")]
    one += [st.tuples(span, step).map(lambda s: f"{s[0][0]}-{s[0][1]}/{s[1]}")]
    if names:
        one += [st.sampled_from(names)]
        one += [span.map(lambda s: f"{names[s[0] - first]}-{names[s[1] - first]}")]
    part = st.one_of(one)
    several = st.lists(part, min_size=2, max_size=3).map(",".join)
    return st.one_of(st.just("*"), step.map(lambda s: f"*/{s}"), part, several)


FIELDS = st.tuples(
    field(0, 59), field(0, 23), field(1, 28), field(1, 12, MONTHS), field(0, 6, DAYS)
)


@settings(max_examples=400)
@given(zone=st.sampled_from(ZONES), last=MOMENTS, fields=FIELDS)
def test_next_time(zone: str, last: datetime, fields: tuple[str, ...]) -> None:
    tz = ZoneInfo(zone)
    minute, hour, day_of_month, month_of_year, day_of_week = fields
    on_clock = last.astimezone(tz).replace(tzinfo=None, fold=0)
    # As in Celery both kinds of days have to match; the clock of a zone without changes.
    theirs = croniter(" ".join(fields), on_clock, day_or=False, max_years_between_matches=60)
    expected = theirs.get_next(datetime)
    moment = expected.replace(tzinfo=tz)
    assume(_is_steady(tz, last) and _is_steady(tz, moment))
    cron = crontab(minute, hour, day_of_week, day_of_month, month_of_year, app=ClockApp(zone, last))
    assert cron.due_after(last) == moment.astimezone(UTC)


def _is_steady(tz: ZoneInfo, moment: datetime) -> bool:
    """Return whether no clock is changed within a day of a moment."""
    moment = moment.astimezone(UTC)
    around = (moment - timedelta(days=1), moment, moment + timedelta(days=1))
    return len({at.astimezone(tz).utcoffset() for at in around}) == 1
