"""Building task messages: protocol 2, and protocol 1 when configured.

The AMQP object calls these once per published task, so nothing is computed here that the
message doesn't carry.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from taskq.utils.nodenames import anon_nodename
from taskq.utils.saferepr import saferepr
from taskq.utils.time import add_seconds_to_datetime, maybe_make_aware

__all__ = ("MessageBuilder", "task_message")

#: Seconds that datetime arithmetic accepts at least, about minus 68 years.
INT_MIN = -2147483648


class task_message(NamedTuple):  # noqa: N801 - the public name
    """A task message before serialisation.

    - headers, properties: of the message.
    - body: what is serialised.
    - sent_event: fields of the ``task-sent`` event, None when it isn't sent.
    """

    headers: dict[str, Any]
    properties: dict[str, Any]
    body: Any
    sent_event: dict[str, Any] | None


def add_seconds(now: datetime, seconds: float, what: str) -> datetime:
    """Return the time so many real seconds after ``now``, whatever clocks do meanwhile.

    Raises ValueError naming ``what`` when out of range.
    """
    if seconds < INT_MIN:
        raise ValueError(f"{what} is out of range: {seconds!r} seconds")
    try:
        return add_seconds_to_datetime(now, seconds)
    except OverflowError as exc:
        raise ValueError(f"{what} is out of range: {seconds!r} seconds") from exc


def _times(
    countdown: float | None,
    eta: Any,
    expires: Any,
    now: datetime | None,
    timezone: Any,
    app: Any,
) -> tuple[str | None, str | None]:
    """Return ETA and expiry as ISO 8601 texts."""
    if countdown:
        if not math.isfinite(countdown):
            raise ValueError(f"countdown must be a number of seconds, not {countdown!r}")
        now = now or app.now()
        eta = maybe_make_aware(add_seconds(now, countdown, "countdown"), tz=timezone)
    if expires is not None and isinstance(expires, int | float):
        now = now or app.now()
        expires = maybe_make_aware(add_seconds(now, expires, "expires"), tz=timezone)
    return _isoformat(eta, timezone), _isoformat(expires, timezone)


def _isoformat(value: Any, timezone: Any) -> str | None:
    if not value:
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return maybe_make_aware(value, tz=timezone).isoformat()
    raise TypeError(
        f"eta and expires must be a datetime, a number of seconds or ISO 8601 text, not {value!r}"
    )


def check_arguments(args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return args and kwargs, empty when None. Raises TypeError for other types."""
    if args is None:
        args = ()
    elif not isinstance(args, list | tuple):
        raise TypeError(f"task args must be a list or tuple, not {type(args).__name__}: {args!r}")
    if kwargs is None:
        kwargs = {}
    elif not isinstance(kwargs, Mapping):
        raise TypeError(
            f"task keyword arguments must be a mapping, not {type(kwargs).__name__}: {kwargs!r}"
        )
    return args, kwargs


