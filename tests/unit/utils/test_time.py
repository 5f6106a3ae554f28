"""Time zones, durations and rates, also where clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.utils.iso8601 import parse_iso8601
from taskq.utils.time import (
    LocalTimezone,
    add_seconds_to_datetime,
    adjust_timestamp,
    delta_resolution,
    ffwd,
    get_exponential_backoff_interval,
    humanize_seconds,
    is_naive,
    localize,
    make_aware,
    maybe_iso8601,
    maybe_make_aware,
    maybe_timedelta,
    rate,
    remaining,
    subtract_datetimes,
    timezone,
    to_utc,
    weekday,
    yearmonth,
)

UTC = UTC
NEW_YORK = ZoneInfo("America/New_York")
#: Clocks in New York go from 2:00 to 3:00.
SPRING = datetime(2021, 3, 14)
#: And from 2:00 back to 1:00.
AUTUMN = datetime(2021, 11, 7)


@pytest.mark.parametrize(
    ("text", "per_second"),
    [("10/s", 10), ("30/m", 0.5), ("36/h", 0.01), ("7", 7), (3, 3), (2.5, 2.5), (None, 0), (0, 0)],
)
def test_rate(text, per_second):
    assert rate(text) == pytest.approx(per_second)


@pytest.mark.parametrize("text", ["10/x", "many", "/s", "10/m/s"])
def test_a_rate_that_is_none(text):
    with pytest.raises(ValueError, match=f"{text!r} is no rate limit"):
        rate(text)


def test_names_of_days_and_months():
    assert (weekday("sun"), weekday("Monday"), yearmonth("Jan"), yearmonth("december")) == (
        0, 1, 1, 12
    )  # fmt: skip
    with pytest.raises(KeyError, match="xyz"):
        weekday("xyz")
    with pytest.raises(KeyError):
        yearmonth("xyz")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "now"),
        (0.4, "now"),
        (1, "1.00 second"),
        (59, "59.00 seconds"),
        (60, "1.00 minute"),
        (5400, "1.50 hours"),
        (4 * 86400, "4.00 days"),
    ],
)
def test_humanize_seconds(seconds, words):
    assert humanize_seconds(seconds) == words


def test_humanize_options():
    assert humanize_seconds(60, prefix="in", sep=" ") == "in 1.00 minute"
    assert humanize_seconds(0.4, microseconds=True) == "0.4 seconds"
    assert humanize_seconds(0, now="soon") == "soon"


def test_maybe_timedelta():
    assert maybe_timedelta(1.5) == timedelta(seconds=1.5)
    assert maybe_timedelta(None) is None
    assert maybe_timedelta(timedelta(1)) == timedelta(1)


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        (timedelta(days=2), datetime(2030, 3, 30)),
        (timedelta(hours=2), datetime(2030, 3, 30, 11)),
        (timedelta(minutes=2), datetime(2030, 3, 30, 11, 50)),
        (timedelta(seconds=2), datetime(2030, 3, 30, 11, 50, 58, 41)),
    ],
)
def test_delta_resolution(delta, expected):
    assert delta_resolution(datetime(2030, 3, 30, 11, 50, 58, 41), delta) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2030-01-02", datetime(2030, 1, 2)),
        ("2030-01-02T03:04:05", datetime(2030, 1, 2, 3, 4, 5)),
        ("2030-01-02T03:04:05Z", datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2030-01-02T03:04:05.6+02:00",
         datetime(2030, 1, 2, 1, 4, 5, 600000, tzinfo=UTC)),
        ("20300102T030405", datetime(2030, 1, 2, 3, 4, 5)),
        ("2030-01", datetime(2030, 1, 1)),
        ("2030-01-02T24:00", datetime(2030, 1, 3)),
    ],
)  # fmt: skip
def test_maybe_iso8601(text, expected):
    assert maybe_iso8601(text) == expected


def test_maybe_iso8601_of_anything_else():
    now = datetime(2030, 1, 2)
    assert maybe_iso8601(now) is now
    assert maybe_iso8601(None) is None
    with pytest.raises(ValueError):
        maybe_iso8601("tomorrow")


def test_parse_iso8601_is_deprecated():
    with pytest.warns(PendingDeprecationWarning):
        assert parse_iso8601("2030-01-02") == datetime(2030, 1, 2)


class Test_zones:
    noon = datetime(2030, 6, 15, 12)

    def test_make_aware_sets_the_zone(self):
        assert make_aware(self.noon, NEW_YORK).isoformat() == "2030-06-15T12:00:00-04:00"
        assert make_aware(self.noon, UTC).tzinfo is UTC

    def test_make_aware_where_clocks_change(self):
        skipped = make_aware(SPRING.replace(hour=2, minute=30), NEW_YORK)
        assert skipped.isoformat() == "2021-03-14T03:30:00-04:00"
        twice = make_aware(AUTUMN.replace(hour=1, minute=30), NEW_YORK)
        assert twice.isoformat() == "2021-11-07T01:30:00-04:00"

    def test_conversions_keep_the_moment(self):
        aware = make_aware(self.noon, NEW_YORK)
        for converted in (to_utc(aware), localize(aware, UTC), timezone.to_local(aware, UTC)):
            assert converted == aware
            assert converted.hour == 16
        assert timezone.to_system(aware) == aware
        assert timezone.to_local_fallback(aware) == aware

    def test_naive_means_utc(self):
        assert to_utc(self.noon) == datetime(2030, 6, 15, 12, tzinfo=UTC)
        assert maybe_make_aware(self.noon) == datetime(2030, 6, 15, 12, tzinfo=UTC)
        assert maybe_make_aware(self.noon, NEW_YORK).hour == 8
        assert maybe_make_aware(self.noon, NEW_YORK, naive_as_utc=False).hour == 12
        assert timezone.to_local(self.noon, NEW_YORK).hour == 8
        assert timezone.to_local(self.noon, NEW_YORK, orig=NEW_YORK).hour == 12

    def test_aware_stays_as_it_is(self):
        aware = make_aware(self.noon, NEW_YORK)
        assert maybe_make_aware(aware, UTC) is aware

    def test_is_naive(self):
        assert is_naive(self.noon)
        assert not is_naive(to_utc(self.noon))

    def test_get_timezone(self):
        assert timezone.get_timezone("Europe/Berlin") == ZoneInfo("Europe/Berlin")
        assert timezone.get_timezone(UTC) is UTC
        assert timezone.tz_or_local(NEW_YORK) is NEW_YORK
        assert timezone.tz_or_local() is timezone.local
        with pytest.raises(KeyError):
            timezone.get_timezone("No/Such")

    @given(st.datetimes(datetime(1990, 1, 1), datetime(2035, 1, 1)))
    def test_local_timezone_goes_there_and_back(self, dt):
        zone = LocalTimezone()
        moment = dt.replace(tzinfo=UTC)
        assert moment.astimezone(zone).replace(tzinfo=None) == moment.astimezone().replace(
            tzinfo=None
        )
        assert zone.tzname(dt)
        assert "UTC" in repr(zone)


class Test_remaining:
    def test_duration(self):
        start = datetime(2030, 1, 1, 12, tzinfo=UTC)
        now = start + timedelta(seconds=20)
        assert remaining(start, timedelta(minutes=1), now) == timedelta(seconds=40)

    def test_relative_rounds_the_end(self):
        start = datetime(2030, 1, 1, 11, 59, 30, tzinfo=UTC)
        now = datetime(2030, 1, 1, 12, tzinfo=UTC)
        assert remaining(start, timedelta(minutes=5), now, relative=True) == timedelta(minutes=4)

    def test_duration_is_real_time_where_clocks_change(self):
        start = datetime(2021, 3, 13, 12, tzinfo=NEW_YORK)
        now = datetime(2021, 3, 14, 11, tzinfo=NEW_YORK)
        assert remaining(start, timedelta(days=1), now) == timedelta(hours=2)

    def test_ffwd_is_time_on_the_clock(self):
        start = now = datetime(2021, 3, 13, 12, tzinfo=NEW_YORK)
        at_noon = ffwd(day=14, hour=12, minute=0)
        assert remaining(start, at_noon, now) == timedelta(hours=23)

    def test_zones_may_differ_and_naive_means_utc(self):
        start = datetime(2030, 1, 1, tzinfo=NEW_YORK)
        now = datetime(2030, 1, 1)
        assert remaining(start, timedelta(days=1), now) == timedelta(hours=29)
        assert remaining(start, ffwd(hour=5), now) == timedelta(hours=10)

    def test_now_is_the_default(self):
        start = datetime.now(UTC)
        assert timedelta(0) < remaining(start, timedelta(hours=1)) <= timedelta(hours=1)


def test_arithmetic_in_real_time():
    before = datetime(2021, 3, 14, 1, 59, tzinfo=NEW_YORK)
    after = add_seconds_to_datetime(before, 3600)
    assert after.isoformat() == "2021-03-14T03:59:00-04:00"
    assert subtract_datetimes(after, before) == timedelta(hours=1)
    assert add_seconds_to_datetime(datetime(2030, 1, 1), 60) == datetime(2030, 1, 1, 0, 1)


class Test_ffwd:
    day = datetime(2020, 6, 15, 12, 34, 56, 789)  # a Monday

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"hour": 3, "minute": 0, "second": 0, "microsecond": 0}, datetime(2020, 6, 15, 3)),
            ({"month": 2, "day": 31}, datetime(2020, 2, 29, 12, 34, 56, 789)),
            ({"weekday": 0}, day),
            ({"weekday": 6, "weeks": 1}, datetime(2020, 6, 28, 12, 34, 56, 789)),
            ({"weekday": 0, "weeks": 2, "day": 3}, datetime(2020, 6, 22, 12, 34, 56, 789)),
            ({"year": 2019, "hour": 1}, datetime(2019, 6, 15, 1, 34, 56, 789)),
        ],
    )
    def test_moves(self, fields, expected):
        assert self.day + ffwd(**fields) == expected

    def test_dates_and_nonsense(self):
        assert date(2020, 1, 1) + ffwd(day=3) == date(2020, 1, 3)
        with pytest.raises(TypeError):
            3 + ffwd(day=3)

    def test_repr(self):
        assert repr(ffwd(hour=3)) == "ffwd(hour=3, weeks=0)"


class Test_backoff:
    def test_doubles_up_to_the_maximum(self):
        intervals = [get_exponential_backoff_interval(2, n, 20) for n in range(6)]
        assert intervals == [2, 4, 8, 16, 20, 20]

    def test_many_retries(self):
        assert get_exponential_backoff_interval(1, 10**9, 600) == 600

    def test_jitter(self):
        found = {get_exponential_backoff_interval(1, 3, 100, full_jitter=True) for _ in range(200)}
        assert found <= set(range(9))
        assert len(found) > 3

    def test_never_negative(self):
        assert get_exponential_backoff_interval(-5, 3, 100) == 0


def test_adjust_timestamp():
    assert adjust_timestamp(10_000, 3, here=lambda: 1) == 2_800
