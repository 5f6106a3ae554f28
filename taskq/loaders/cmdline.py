"""Settings given on the command line, such as ``worker.concurrency=4``.

Used by ``taskq worker ... -- key=value``.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from taskq.utils.imports import symbol_by_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

#: The settings are known one storey up: a name, resolved when it is needed.
_NAMESPACES = "taskq.app.defaults:NAMESPACES"
_OPTION = "taskq.app.defaults:Option"

#: What ``(type)`` before a value means, where it differs from the setting's own types.
EXTRA_TYPES: dict[str, Callable[[Any], Any]] = {"json": json.loads}
#: Types that are written as JSON.
OVERRIDE_TYPES = {"tuple": "json", "list": "json", "dict": "json"}

RE_TYPE = re.compile(r"\((\w+)\)")


def parse_settings(
    args: Iterable[str],
    namespace: str = "taskq",
    re_type: re.Pattern[str] = RE_TYPE,
    extra_types: Mapping[str, Callable[[Any], Any]] | None = None,
    override_types: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the settings in ``args``, converted to their types.

    Parameters:
        args: ``key=value`` texts. The key is a setting's name, ``section.name``, or ``.name`` for
            a name in ``namespace``; the value may begin with ``(type)``, such as ``(dict)``.
        namespace: section of keys that begin with a dot.
        re_type: what a type before a value looks like.
        extra_types: type name -> what converts a text to it.
        override_types: type name -> name of the type to use in place of it.

    Raises ValueError for a key that is no setting, or a value that cannot be converted.
    """
    namespaces: Any = symbol_by_name(_NAMESPACES)
    converters = {
        **symbol_by_name(_OPTION).typemap,
        **(EXTRA_TYPES if extra_types is None else extra_types),
    }
    overrides = OVERRIDE_TYPES if override_types is None else override_types

    def parse(arg: str) -> tuple[str, Any]:
        key, equals, text = arg.partition("=")
        if not equals:
            raise ValueError(f"{arg!r} is no setting: write key=value")
        section, name = _section_and_name(key.lower(), namespace, namespaces)
        given = re_type.match(text)
        try:
            if given:
                kind = given.group(1)
                if overrides.get(kind, kind) not in converters:
                    raise ValueError(f"no type is called {kind!r}; there are {sorted(converters)}")
                value = converters[overrides.get(kind, kind)](text[given.end() :])
            else:
                value = _convert(_option(namespaces, section, name), text)
        except (TypeError, ValueError) as exc:
            raise ValueError(f"setting {key!r}: cannot use {text!r}: {exc}") from exc
        return "_".join(part for part in (section, name) if part), value

    return dict(parse(arg) for arg in args)


def _option(namespaces: Any, section: str, name: str) -> Any:
    return namespaces[section][name] if section else namespaces[name]


def _convert(option: Any, text: str) -> Any:
    if option.type in ("dict", "list", "tuple") and text[:1] in ("{", "["):
        value = json.loads(text)
        return tuple(value) if option.type == "tuple" else value
    return option.to_python(text)


def _section_and_name(key: str, namespace: str, namespaces: Any) -> tuple[str, str]:
    """Split a key into its section and its name, either of which must exist."""
    section, dot, name = key.partition(".")
    if dot:
        section = section or namespace
        if name in namespaces.get(section, ()):
            return section, name
    else:
        if key in namespaces and not isinstance(namespaces[key], dict):
            return "", key
        # Names of sections contain underscores as well: take the longest that fits.
        parts = key.split("_")
        for length in range(len(parts) - 1, 0, -1):
            section, name = "_".join(parts[:length]), "_".join(parts[length:])
            inside = namespaces.get(section)
            if isinstance(inside, dict) and name in inside:
                return section, name
    raise ValueError(f"there is no setting called {key!r}")
