"""The settings of one app: what was changed at run time, over its configuration, over defaults.

``taskq.app.detection`` makes them from a configuration, and the app holds them as ``app.conf``.
Publishing reads settings for every message, so a read is one dict look-up.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from functools import lru_cache
from types import ModuleType
from typing import Any
from warnings import warn

from taskq.app.censoring import filter_hidden_settings
from taskq.app.defaults import (
    _TO_NEW_KEY,
    _TO_OLD_KEY,
    SETTING_KEYS,
    find,
    searchresult,
)
from taskq.app.naming import _new_key_to_old, _old_key_to_new
from taskq.exceptions import CDeprecationWarning
from taskq.utils.collections import ConfigurationView, DictAttribute
from taskq.utils.text import pretty

#: What ``Settings`` keeps for itself; any other attribute is a setting.
_OWN_ATTRIBUTES = frozenset(
    {
        "_cache",
        "_keeps",
        "_keys",
        "_observers",
        "changes",
        "defaults",
        "deprecated_settings",
        "key_t",
        "maps",
        "prefix",
    }
)


class Settings(ConfigurationView):
    """Settings by name, as attributes or items, in layers of which the first that has one counts.

    A setting answers to its new name, its old one and, with a prefix, its prefixed one. Values
    that were read are kept until a setting is changed here, unless a layer is an object that may
    change by itself, such as the settings of Django.

    Parameters:
        changes: what is set at run time; the first layer.
        defaults: the layers below it.
        keys: functions that turn one style of names into the other.
        prefix: prefix of the names in the configuration, as in ``"CELERY_"``.
        deprecated_settings: old names that the configuration uses.
    """

    deprecated_settings: set[str]
    #: Values that were read, by the name they were read under.
    _cache: dict[str, Any]
    #: Whether values that were read may be kept.
    _keeps: bool

    def __init__(
        self,
        *args: Any,
        deprecated_settings: Collection[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self._cache = {}
        self._keeps = False
        self.deprecated_settings = set(deprecated_settings or ())
        super().__init__(*args, **kwargs)
        self._layers_changed()

    # -- reading

    def __getattr__(self, name: str) -> Any:
        # Only the first read of a setting comes by here: what is found becomes an attribute.
        attributes = self.__dict__
        if name in _OWN_ATTRIBUTES:  # not initialised yet: being unpickled
            raise AttributeError(name)
        try:
            value = self[name]
        except KeyError:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}"
            ) from None
        if self._keeps:
            attributes[name] = value
        return value

    def __getitem__(self, key: str) -> Any:
        cache = self._cache
        try:
            return cache[key]
        except KeyError:
            value = self._look_up(key)
        if self._keeps:
            cache[key] = value
        return value

    def __contains__(self, key: object) -> bool:
        try:
            self[key]  # type: ignore[index]
        except KeyError:
            return False
        return True

    def get(self, key: str, default: Any = None) -> Any:
        """Return the setting *key*, or *default* where no layer has it."""
        try:
            return self[key]
        except KeyError:
            return default

    def first(self, *keys: str) -> Any:
        """Return the first of the settings *keys* that is not None, or None."""
        for key in keys:
            value = self.get(key)
            if value is not None:
                return value
        return None

    def _look_up(self, key: str) -> Any:
        names = self._names(key)
        for layer in self.maps:
            for name in names:
                try:
                    return layer[name]
                except KeyError:
                    continue
        raise KeyError(key)

    def _names(self, key: str) -> tuple[str, ...]:
        """Return all names under which a layer may have the setting *key*."""
        return _names_of(key, self.prefix)

    # -- changing

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN_ATTRIBUTES:
            object.__setattr__(self, name, value)
        else:
            self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError as exc:
            raise AttributeError(*exc.args) from None

    def __setitem__(self, key: str, value: Any) -> None:
        self._put(key, value)
        self._changed({key: value})

    def __delitem__(self, key: str) -> None:
        found = [name for name in self._names(key) if name in self.changes]
        if not found:
            raise KeyError(f"{key!r} was not set at run time, so it cannot be taken back")
        for name in found:
            del self.changes[name]
        self._changed({key: self.get(key)})

    def pop(self, key: str, *default: Any) -> Any:
        """Take back the run-time change of *key* and return it; *default* where there is none."""
        for name in self._names(key):
            if name in self.changes:
                value = self.changes[name]
                del self[key]
                return value
        if default:
            return default[0]
        raise KeyError(key)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Set *key* where no layer has it; return the setting."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Change several settings at once, given as for ``dict.update``."""
        changed = dict(*args, **kwargs)
        for key, value in changed.items():
            self._put(key, value)
        self._changed(changed)

    def clear(self) -> None:
        """Take back all run-time changes."""
        changed = dict(self.changes)
        self.changes.clear()
        self._changed({key: self.get(key) for key in changed})

    def add_defaults(self, d: Any) -> None:
        """Add a layer of defaults, a mapping or an object with attributes, above the others."""
        super().add_defaults(d)
        self._layers_changed()

    def swap_with(self, other: ConfigurationView) -> None:
        """Become a view of the layers of *other*."""
        super().swap_with(other)
        self._layers_changed()

    def _put(self, key: str, value: Any) -> None:
        for name in self._names(key):
            self.changes.pop(name, None)
        self.changes[key] = value

    def _changed(self, changes: Mapping[str, Any]) -> None:
        self._forget()
        if self._observers:
            by_new_name = {self._new_name(key): value for key, value in changes.items()}
            for callback in self._observers:
                callback(by_new_name)

    def _layers_changed(self) -> None:
        self._keeps = all(_only_changes_through_us(layer) for layer in self.maps)
        self._forget()

    def _forget(self) -> None:
        """Drop the values that were read.

        The dicts that hold them are replaced, not emptied: a thread that read a value before the
        change keeps it in a dict that nobody looks into any more.
        """
        attributes = self.__dict__
        own = {name: attributes[name] for name in _OWN_ATTRIBUTES if name in attributes}
        own["_cache"] = {}
        object.__setattr__(self, "__dict__", own)

    def _new_name(self, key: str) -> str:
        return next((name for name in self._names(key) if name in _TO_OLD_KEY), key)

    def copy(self) -> Settings:
        """Return settings of their own with the same layers below the run-time changes."""
        return type(self)(
            dict(self.changes),
            self.maps[1:],
            self._keys,
            prefix=self.prefix,
            deprecated_settings=self.deprecated_settings,
        )

    __copy__ = copy

    # -- settings that depend on others, or on the environment

    @property
    def broker_url(self) -> Any:
        """Address of the broker: of the environment, else as configured."""
        return _environ("BROKER_URL") or self.first("broker_url", "broker_host")

    @property
    def broker_read_url(self) -> Any:
        """Address of the broker for consuming."""
        return _environ("BROKER_READ_URL") or self.get("broker_read_url") or self.broker_url

    @property
    def broker_write_url(self) -> Any:
        """Address of the broker for publishing."""
        return _environ("BROKER_WRITE_URL") or self.get("broker_write_url") or self.broker_url

    @property
    def result_backend(self) -> Any:
        """Address of the result store: of the environment, else as configured."""
        return _environ("RESULT_BACKEND") or self.get("result_backend")

    @property
    def task_default_exchange(self) -> str:
        """Exchange of queues that name none: the name of the default queue where it is unset."""
        return self.first("task_default_exchange", "task_default_queue")  # type: ignore[no-any-return]

    @property
    def task_default_routing_key(self) -> str:
        """Routing key of queues that name none: as with ``task_default_exchange``."""
        return self.first("task_default_routing_key", "task_default_queue")  # type: ignore[no-any-return]

    @property
    def timezone(self) -> Any:
        """Time zone of schedules, or None; ``TIME_ZONE``, as in Django's settings, counts too."""
        return self.first("timezone", "TIME_ZONE")

    # -- looking at them

    def without_defaults(self) -> Settings:
        """Return the run-time changes and the configuration, without the defaults."""
        return Settings({}, self.maps[:-1], self._keys, prefix=self.prefix)

    def value_set_for(self, key: str) -> bool:
        """Return whether anything but the defaults has *key*."""
        return key in self.without_defaults()

    def find_option(self, name: str, namespace: str = "") -> searchresult:
        """Find a setting by full or short name; see ``taskq.app.defaults.find``."""
        return find(name, namespace)

    def find_value_for_key(self, name: str, namespace: str = "celery") -> Any:
        """Return the value of the setting that ``find_option`` finds."""
        found = self.find_option(name, namespace)
        return self.get_by_parts(found.namespace, found.key)

    def get_by_parts(self, *parts: str | None) -> Any:
        """Return the setting whose name is *parts* joined, as in ``("task", "acks_late")``."""
        return self["_".join(part for part in parts if part)]

    def finalize(self) -> Settings:
        """Return the settings. They are complete already; this is here for what calls it."""
        return self

    def table(self, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
        """Return the settings as a dict.

        Parameters:
            with_defaults: include those that nobody set.
            censored: mask secrets.
        """
        layers = self.maps if with_defaults else self.maps[:-1]
        merged: dict[str, Any] = {}
        for layer in reversed(layers):
            for key, value in layer.items():
                name = self._new_name(key)
                if name in SETTING_KEYS or _is_plain(name, value):
                    merged[name] = value
        return filter_hidden_settings(merged) if censored else merged

    def humanize(self, with_defaults: bool = False, censored: bool = True) -> str:
        """Return the settings as text, one per line; parameters as for ``table``."""
        return "\n".join(
            f"{key}: {pretty(value, width=50)}"
            for key, value in self.table(with_defaults, censored).items()
        )

    def maybe_warn_deprecated_settings(self) -> bool:
        """Warn of each old name that the configuration uses; return whether there was one."""
        for key in sorted(self.deprecated_settings):
            warn(
                f"the setting {key!r} has an old name: call it {_TO_NEW_KEY[key]!r}",
                CDeprecationWarning,
                stacklevel=2,
            )
        return bool(self.deprecated_settings)


@lru_cache(maxsize=4096)
def _names_of(key: str, prefix: str | None) -> tuple[str, ...]:
    """Return the names of the setting *key*, the one that counts first in front."""
    if not prefix:
        return tuple(dict.fromkeys((key, _old_key_to_new(key), _new_key_to_old(key))))
    bare = key.removeprefix(prefix).lower()
    if bare in _TO_OLD_KEY:
        key = bare
    # As in the prefix: CELERY_TASK_TIME_LIMIT, celery_task_time_limit.
    prefixed = prefix + (key.upper() if prefix.isupper() else key)
    names = (prefixed, key, _old_key_to_new(key), _new_key_to_old(key))
    return tuple(dict.fromkeys(names))


def _only_changes_through_us(layer: Any) -> bool:
    """Return whether *layer* is plain data, and not an object with a life of its own."""
    if isinstance(layer, DictAttribute):
        return isinstance(layer.obj, ModuleType | type)
    return type(layer) is dict


def _is_plain(name: str, value: Any) -> bool:
    """Return whether something in a configuration module is a value and no part of its code."""
    return not (name.startswith("_") or callable(value) or isinstance(value, ModuleType))


def _environ(name: str) -> str | None:
    """Return what the environment says about *name*, under our prefix or Celery's."""
    return os.environ.get(f"TASKQ_{name}") or os.environ.get(f"CELERY_{name}")
