"""Makes the settings of an app from its configuration, whichever style of names that uses.

Called by the app when a setting is first read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from taskq.app.defaults import _OLD_SETTING_KEYS, SETTING_KEYS
from taskq.app.naming import (
    NEW,
    _new_key_to_old,
    _old_key_to_new,
    choose_style,
    warn_of_misspellings,
)
from taskq.app.settings import Settings


def detect_settings(
    conf: Any,
    preconf: Mapping[str, Any] | None = None,
    ignore_keys: Collection[str] | None = None,
    prefix: str | None = None,
    all_keys: Collection[str] | None = None,
    old_keys: Collection[str] | None = None,
) -> Settings:
    """Return the settings of a configuration, in whichever style its names are.

    Parameters:
        conf: the configuration: a mapping, or an object wrapped as one.
        preconf: what was set before the configuration was read; either style. Goes before it.
        ignore_keys: names in *preconf* that were not chosen by the user, for the check of styles.
        prefix: namespace of the names in *conf*, as in ``"CELERY"``.
        all_keys, old_keys: the new and the old names; by default those of all settings.

    Raises:
        ImproperlyConfigured: names of both styles are mixed; the message says what to rename.
    """
    all_keys = SETTING_KEYS if all_keys is None else all_keys
    old_keys = _OLD_SETTING_KEYS if old_keys is None else old_keys
    preconf = {} if preconf is None else preconf
    written = set(conf.keys()) if conf else set(preconf) - set(ignore_keys or ())
    old = written.intersection(old_keys)
    style = NEW if prefix else choose_style(written.intersection(all_keys), old)
    if prefix:
        prefix = prefix.rstrip("_") + "_"
        # CELERY_TASK_SERIALIZER in the namespace CELERY is the new name, whatever else it was.
        old = {key for key in old if key.removeprefix(prefix).lower() not in all_keys}
    for source in (conf, preconf):
        warn_of_misspellings(source, style, prefix)
    changes = {style.rename(key): value for key, value in preconf.items()}
    return Settings(
        changes,
        [conf, _fresh(style.defaults)],
        (_old_key_to_new, _new_key_to_old),
        deprecated_settings=old,
        prefix=prefix,
    )


def _fresh(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of *defaults* whose dicts belong to it alone."""
    return {key: dict(value) if type(value) is dict else value for key, value in defaults.items()}
