"""Open file descriptors of this process.

Used when a program becomes a daemon, and by pools.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Directories in which the system lists a process's descriptors.
_FD_DIRECTORIES = ("/proc/self/fd", "/dev/fd")
#: Limit to assume where the system names none.
_DEFAULT_FDMAX = 2048
#: Above so many it is faster, and right as well, to look at the list of open ones.
_INFINITE = 1 << 20


def get_fdmax(default: Any = None) -> Any:
    """Return how many descriptors this process may have, or ``default`` if there is no limit."""
    try:
        return os.sysconf("SC_OPEN_MAX")
    except (AttributeError, ValueError, OSError):
        pass  # Not on every system.
    try:
        import resource
    except ImportError:
        return default
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return default if limit == resource.RLIM_INFINITY else limit


def _open_fds() -> Iterator[int]:
    """Yield the descriptors that are open, or all that could be if the system does not tell."""
    for directory in _FD_DIRECTORIES:
        # On some systems /dev/fd lists the first three only.
        if directory == "/dev/fd" and sys.platform.startswith(("freebsd", "dragonfly")):
            continue
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        yield from sorted(int(name) for name in names)
        return
    yield from range(min(get_fdmax(_DEFAULT_FDMAX), _INFINITE))


def close_open_fds(keep: Iterable[Any] | None = None) -> None:
    """Close all descriptors but those in ``keep``, files or their descriptors."""
    kept = {fileno for fileno in map(_fileno, keep or ()) if fileno is not None}
    for fileno in list(_open_fds()):
        if fileno not in kept:
            try:
                os.close(fileno)
            except OSError:
                pass  # Closed already: it was open only while the list was made.


def _fileno(file: Any) -> int | None:
    if isinstance(file, int):
        return file
    try:
        return file.fileno()  # type: ignore[no-any-return]
    except (AttributeError, OSError, ValueError):
        return None


def fd_by_path(paths: Iterable[str]) -> list[int]:
    """Return the open descriptors of files in ``paths``.

    Used to keep them open in a daemon, such as ``/dev/urandom``.
    """
    wanted = set()
    for path in paths:
        try:
            stat = os.stat(path)
        except OSError:
            continue
        wanted.add((stat.st_dev, stat.st_ino))
    return [fileno for fileno in _open_fds() if _identity(fileno) in wanted]


def _identity(fileno: int) -> tuple[int, int] | None:
    try:
        stat = os.fstat(fileno)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
