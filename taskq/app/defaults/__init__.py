"""The settings: what exists, with which default and type, under which older name.

Imported by every app, so it stays cheap. The table itself is ``table``.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from taskq.app.defaults.option import Namespace, Option
from taskq.app.defaults.table import (
    DEFAULT_ACCEPT_CONTENT,
    DEFAULT_POOL,
    DEFAULT_PROCESS_LOG_FMT,
    DEFAULT_SECURITY_DIGEST,
    DEFAULT_TASK_LOG_FMT,
    NAMESPACES,
    OLD_NS,
    OLD_NS_BEAT,
    OLD_NS_WORKER,
    TASKQ_SETTINGS,
    old_ns,
)
from taskq.exceptions import CPendingDeprecationWarning

__all__ = (
    "DEFAULTS",
    "DEFAULT_ACCEPT_CONTENT",
    "DEFAULT_POOL",
    "DEFAULT_PROCESS_LOG_FMT",
    "DEFAULT_SECURITY_DIGEST",
    "DEFAULT_TASK_LOG_FMT",
    "NAMESPACES",
    "OLD_NS",
    "OLD_NS_BEAT",
    "OLD_NS_WORKER",
    "SETTING_KEYS",
    "TASKQ_SETTINGS",
    "Namespace",
    "Option",
    "find",
    "find_deprecated_settings",
    "flatten",
    "old_ns",
    "searchresult",
)

Group = Mapping[str, Option]
S = TypeVar("S")
R = TypeVar("R")


def _by_full_name(ns: str, key: str, option: Option) -> tuple[str, Option]:
    return ns + key, option


def flatten(
    d: Mapping[str, Option | Group],
    root: str = "",
    keyfilter: Callable[[str, str, Option], R] = _by_full_name,  # type: ignore[assignment]
) -> Iterator[R]:
    """Yield ``keyfilter(prefix, name, option)`` for each setting in *d*, outer ones first.

    Parameters:
        d: settings and groups of settings by name.
        root: prefix of the names in *d*, without the underscore.
        keyfilter: what to make of a setting; by default the pair of its full name and its option.
    """
    groups: deque[tuple[str, Mapping[str, Option | Group]]] = deque([(root, d)])
    while groups:
        prefix, members = groups.popleft()
        for name, member in members.items():
            if isinstance(member, Option):
                yield keyfilter(prefix, name, member)
            else:
                groups.append((f"{prefix}{name}_", member))


def _old_name(ns: str, key: str, option: Option) -> str:
    """Return the upper-case name that older configurations use for a setting."""
    return next(iter(option.old), ns + key).upper()


_OPTIONS: dict[str, Option] = dict(flatten(NAMESPACES))

#: Name of each setting -> its default.
DEFAULTS: dict[str, Any] = {name: option.default for name, option in _OPTIONS.items()}

#: Name of each setting <-> its older, upper-case name.
_TO_OLD_KEY: dict[str, str] = dict(
    zip(_OPTIONS, flatten(NAMESPACES, keyfilter=_old_name), strict=True)
)
_TO_NEW_KEY: dict[str, str] = {old: new for new, old in _TO_OLD_KEY.items()}
_OLD_DEFAULTS: dict[str, Any] = {_TO_OLD_KEY[name]: value for name, value in DEFAULTS.items()}

SETTING_KEYS: set[str] = set(DEFAULTS)
_OLD_SETTING_KEYS: set[str] = set(_TO_NEW_KEY)


class searchresult(NamedTuple):
    """Where ``find`` found something: the group (None: by its full name), the name, the thing."""

    namespace: str | None
    key: str
    type: Any


def find(name: str, namespace: str = "celery") -> searchresult:
    """Find a setting, or a group of settings, by full or short name, in any case.

    Parameters:
        name: ``"task_acks_late"``, ``"acks_late"`` or, for a whole group, ``"task"``.
        namespace: group to look in before the others.

    Raises:
        KeyError: there is none of that name.
    """
    name = name.lower()
    preferred = NAMESPACES.get(namespace)
    if isinstance(preferred, dict) and name in preferred:
        return searchresult(namespace, name, preferred[name])
    for group, members in NAMESPACES.items():
        if group == name:
            return searchresult(None, name, members)
        if isinstance(members, dict) and name in members:
            return searchresult(group, name, members[name])
    return searchresult(None, name, _OPTIONS[name])


def find_deprecated_settings(source: S) -> S:
    """Warn of each deprecated setting that *source* has as an attribute; return *source*."""
    for name, option in _OPTIONS.items():
        if option.deprecate_by and getattr(source, name, None):
            warnings.warn(
                f"the setting {name!r} will be deprecated in {option.deprecate_by} and removed in "
                f"{option.remove_by}: use {option.alt}",
                CPendingDeprecationWarning,
                stacklevel=2,
            )
    return source
