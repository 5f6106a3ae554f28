"""Values of ``taskq worker``'s options: node names, pools, ranges.

Used by the declaration of that command, and exported there.
"""

from __future__ import annotations

import sys
from typing import Any

import click
from click.types import StringParamType

from taskq.bin.types import AnyParamType

#: The concurrency that is computed from the CPUs the process may use.
AUTO_CONCURRENCY = "auto"


class CeleryBeat(AnyParamType):
    """Whether beat runs inside the worker."""

    name = "beat"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> bool | None:
        if value and sys.platform == "win32":
            self.fail("-B does not work on Windows; run `taskq beat` beside the worker", param, ctx)
        return value if value is None else bool(value)


class WorkersPool(click.Choice[str]):
    """A pool: one of the names, or the dotted path of a pool class (``pkg.module:Pool``)."""

    name = "pool"

    def __init__(self) -> None:
        super().__init__(
            ("prefork", "eventlet", "gevent", "solo", "processes", "threads", "asyncio", "custom")
        )

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from taskq.concurrency import get_available_pool_names, get_implementation
        from taskq.exceptions import ImproperlyConfigured

        if not isinstance(value, str):
            return value
        if "." not in value and ":" not in value and value not in get_available_pool_names():
            value = super().convert(value, param, ctx)
        try:
            return get_implementation(value)
        except (ImproperlyConfigured, ImportError) as exc:
            self.fail(str(exc), param, ctx)


class Hostname(StringParamType):
    """A node name; ``%h``, ``%n``, ``%d`` are expanded, and a missing half is filled in."""

    name = "hostname"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from taskq.utils.nodenames import default_nodename, host_format

        return host_format(default_nodename(value))


class Autoscale(AnyParamType):
    """``max,min`` or ``max``: between how many processes the pool may vary."""

    name = "<max workers>, <min workers>"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, (tuple, list)):
            return (int(value[0]), int(value[1]))
        parts = str(value).split(",")
        try:
            numbers = [int(part) for part in parts]
        except ValueError:
            self.fail(f"{value!r} is not max,min, such as 10,3", param, ctx)
        if len(numbers) > 2:
            self.fail(f"{value!r} has more than two numbers; write max,min", param, ctx)
        if min(numbers) < 0:
            self.fail(f"{value!r} has a negative number; write max,min, such as 10,3", param, ctx)
        return (max(numbers), min(numbers) if len(numbers) == 2 else 0)


CELERY_BEAT = CeleryBeat()
WORKERS_POOL = WorkersPool()
HOSTNAME = Hostname()
AUTOSCALE = Autoscale()
