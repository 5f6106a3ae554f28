"""The title that ``ps`` shows for a process.

Needs the package ``setproctitle``; without it nothing happens.
"""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING

from taskq.local import try_import

if TYPE_CHECKING:
    from collections.abc import Sequence


def set_process_title(progname: str, info: str | None = None) -> str:
    """Set the title to ``[progname] info`` and return it."""
    title = f"[{progname}]"
    title = f"{title} {info}" if info else title
    setproctitle = try_import("setproctitle")
    if setproctitle is not None:
        setproctitle.setproctitle(title)
    return title


def set_mp_process_title(
    progname: str, info: str | None = None, hostname: str | None = None
) -> str:
    """Set the title of a pool process to ``[progname: hostname: process] info`` and return it.

    Does nothing if the environment has ``NOSETPS``, and returns an empty text.
    """
    if os.environ.get("NOSETPS"):
        return ""
    if hostname:
        progname = f"{progname}: {hostname}"
    return set_process_title(f"{progname}:{_process_name()}", info=info)


def _process_name() -> str:
    billiard = sys.modules.get("billiard.process")
    return "MainProcess" if billiard is None else str(billiard.current_process().name)


def strargv(argv: Sequence[str]) -> str:
    """Return the options in ``argv`` as a shell would be given them, without the program."""
    start = 2 if "manage" in argv[0] else 1
    return shlex.join(argv[start:]) if len(argv) > start else ""
