"""The server-side scripts of the result backend."""

from __future__ import annotations

from pathlib import Path

from taskq.transport.redis.scripts import Script, script

_FOLDER = Path(__file__).parent / "lua"


def backend_script(name: str) -> Script:
    """Return the script in ``lua/<name>.lua``."""
    return script(name, _FOLDER)
