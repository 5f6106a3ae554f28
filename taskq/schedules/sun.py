"""Schedules by the sun: dawn, sunrise, noon, sunset and dusk at a place on earth.

Needs the `ephem` library, the extra ``solar``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from taskq.exceptions import ImproperlyConfigured
from taskq.schedules.base import BaseSchedule, schedstate

__all__ = ("solar",)


@dataclass(frozen=True, slots=True)
class SolarEvent:
    """How an event is found.

    - method: of ephem's observer.
    - horizon: how far above the horizon the sun is, in degrees and minutes.
    - use_center: whether that is the sun's center, and not its upper edge.
    """

    method: str
    horizon: str
    use_center: bool


EVENTS = {
    "dawn_astronomical": SolarEvent("next_rising", "-18", use_center=True),
    "dawn_nautical": SolarEvent("next_rising", "-12", use_center=True),
    "dawn_civil": SolarEvent("next_rising", "-6", use_center=True),
    "sunrise": SolarEvent("next_rising", "-0:34", use_center=False),
    "solar_noon": SolarEvent("next_transit", "0", use_center=False),
    "sunset": SolarEvent("next_setting", "-0:34", use_center=False),
    "dusk_civil": SolarEvent("next_setting", "-6", use_center=True),
    "dusk_nautical": SolarEvent("next_setting", "-12", use_center=True),
    "dusk_astronomical": SolarEvent("next_setting", "-18", use_center=True),
}


class solar(BaseSchedule):  # noqa: N801 - the public name
    """At an event of the sun.

    Parameters:
        event: one of ``dawn_astronomical``, ``dawn_nautical``, ``dawn_civil``, ``sunrise``,
            ``solar_noon``, ``sunset``, ``dusk_civil``, ``dusk_nautical`` and ``dusk_astronomical``.
        lat: latitude in degrees, north positive.
        lon: longitude in degrees, east positive.
        kwargs: ``nowfun``, ``app`` and ``tz`` as of `BaseSchedule`.

    Raises ImproperlyConfigured if ephem is not installed, ValueError for events and places that
    don't exist.
    """

    _all_events: ClassVar[set[str]] = set(EVENTS)

    #: Days to look ahead for an event that does not happen every day, near the poles.
    max_search_days: ClassVar[int] = 366

    def __init__(self, event: str, lat: float, lon: float, **kwargs: Any) -> None:
        try:
            import ephem
        except ImportError as exc:
            raise ImproperlyConfigured(
                "Solar schedules need the ephem library: pip install 'taskq[solar]'"
            ) from exc
        if event not in EVENTS:
            raise ValueError(
                f'Argument event "{event}" is invalid, must be one of {", ".join(sorted(EVENTS))}.'
            )
        if not -90 <= lat <= 90:
            raise ValueError(f"Argument latitude {lat} is invalid, must be between -90 and 90.")
        if not -180 <= lon <= 180:
            raise ValueError(f"Argument longitude {lon} is invalid, must be between -180 and 180.")
        self.ephem = ephem
        self.event = event
        self.lat = lat
        self.lon = lon
        super().__init__(**kwargs)
        observer = ephem.Observer()
        observer.lat = str(lat)
        observer.lon = str(lon)
        observer.elev = 0
        observer.horizon = EVENTS[event].horizon
        # The horizon allows for refraction already.
        observer.pressure = 0
        self.cal = observer

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Return how long it is until the next event; negative if it is over.

        Raises RuntimeError if there is none within `max_search_days`.
        """
        last = self.maybe_make_aware(last_run_at).astimezone(UTC)
        return self._next_event(last) - self.maybe_make_aware(self.now())

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Return whether the task is due, and in how many seconds to ask again."""
        seconds = self.remaining_estimate(last_run_at).total_seconds()
        if seconds > 0:
            return schedstate(is_due=False, next=seconds)
        following = self.remaining_estimate(self.maybe_make_aware(self.now()))
        return schedstate(is_due=True, next=max(following.total_seconds(), 0))

    def _next_event(self, start: datetime) -> datetime:
        event = EVENTS[self.event]
        find = getattr(self.cal, event.method)
        options = {} if event.method == "next_transit" else {"use_center": event.use_center}
        for days in range(self.max_search_days):
            try:
                found = find(self.ephem.Sun(), start=start + timedelta(days=days), **options)
            except self.ephem.CircumpolarError:
                # The sun is up, or down, all day.
                continue
            moment: datetime = found.datetime()
            return moment.replace(tzinfo=UTC)
        raise RuntimeError(f"No {self.event} within {self.max_search_days} days: {self!r}")

    def __repr__(self) -> str:
        return f"<solar: {self.event} at latitude {self.lat}, longitude: {self.lon}>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, solar):
            return other.event == self.event and other.lat == self.lat and other.lon == self.lon
        return NotImplemented

    __hash__ = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.event, self.lat, self.lon)
