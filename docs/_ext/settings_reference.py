"""Writes the settings reference from the settings table, so that the two cannot differ.

Where a page says `<!-- settings -->`, every setting stands in its place: by group, with type,
default, older name and meaning.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import taskq.app.defaults as settings
from taskq.app.defaults import Option

PLACE = "<!-- settings -->"

#: Groups that come first on the page, in this order; the others follow by name.
FIRST = ("", "broker", "task", "worker", "result", "beat", "event", "control", "security")


def setup(app: Any) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("source-read", _fill_in)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _fill_in(app: Any, page: str, source: list[str]) -> None:
    if PLACE in source[0]:
        source[0] = source[0].replace(PLACE, "\n".join(reference()))


def reference() -> Iterator[str]:
    """Yield the lines of the reference, in Markdown."""
    texts = tomllib.loads((Path(settings.__file__).parent / "reference.toml").read_text())
    groups = _groups()
    for group in sorted(groups, key=lambda name: (_rank(name), name)):
        yield from (f"## {_title(group)}", "", texts["groups"][group], "")
        for name, option in groups[group].items():
            yield from _entry(name, option, texts["settings"][name])


def _groups() -> dict[str, dict[str, Option]]:
    """Return the settings by full name, by group; taskq's own in a group of their own."""
    groups: dict[str, dict[str, Option]] = {"": {}}
    own = {
        f"{group}_{key}": option
        for group, options in settings.TASKQ_SETTINGS.items()
        for key, option in options.items()
    }
    for name, member in settings.NAMESPACES.items():
        if isinstance(member, Option):
            groups[""][name] = member
        else:
            groups[name] = _named(name, member, without=own)
    return groups | {"taskq": own}


def _named(
    group: str, options: Mapping[str, Option], without: Mapping[str, Option]
) -> dict[str, Option]:
    full = {f"{group}_{key}": option for key, option in options.items()}
    return {name: option for name, option in full.items() if name not in without}


def _rank(group: str) -> int:
    if group == "taskq":
        return len(FIRST) + 1
    return FIRST.index(group) if group in FIRST else len(FIRST)


def _title(group: str) -> str:
    return {"": "General", "taskq": "Of taskq's own"}.get(group, f"`{group}_…`")


def _entry(name: str, option: Option, text: str) -> Iterator[str]:
    facts = [
        f"Type: {option.type}",
        f"default: `{option.default!r}`",
        f"older name: `{settings._TO_OLD_KEY[name]}`",
    ]
    if option.deprecate_by:
        facts.append(f"to be deprecated in {option.deprecate_by}: use {option.alt}")
    yield from (f"(setting-{name})=", f"### `{name}`", "", text.strip(), "")
    yield from ("; ".join(facts) + ".", "")
