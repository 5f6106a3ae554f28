"""Facts about this machine: load, disk space, how many processors we may use.

Used for heartbeats, remote control and ``--concurrency=auto``.
"""

from __future__ import annotations

import os
from math import ceil
from typing import NamedTuple

from taskq.utils.cgroups import cgroup_cpu_quota as cgroup_cpu_quota
from taskq.utils.objects import cached_property

__all__ = (
    "AUTO_CONCURRENCY",
    "CpuBudget",
    "available_cpu_count",
    "cgroup_cpu_quota",
    "cpu_budget",
    "df",
    "is_auto_concurrency",
    "load_average",
)

#: Value of ``worker_concurrency`` that means as many as there are processors for us.
AUTO_CONCURRENCY = "auto"


def load_average() -> tuple[float, ...]:
    """Return the load of the last 1, 5 and 15 minutes (zeros where that is not known)."""
    try:
        return tuple(ceil(load * 1e2) / 1e2 for load in os.getloadavg())
    except (AttributeError, OSError):
        return 0.0, 0.0, 0.0


class df:
    """Disk space of the file system that ``path`` is on, in kibibytes."""

    def __init__(self, path: str | bytes | os.PathLike[str]) -> None:
        self.path = path

    @property
    def total_blocks(self) -> float:
        """Size of the file system."""
        return self.stat.f_blocks * self.stat.f_frsize / 1024

    @property
    def available(self) -> float:
        """Space left for ordinary users."""
        return self.stat.f_bavail * self.stat.f_frsize / 1024

    @property
    def capacity(self) -> int:
        """Percentage in use, rounded up."""
        used = self.stat.f_blocks - self.stat.f_bfree
        usable = used + self.stat.f_bavail
        return ceil(used * 100.0 / usable) if usable else 0

    @cached_property
    def stat(self) -> os.statvfs_result:
        """What the system tells of the file system."""
        return os.statvfs(os.path.abspath(self.path))


class CpuBudget(NamedTuple):
    """How many processors there are for this process."""

    #: Processes to start.
    count: int  # type: ignore[assignment] # Celery's name, and also a method of tuples
    #: Processors that this process may run on.
    available: int
    #: Processors' worth of time that the control group allows, if it limits that.
    quota: float | None


def is_auto_concurrency(value: object) -> bool:
    """Return True if a concurrency setting is ``auto``."""
    return isinstance(value, str) and value.strip().lower() == AUTO_CONCURRENCY


def available_cpu_count() -> int:
    """Return how many processors this process may run on."""
    try:
        return len(os.sched_getaffinity(0)) or 1
    except (AttributeError, OSError):
        return os.cpu_count() or 1


def cpu_budget(use_cgroup_quota: bool = True) -> CpuBudget:
    """Return how many processes are worth starting here.

    Parameters:
        use_cgroup_quota: heed the limit of a container.
    """
    available = available_cpu_count()
    quota = cgroup_cpu_quota() if use_cgroup_quota else None
    count = available if quota is None else min(available, max(1, ceil(quota)))
    return CpuBudget(count, available, quota)
