"""What the app needs beside itself: its settings, finding it, pickling it, reporting on it.

Each lives in a module of its own; this is the path that users know.
"""

from __future__ import annotations

from taskq.app.censoring import HIDDEN_SETTINGS, filter_hidden_settings, sanitize_url
from taskq.app.defaults import (
    _OLD_DEFAULTS,
    _OLD_SETTING_KEYS,
    _TO_NEW_KEY,
    _TO_OLD_KEY,
    DEFAULTS,
    SETTING_KEYS,
    find,
)
from taskq.app.detection import detect_settings
from taskq.app.finding import find_app
from taskq.app.naming import FMT_REPLACE_SETTING, _new_key_to_old, _old_key_to_new
from taskq.app.pickling import AppPickler, _unpickle_app, _unpickle_app_v2
from taskq.app.report import BUGREPORT_INFO, appstr, bugreport
from taskq.app.settings import Settings

__all__ = (
    "BUGREPORT_INFO",
    "DEFAULTS",
    "FMT_REPLACE_SETTING",
    "HIDDEN_SETTINGS",
    "SETTING_KEYS",
    "_OLD_DEFAULTS",
    "_OLD_SETTING_KEYS",
    "_TO_NEW_KEY",
    "_TO_OLD_KEY",
    "AppPickler",
    "Settings",
    "_new_key_to_old",
    "_old_key_to_new",
    "_unpickle_app",
    "_unpickle_app_v2",
    "appstr",
    "bugreport",
    "detect_settings",
    "filter_hidden_settings",
    "find",
    "find_app",
    "sanitize_url",
)
