"""The share of processor time that a Linux control group (a container) allows.

Used through ``taskq.utils.sysinfo``.
"""

from __future__ import annotations

import posixpath

CGROUP_ROOT = "/sys/fs/cgroup"
PROC_SELF_CGROUP = "/proc/self/cgroup"


def cgroup_cpu_quota() -> float | None:
    """Return how many processors' worth of time we are allowed, or None if it is not limited.

    The tightest limit of our group and those around it counts, in either version of cgroups.
    """
    v2_path, v1_path = _cgroup_paths()
    quotas = [_v2_quota(directory) for directory in _upwards(CGROUP_ROOT, v2_path)]
    v1_root = f"{CGROUP_ROOT}/cpu"
    quotas += [_v1_quota(directory) for directory in _upwards(v1_root, v1_path)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _cgroup_paths() -> tuple[str | None, str | None]:
    """Return the paths of our groups: in version 2, and of version 1's cpu controller."""
    v2 = v1 = None
    for line in (_read_text(PROC_SELF_CGROUP) or "").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            v2 = path
        elif "cpu" in controllers.split(","):
            v1 = path
    return v2, v1


def _upwards(root: str, path: str | None) -> list[str]:
    """Return the directories of a group and of all groups around it."""
    if path is None:
        return []
    directories = [root]
    for part in path.strip("/").split("/"):
        if part in ("", ".."):
            continue  # Inside of a container the path may point outside, where we cannot look.
        directories.append(posixpath.join(directories[-1], part))
    return directories


def _v2_quota(directory: str) -> float | None:
    quota, _, period = (_read_text(f"{directory}/cpu.max") or "").partition(" ")
    return _parse_quota(quota, period)


def _v1_quota(directory: str) -> float | None:
    return _parse_quota(
        _read_text(f"{directory}/cpu.cfs_quota_us") or "",
        _read_text(f"{directory}/cpu.cfs_period_us") or "",
    )


def _parse_quota(quota_us: str, period_us: str) -> float | None:
    try:
        quota, period = int(quota_us), int(period_us)
    except ValueError:
        return None  # 'max', or no such file
    return quota / period if quota > 0 and period > 0 else None


def _read_text(path: str) -> str | None:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError):
        return None
