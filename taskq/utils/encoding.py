"""Text and bytes: conversions, and reprs that never raise.

The names of kombu's module of the same name, without what importing kombu costs at start-up.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = (
    "bytes_to_str",
    "default_encode",
    "default_encoding",
    "ensure_bytes",
    "from_utf8",
    "get_default_encoding_file",
    "safe_repr",
    "safe_str",
    "set_default_encoding_file",
    "str_to_bytes",
)

#: Where messages are written to, and so whose encoding counts (default: none in particular).
default_encoding_file: Any = None


def set_default_encoding_file(file: Any) -> None:
    """Make ``file`` the one whose encoding :func:`default_encoding` returns."""
    global default_encoding_file
    default_encoding_file = file


def get_default_encoding_file() -> Any:
    """Return the file given to :func:`set_default_encoding_file`, or None."""
    return default_encoding_file


def default_encoding(file: Any = None) -> str:
    """Return the encoding of ``file``, or the one of file names."""
    file = file or default_encoding_file
    return getattr(file, "encoding", None) or sys.getfilesystemencoding()


def str_to_bytes(s: Any) -> Any:
    """Encode text as UTF-8; return anything else unchanged."""
    return s.encode() if isinstance(s, str) else s


def bytes_to_str(s: Any) -> Any:
    """Decode bytes as UTF-8 (bad ones replaced); return anything else unchanged."""
    return s.decode(errors="replace") if isinstance(s, bytes) else s


def from_utf8(s: Any, *args: Any, **kwargs: Any) -> Any:
    """Return ``s``: text needs no conversion."""
    return s


def ensure_bytes(s: Any) -> bytes:
    """Return ``s`` as bytes, by way of ``str`` if it is neither text nor bytes."""
    return s if isinstance(s, bytes) else str(s).encode()


def default_encode(obj: Any) -> Any:
    """Return ``obj``: text needs no encoding."""
    return obj


def safe_str(s: Any, errors: str = "replace") -> str:
    """Return ``s`` as text that can be printed, whatever it is. Never raises."""
    s = bytes_to_str(s)
    if not isinstance(s, str):
        return safe_repr(s, errors)
    try:
        encoding = default_encoding()
        return s.encode(encoding, errors).decode(encoding, errors)
    except Exception as exc:
        return _unrepresentable(s, exc)


def safe_repr(o: Any, errors: str = "replace") -> str:
    """Return ``repr(o)``, or a placeholder if that raises."""
    try:
        return repr(o)
    except Exception as exc:
        return _unrepresentable(o, exc)


def _unrepresentable(obj: Any, exc: Exception) -> str:
    return f"<Unrepresentable {type(obj)!r}: {type(exc).__name__}>"
