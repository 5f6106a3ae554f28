"""The version of taskq, in parts."""

from __future__ import annotations

import re
from typing import NamedTuple

from taskq import __version__

__all__ = ("VERSION", "version_info", "version_info_t")


class version_info_t(NamedTuple):  # noqa: N801 - the public name
    """A version, in parts."""

    major: int
    minor: int
    micro: int
    releaselevel: str
    serial: str


def _parse(text: str) -> version_info_t:
    match = re.match(r"(\d+)\.(\d+)\.(\d+)([a-z.]*)(\d*)", text)
    assert match is not None, f"__version__ is not a version: {text!r}"
    major, minor, micro, level, serial = match.groups()
    return version_info_t(int(major), int(minor), int(micro), level, serial)


VERSION = version_info = _parse(__version__)
