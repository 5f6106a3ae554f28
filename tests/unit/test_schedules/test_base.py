"""What all schedules have in common."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from taskq.schedules import BaseSchedule
from tests.unit.test_schedules.schedule_support import ClockApp


def test_asks_the_app():
    app = ClockApp("Europe/Berlin")
    base = BaseSchedule(app=app)
    assert base.now() == app.now()
    assert str(base.tz) == "Europe/Berlin"
    assert base.utc_enabled is True


def test_naive_times_are_utc_unless_told_otherwise():
    base = BaseSchedule(app=ClockApp("Europe/Berlin"))
    naive = datetime(2024, 1, 1, 12)
    assert base.maybe_make_aware(naive) == datetime(2024, 1, 1, 12, tzinfo=UTC)
    in_zone = base.maybe_make_aware(naive, naive_as_utc=False)
    assert in_zone == datetime(2024, 1, 1, 11, tzinfo=UTC)


def test_subclasses_say_when():
    with pytest.raises(NotImplementedError):
        BaseSchedule(app=ClockApp()).is_due(datetime.now(UTC))
    with pytest.raises(NotImplementedError):
        BaseSchedule(app=ClockApp()).remaining_estimate(datetime.now(UTC))


def test_the_zone_may_be_set_by_subclasses() -> None:
    """Schedules of django-celery-beat do so before they call our ``__init__``."""

    class Zoned(BaseSchedule):
        def __init__(self, tz: str) -> None:
            self.tz = tz
            super().__init__(app=ClockApp("Europe/Berlin"))

    assert str(Zoned("Asia/Tokyo").tz) == "Asia/Tokyo"
    zoned = Zoned("Asia/Tokyo")
    zoned.tz = None
    assert str(zoned.tz) == "Europe/Berlin"
