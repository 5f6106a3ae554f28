"""Crontabs against another library's calendar rules, dateutil's, in many zones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from dateutil.rrule import DAILY, FR, MO, SA, SU, TH, TU, WE, rrule
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from taskq.schedules import crontab
from tests.unit.test_schedules.schedule_support import ClockApp
from tests.unit.test_schedules.test_cron_properties import MOMENTS, ZONES, some_of

#: Days of the week as a crontab counts them.
WEEKDAYS = (SU, MO, TU, WE, TH, FR, SA)


@settings(max_examples=150, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    last=MOMENTS,
    minute=some_of(0, 59),
    hour=some_of(0, 23),
    day_of_week=some_of(0, 6),
    day_of_month=some_of(1, 28),
    month_of_year=some_of(1, 12),
)
def test_next_time(
    zone: str,
    last: datetime,
    minute: set[int],
    hour: set[int],
    day_of_week: set[int],
    day_of_month: set[int],
    month_of_year: set[int],
) -> None:
    tz = ZoneInfo(zone)
    on_clock = last.astimezone(tz).replace(tzinfo=None)
    rule = rrule(
        DAILY,
        # A clock that a rule knows nothing of: the changes of offsets are `test_clock_changes`'s.
        dtstart=on_clock.replace(hour=0, minute=0, second=0, microsecond=0),
        byminute=sorted(minute),
        byhour=sorted(hour),
        bysecond=0,
        byweekday=[WEEKDAYS[day] for day in day_of_week],
        bymonthday=sorted(day_of_month),
        bymonth=sorted(month_of_year),
    )
    expected = rule.after(on_clock)
    assume(_is_steady(tz, last))
    moment = expected.replace(tzinfo=tz)
    assume(_is_steady(tz, moment))
    app = ClockApp(zone, last)
    cron = crontab(minute, hour, day_of_week, day_of_month, month_of_year, app=app)
    assert cron.due_after(last) == moment.astimezone(UTC)


def _is_steady(tz: ZoneInfo, moment: datetime) -> bool:
    """Return whether no clock is changed within a day of a moment."""
    moment = moment.astimezone(UTC)
    around = (moment - timedelta(days=1), moment, moment + timedelta(days=1))
    return len({at.astimezone(tz).utcoffset() for at in around}) == 1
