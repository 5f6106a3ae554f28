"""Puts the reference of a module, from its docstrings, where a page says `<!-- module name -->`.

A module that this installation does not have, such as one whose extra is missing, is left out. So
is what a module re-exports from another package, and what an earlier page describes already.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any

_PLACE = re.compile(r"<!-- module (\S+) -->")

_REFERENCE = """\
## `{module}`

```{{eval-rst}}
.. automodule:: {module}
```
"""


def setup(app: Any) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("source-read", _fill_in)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _fill_in(app: Any, page: str, source: list[str]) -> None:
    source[0] = _PLACE.sub(_reference, source[0])


def _reference(place: re.Match[str]) -> str:
    module = place[1]
    return _REFERENCE.format(module=module) if _exists(module) else ""


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


#: Classes and functions that are described, by full name -> the page that describes them.
_described: dict[str, str] = {}


def _skip(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    if isinstance(obj, type):
        # A class that is an attribute of another is described where it stands by itself.
        if what == "class" and "." not in obj.__qualname__:
            return True
    elif what != "module" or not callable(obj):
        return None
    module = getattr(obj, "__module__", None) or ""
    if not module.startswith("taskq"):
        return True
    page = app.env.current_document.docname
    full_name = f"{module}.{getattr(obj, '__qualname__', name)}"
    return None if _described.setdefault(full_name, page) == page else True