class MessageBuilder:
    """The part of an app's AMQP object that builds messages."""

    app: Any
    #: Length in characters of the positional arguments' representation in the message.
    argsrepr_maxsize = 1024
    #: Length in characters of the keyword arguments' representation in the message.
    kwargsrepr_maxsize = 1024
    #: How many containers deep both go; `AMQP` takes it from ``task_repr_maxlevels``.
    repr_maxlevels: Any = 3

    def as_task_v2(
        self,
        task_id: str,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        countdown: float | None = None,
        eta: Any = None,
        group_id: str | None = None,
        group_index: int | None = None,
        expires: Any = None,
        retries: int = 0,
        chord: Any = None,
        callbacks: Any = None,
        errbacks: Any = None,
        reply_to: str | None = None,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        create_sent_event: bool = False,
        root_id: str | None = None,
        parent_id: str | None = None,
        shadow: str | None = None,
        chain: Any = None,
        now: Any = None,
        timezone: Any = None,
        origin: str | None = None,
        ignore_result: bool | None = False,
        argsrepr: str | None = None,
        kwargsrepr: str | None = None,
        stamped_headers: Any = None,
        replaced_task_nesting: int = 0,
        **options: Any,
    ) -> task_message:
        """Return a task message in protocol 2.

        ``countdown`` and ``expires`` are in seconds, ``expires`` and ``eta`` may be datetimes,
        limits are in seconds. An ``ignore_result`` of None leaves it to the worker's task. Stamps
        are taken from ``options``, one per stamped header.
        Raises TypeError for args or kwargs of the wrong type, ValueError for times out of range.
        """
        app = self.app
        args, kwargs = check_arguments(args, kwargs)
        eta_text: str | None
        expires_text: str | None
        if countdown or eta or expires is not None:
            eta_text, expires_text = _times(
                countdown, eta, expires, now, timezone or app.timezone, app
            )
        else:
            eta_text = expires_text = None
        if argsrepr is None:
            argsrepr = saferepr(args, self.argsrepr_maxsize, self.repr_maxlevels)
        if kwargsrepr is None:
            kwargsrepr = (
                saferepr(kwargs, self.kwargsrepr_maxsize, self.repr_maxlevels) if kwargs else "{}"
            )
        if not root_id:
            root_id = task_id
        return task_message(
            headers={
                "lang": "py",
                "task": name,
                "id": task_id,
                "shadow": shadow,
                "eta": eta_text,
                "expires": expires_text,
                "group": group_id,
                "group_index": group_index,
                "retries": retries,
                "timelimit": [time_limit, soft_time_limit],
                "root_id": root_id,
                "parent_id": parent_id,
                "argsrepr": argsrepr,
                "kwargsrepr": kwargsrepr,
                "origin": origin or anon_nodename(),
                "ignore_result": ignore_result,
                "replaced_task_nesting": replaced_task_nesting,
                "stamped_headers": stamped_headers,
                "stamps": {
                    header: options[header] for header in stamped_headers if header in options
                }
                if stamped_headers
                else {},
            },
            properties={"correlation_id": task_id, "reply_to": reply_to or ""},
            body=(
                args,
                kwargs,
                {"callbacks": callbacks, "errbacks": errbacks, "chain": chain, "chord": chord},
            ),
            sent_event={
                "uuid": task_id,
                "root_id": root_id,
                "parent_id": parent_id,
                "name": name,
                "args": argsrepr,
                "kwargs": kwargsrepr,
                "retries": retries,
                "eta": eta_text,
                "expires": expires_text,
            }
            if create_sent_event
            else None,
        )

    def as_task_v1(
        self,
        task_id: str,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        countdown: float | None = None,
        eta: Any = None,
        group_id: str | None = None,
        group_index: int | None = None,
        expires: Any = None,
        retries: int = 0,
        chord: Any = None,
        callbacks: Any = None,
        errbacks: Any = None,
        reply_to: str | None = None,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        create_sent_event: bool = False,
        root_id: str | None = None,
        parent_id: str | None = None,
        shadow: str | None = None,
        now: Any = None,
        timezone: Any = None,
        **compat_kwargs: Any,
    ) -> task_message:
        """Return a task message in protocol 1, which carries fewer options than 2."""
        app = self.app
        args, kwargs = check_arguments(args, kwargs)
        eta_text, expires_text = _times(countdown, eta, expires, now, timezone or app.timezone, app)
        return task_message(
            headers={},
            properties={"correlation_id": task_id, "reply_to": reply_to or ""},
            body={
                "task": name,
                "id": task_id,
                "args": args,
                "kwargs": kwargs,
                "group": group_id,
                "group_index": group_index,
                "retries": retries,
                "eta": eta_text,
                "expires": expires_text,
                "utc": app.conf.enable_utc,
                "callbacks": callbacks,
                "errbacks": errbacks,
                "timelimit": (time_limit, soft_time_limit),
                "taskset": group_id,
                "chord": chord,
            },
            sent_event={
                "uuid": task_id,
                "name": name,
                "args": saferepr(args, maxlevels=self.repr_maxlevels),
                "kwargs": saferepr(kwargs, maxlevels=self.repr_maxlevels),
                "retries": retries,
                "eta": eta_text,
                "expires": expires_text,
            }
            if create_sent_event
            else None,
        )

    def _verify_seconds(self, s: float, what: str) -> float:
        """Return ``s``. Raises ValueError when it is below what the protocol can carry."""
        if s < INT_MIN:
            raise ValueError(f"{what} is out of range: {s!r}")
        return s
