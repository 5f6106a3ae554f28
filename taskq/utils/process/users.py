"""Users and groups: their numbers, becoming another user, and warnings about being root.

Used by the programs for ``--uid`` and ``--gid``.
"""

from __future__ import annotations

import errno
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

from taskq.exceptions import SecurityError, SecurityWarning
from taskq.local import try_import

if TYPE_CHECKING:
    from collections.abc import Collection

pwd = try_import("pwd")
grp = try_import("grp")

ROOT_DISALLOWED = """\
Running a worker with superuser privileges when the worker accepts messages serialized with pickle \
is a very bad idea: whoever can send it a message can do anything on this machine.

Choose another user with the --uid option, or, if you really want this, set the environment variable
C_FORCE_ROOT.

User information: uid={uid} euid={euid} gid={gid} egid={egid}
"""

ROOT_DISCOURAGED = """\
You're running the worker with superuser privileges: this is absolutely not recommended!

Please specify a different user using the --uid option.

User information: uid={uid} euid={euid} gid={gid} egid={egid}
"""

ASSUMING_ROOT = """\
An entry for the specified gid or egid was not found.
We're assuming this is a potential security issue.
"""


def _required(module: Any, what: str) -> Any:
    if module is None:
        raise AttributeError(f"this platform has no {what}")
    return module


def parse_uid(uid: int | str) -> int:
    """Return the number of a user given by name or number. Raises KeyError if there is none."""
    try:
        return int(uid)
    except ValueError:
        try:
            return _required(pwd, "users").getpwnam(uid).pw_uid  # type: ignore[no-any-return]
        except (AttributeError, KeyError):
            raise KeyError(f"User does not exist: {uid}") from None


def parse_gid(gid: int | str) -> int:
    """Return the number of a group given by name or number. Raises KeyError if there is none."""
    try:
        return int(gid)
    except ValueError:
        try:
            return _required(grp, "groups").getgrnam(gid).gr_gid  # type: ignore[no-any-return]
        except (AttributeError, KeyError):
            raise KeyError(f"Group does not exist: {gid}") from None


def setgroups(groups: Collection[int]) -> None:
    """Set the groups of this process, as many as the system takes."""
    limit = None
    try:
        limit = os.sysconf("SC_NGROUPS_MAX")
    except (AttributeError, ValueError, OSError):
        pass  # Not on every system.
    chosen = list(groups)[:limit] if limit and limit > 0 else list(groups)
    try:
        os.setgroups(chosen)
    except OSError as exc:
        # Not being root we may not; that is fine if these are our groups already.
        if exc.errno != errno.EPERM or any(group not in os.getgroups() for group in chosen):
            raise


def initgroups(uid: int, gid: int) -> None:
    """Set the groups of this process to those of user ``uid`` and group ``gid``."""
    if pwd is None:
        return
    username = pwd.getpwuid(uid).pw_name
    if hasattr(os, "initgroups"):
        os.initgroups(username, gid)
        return
    setgroups([group.gr_gid for group in grp.getgrall() if username in group.gr_mem])


def setgid(gid: int | str) -> None:
    """Become a member of a group, given by name or number."""
    os.setgid(parse_gid(gid))


def setuid(uid: int | str) -> None:
    """Become a user, given by name or number."""
    os.setuid(parse_uid(uid))


def maybe_drop_privileges(uid: int | str | None = None, gid: int | str | None = None) -> None:
    """Become another user and group, for good.

    Parameters:
        uid: the user; alone, its own group is taken as well.
        gid: the group.

    Raises SecurityError if we are, and stay, set-user-ID.
    """
    if sys.platform == "win32":
        return
    if os.geteuid() and not os.getuid():
        raise SecurityError("not root now, but able to become root again: start as either")
    wanted_uid = uid and parse_uid(uid)
    wanted_gid = gid and parse_gid(gid)
    if wanted_uid:
        _setuid(int(wanted_uid), int(wanted_gid) if wanted_gid else None)
    elif wanted_gid:
        setgid(wanted_gid)
    if wanted_uid and not os.getuid() and not os.geteuid():
        raise SecurityError("Still root uid after drop privileges!")
    if wanted_gid and not os.getgid() and not os.getegid():
        raise SecurityError("Still root gid after drop privileges!")


def _setuid(uid: int, gid: int | None) -> None:
    if not gid and pwd is not None:
        # The user's own group, if the system knows the user.
        gid = pwd.getpwuid(uid).pw_gid
    if gid is None:
        raise SecurityError(f"no group is known for user {uid}: give one")
    setgid(gid)
    initgroups(uid, gid)
    setuid(uid)
    try:
        os.setuid(0)
    except OSError as exc:
        if exc.errno != errno.EPERM:
            raise
    else:
        raise SecurityError("non-root user able to restore privileges after setuid.")


def check_privileges(accept_content: Collection[str]) -> None:
    """Warn of being root, and refuse it if we unpickle what we are sent.

    Parameters:
        accept_content: the content types that are accepted.

    Raises SecurityError for root, pickle, and no ``C_FORCE_ROOT`` in the environment.
    """
    if grp is None or pwd is None:
        return
    pickles = "pickle" in accept_content or "application/x-python-serialize" in accept_content
    uid = os.getuid() if hasattr(os, "getuid") else 65535
    gid = os.getgid() if hasattr(os, "getgid") else 65535
    euid = os.geteuid() if hasattr(os, "geteuid") else 65535
    egid = os.getegid() if hasattr(os, "getegid") else 65535
    if hasattr(os, "fchown") and not all(hasattr(os, name) for name in ("getuid", "getgid")):
        raise SecurityError("suspicious platform, contact support")
    try:
        privileged = not uid or not gid or not euid or not egid or _is_sudo(gid) or _is_sudo(egid)
    except KeyError:
        warnings.warn(SecurityWarning(ASSUMING_ROOT), stacklevel=2)
        privileged = True
    if not privileged:
        return
    identity = {"uid": uid, "euid": euid, "gid": gid, "egid": egid}
    if pickles and not os.environ.get("C_FORCE_ROOT"):
        raise SecurityError(ROOT_DISALLOWED.format(**identity))
    warnings.warn(SecurityWarning(ROOT_DISCOURAGED.format(**identity)), stacklevel=2)


def _is_sudo(gid: int) -> bool:
    return grp.getgrgid(gid).gr_name in ("sudo", "wheel")
