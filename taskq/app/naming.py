"""Which of the two styles of setting names a configuration uses, and the checks on its names.

New names are lower-case (``task_acks_late``), old ones upper-case (``CELERY_ACKS_LATE``); one
configuration uses one of them. Called by ``detect_settings``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

from taskq.app.defaults import _OLD_DEFAULTS, _TO_NEW_KEY, _TO_OLD_KEY, DEFAULTS
from taskq.exceptions import CeleryWarning, ImproperlyConfigured

FMT_REPLACE_SETTING = "{replace:<44} -> {with_}"

#: How alike two names must be (0 to 1) for one to count as a misspelling of the other.
_LIKENESS = 0.85
#: Upper-case names that begin otherwise belong to the web framework that shares the file with us.
_OLD_PREFIXES = ("CELERY", "BROKER", "TASKQ")

#: Names that were warned of already, so that each is once per process.
_warned: set[str] = set()


def _old_key_to_new(key: str, convert: Callable[..., Any] = _TO_NEW_KEY.get) -> str:
    """Return the new name of the setting *key*; *key* itself where it is none."""
    name: str = convert(key, key)
    return name


def _new_key_to_old(key: str, convert: Callable[..., Any] = _TO_OLD_KEY.get) -> str:
    """Return the old name of the setting *key*; *key* itself where it is none."""
    name: str = convert(key, key)
    return name


class Style(NamedTuple):
    """A style of setting names.

    Parameters:
        name: what the style is called in messages.
        defaults: the defaults under the names of this style.
        rename: turns a name of the other style into one of this style.
    """

    name: str
    defaults: Mapping[str, Any]
    rename: Callable[[str], str]


NEW = Style("new, lower-case", DEFAULTS, _old_key_to_new)
OLD = Style("old, upper-case", _OLD_DEFAULTS, _new_key_to_old)


def choose_style(new: Collection[str], old: Collection[str]) -> Style:
    """Return the style of a configuration that has the settings *new* and *old*.

    A setting given under both of its names does not count.

    Raises:
        ImproperlyConfigured: there are settings in both styles; names what to rename.
    """
    only_new = {key for key in new if _TO_OLD_KEY.get(key) not in old}
    only_old = {key for key in old if _TO_NEW_KEY.get(key) not in new}
    if only_new and only_old:
        if len(old) > len(new):
            raise _mixed(OLD, NEW, only_new)
        raise _mixed(NEW, OLD, only_old)
    return OLD if only_old else NEW


def _mixed(wanted: Style, other: Style, misnamed: Iterable[str]) -> ImproperlyConfigured:
    renames = "\n".join(
        FMT_REPLACE_SETTING.format(replace=key, with_=wanted.rename(key))
        for key in sorted(misnamed)
    )
    return ImproperlyConfigured(
        f"\n\nThe configuration uses {wanted.name} names, but these settings have "
        f"{other.name} ones.\nGive each the name on its right:\n\n{renames}\n"
    )


def warn_of_misspellings(
    conf: Mapping[Any, Any], style: Style = NEW, prefix: str | None = None
) -> None:
    """Warn, once per name, of each name in *conf* that is almost but not quite a setting's.

    Parameters:
        conf: the configuration as the user wrote it.
        style: the style of its names, for the suggestion.
        prefix: prefix of the settings in it, as in ``"CELERY_"``.
    """
    for key in list(conf):
        if not isinstance(key, str) or key in _TO_OLD_KEY or key in _TO_NEW_KEY or key in _warned:
            continue
        meant = _meant(key, style, prefix)
        # A configuration module also has names of its own: imports, classes, helper functions.
        if meant is None or isinstance(conf[key], ModuleType) or callable(conf[key]):
            continue
        _warned.add(key)
        hint = _namespace_hint(key, prefix)
        warnings.warn(
            f"there is no setting {key!r}: did you mean {meant!r}{hint}?",
            CeleryWarning,
            stacklevel=2,
        )


def _namespace_hint(key: str, prefix: str | None) -> str:
    lead, _, rest = key.partition("_")
    if prefix or not key.isupper() or rest.lower() not in _TO_OLD_KEY:
        return ""
    return f", or namespace={lead!r} for this configuration"


def _meant(key: str, style: Style, prefix: str | None) -> str | None:
    """Return the setting that *key* misspells, if it looks like one."""
    if key.startswith("_"):
        return None
    if prefix and key.startswith(prefix):
        name = key[len(prefix) :].lower()
        if name in _TO_OLD_KEY:
            return None
        match = _closest(name, _TO_OLD_KEY)
        return match and f"{prefix}{match.upper() if key.isupper() else match}"
    if not key.isupper():
        return _rename(_closest(key, _TO_OLD_KEY), style)
    if not key.startswith(_OLD_PREFIXES):
        return None
    # The upper-case form of a new name means something within a namespace only.
    plain = key.lower()
    for name in (plain, plain.partition("_")[2]):
        if name in _TO_OLD_KEY:
            return _rename(name, style)
    return _rename(_closest(key, _TO_NEW_KEY), style)


def _rename(name: str | None, style: Style) -> str | None:
    return None if name is None else style.rename(name)


def _closest(name: str, known: Iterable[str]) -> str | None:
    from difflib import get_close_matches  # rarely needed, and not cheap to import

    matches = get_close_matches(name, known, n=1, cutoff=_LIKENESS)
    return matches[0] if matches else None
