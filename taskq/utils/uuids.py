"""Task ids: random UUIDs, made without the detours of :mod:`uuid`.

Called once for each published task.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_VARIANT = "89ab"


def uuid(_uuid: Callable[[], object] | None = None) -> str:
    """Return a new random UUID (version 4) in its usual form of 36 characters.

    Parameters:
        _uuid: makes the UUID instead, for tests.
    """
    if _uuid is not None:
        return str(_uuid())
    digits = os.urandom(16).hex()
    return (
        f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-"
        f"{_VARIANT[int(digits[16], 16) & 3]}{digits[17:20]}-{digits[20:]}"
    )


gen_unique_id = uuid
