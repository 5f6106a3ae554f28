"""Puts the reference of a module, from its docstrings, where a page says `<!-- module name -->`.

A module that this installation does not have, such as one whose extra is missing, is left out.
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
