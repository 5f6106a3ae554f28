"""What differs between operating systems: daemons, users, signals, process titles, pidfiles.

Used by the command line and by the programs in ``apps``. The parts live in ``taskq.utils.process``.
"""

from __future__ import annotations

import os
import platform as _platform
import sys
from typing import Any

from taskq.exceptions import SecurityError as SecurityError
from taskq.exceptions import SecurityWarning as SecurityWarning
from taskq.utils.process.daemon import DAEMON_WORKDIR as DAEMON_WORKDIR
from taskq.utils.process.daemon import DaemonContext, detached
from taskq.utils.process.descriptors import close_open_fds, fd_by_path, get_fdmax
from taskq.utils.process.errors import get_errno_name, ignore_errno
from taskq.utils.process.pidfile import PIDFILE_FLAGS as PIDFILE_FLAGS
from taskq.utils.process.pidfile import PIDFILE_MODE as PIDFILE_MODE
from taskq.utils.process.pidfile import PIDLOCKED as PIDLOCKED
from taskq.utils.process.pidfile import LockFailed, Pidfile, create_pidlock
from taskq.utils.process.pidfile import PIDFile as PIDFile
from taskq.utils.process.signals import SIGMAP, signal_name, signals
from taskq.utils.process.signals import SIGNAMES as SIGNAMES
from taskq.utils.process.signals import Signals as Signals
from taskq.utils.process.title import set_mp_process_title, set_process_title
from taskq.utils.process.title import strargv as strargv
from taskq.utils.process.users import ASSUMING_ROOT as ASSUMING_ROOT
from taskq.utils.process.users import ROOT_DISALLOWED as ROOT_DISALLOWED
from taskq.utils.process.users import ROOT_DISCOURAGED as ROOT_DISCOURAGED
from taskq.utils.process.users import check_privileges as check_privileges
from taskq.utils.process.users import (
    initgroups,
    maybe_drop_privileges,
    parse_gid,
    parse_uid,
    setgid,
    setgroups,
    setuid,
)

__all__ = (
    "EX_FAILURE",
    "EX_OK",
    "EX_UNAVAILABLE",
    "EX_USAGE",
    "IS_WINDOWS",
    "SIGMAP",
    "SYSTEM",
    "DaemonContext",
    "IS_macOS",
    "LockFailed",
    "Pidfile",
    "close_open_fds",
    "create_pidlock",
    "detached",
    "fd_by_path",
    "get_errno_name",
    "get_fdmax",
    "ignore_errno",
    "initgroups",
    "isatty",
    "maybe_drop_privileges",
    "parse_gid",
    "parse_uid",
    "pyimplementation",
    "set_mp_process_title",
    "set_process_title",
    "setgid",
    "setgroups",
    "setuid",
    "signal_name",
    "signals",
)

#: Exit codes of ``sysexits.h``.
EX_OK = getattr(os, "EX_OK", 0)
EX_FAILURE = 1
EX_UNAVAILABLE = getattr(os, "EX_UNAVAILABLE", 69)
EX_USAGE = getattr(os, "EX_USAGE", 64)
EX_CANTCREAT = getattr(os, "EX_CANTCREAT", 73)

SYSTEM = _platform.system()
IS_macOS = SYSTEM == "Darwin"
IS_WINDOWS = SYSTEM == "Windows"

# The functions of one signal each, under the names they had before ``signals``.
get_signal = signals.signum
install_signal_handler = signals.__setitem__
reset_signal = signals.reset
ignore_signal = signals.ignore


def pyimplementation() -> str:
    """Return the name of the Python implementation."""
    return _platform.python_implementation()


def isatty(fh: Any) -> bool:
    """Return True if ``fh`` is a terminal."""
    try:
        return bool(fh.isatty())
    except AttributeError:
        return False  # It may be no file at all.


def set_pdeathsig(name: str | int) -> None:
    """Have the system send this process signal ``name`` when its parent dies.

    Does nothing where the system cannot do that.
    """
    if sys.platform.startswith("linux"):
        from taskq.utils.process.parent_death import send_on_parent_death

        send_on_parent_death(signals.signum(name))
