"""Settings and URLs with their secrets masked, fit for logs, reports and the screen.

Used by ``conf.table``, ``conf.humanize``, ``bugreport`` and whoever prints an address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "********"

#: A setting whose name matches holds a secret.
HIDDEN_SETTINGS = re.compile(
    "API|TOKEN|KEY|SECRET|PASS|PROFANITIES_LIST|SIGNATURE|DATABASE|BEAT_DBURI",
    re.IGNORECASE,
)
#: Names that match by chance: what they hold may be read by anyone.
_OPEN_SETTINGS = frozenset(
    {
        "celery_default_routing_key",
        "database_create_tables_at_setup",
        "database_short_lived_sessions",
        "database_table_names",
        "database_table_schemas",
        "routing_key",
        "task_default_routing_key",
    }
)

# Patterns are text here, compiled when they are first used: most processes never mask anything.

#: `scheme://user:password@host`. The password may hold `/` and `@` that somebody forgot to quote,
#: so it ends at the last `@` of its URL.
_PASSWORD_IN_URL = r"""(?x)
    (://[^/\s:@?;,]*:)                      # up to the password
    ((?!//)(?:(?!://)[^\s?;,"'])*?)
    (@(?=[^@\s;,?]*(?:[\s;,?"']|$)))"""
_SECRET_IN_QUERY = (
    r"(?i)([?&;](?:[\w-]*password|passwd|pwd|secret|token|api_?key|access_?key)=)[^&;,\s]+"
)
_SECRET_IN_AZURE_STRING = r"(?i)((?:AccountKey|SharedAccessSignature|SharedAccessKey)=)[^;\s]*"


def sanitize_url(url: Any, mask: str = MASK) -> Any:
    """Return *url* with its passwords masked.

    Parameters:
        url: text with any number of URLs, or a list or tuple of such; anything else comes back
            unchanged.
        mask: what stands in place of a secret.
    """
    if isinstance(url, str):
        return _mask_text(url, mask)
    if isinstance(url, list | tuple):
        return type(url)(sanitize_url(item, mask) for item in url)
    return url


def filter_hidden_settings(conf: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return a copy of *conf* in which every secret is masked, at any depth.

    A value is masked whole where its name says that it is a secret; passwords inside URLs are
    masked wherever they stand.
    """
    return {key: _censor(key, value) for key, value in conf.items()}


def _censor(key: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        return filter_hidden_settings(value)
    if isinstance(key, str) and HIDDEN_SETTINGS.search(key) and key.lower() not in _OPEN_SETTINGS:
        return MASK
    if isinstance(value, str):
        return _mask_text(value, MASK)
    # Exactly these: a named tuple or a subclass may not be made from a list of items.
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(_censor(None, item) for item in value)
    return value


def _mask_text(text: str, mask: str) -> str:
    if "://" not in text and "=" not in text:
        return text
    text = re.sub(_PASSWORD_IN_URL, rf"\g<1>{mask}\g<3>", text)
    text = re.sub(_SECRET_IN_QUERY, rf"\g<1>{mask}", text)
    return re.sub(_SECRET_IN_AZURE_STRING, rf"\g<1>{mask}", text)
