"""Results as files in a directory (``file:///path``), one for each task and group.

The files are named as Celery names them, so both can share a directory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from kombu.utils.encoding import ensure_bytes

from taskq.backends.keyvalue import KeyValueStoreBackend
from taskq.exceptions import ImproperlyConfigured

__all__ = ("FilesystemBackend",)

E_NO_PATH_SET = (
    "You need to configure a path for the file-system backend, for example file:///var/lib/results"
)
E_PATH_NON_CONFORMING_SCHEME = (
    "A path for the file-system backend should conform to the file URI scheme, not {0!r}"
)
E_PATH_INVALID = """\
The configured path for the file-system backend does not
work correctly, please make sure that it exists and has
the correct permissions. (path: {0}, error: {1})"""

#: Start of the names of files that are being written.
TEMPORARY = b".writing-"


class FilesystemBackend(KeyValueStoreBackend):
    """Stores each meta in a file; a reader sees all of a file or none of it.

    Parameters:
        url: ``file://`` and an absolute path; ``file://localhost/path`` is the same.
        open: opens a file.
        unlink: removes a file.
        sep: separates directories in a path.
        encoding: of the path.
    """

    supports_result_compression = True

    def __init__(
        self,
        url: str | None = None,
        open: Callable[..., Any] = open,
        unlink: Callable[[Any], None] = os.unlink,
        sep: str = os.sep,
        encoding: str = "UTF-8",
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.url = url
        self.encoding = encoding
        self.path = self._find_path(url).encode(encoding)
        self.sep = sep.encode(encoding)
        self.open = open
        self.unlink = unlink
        self._do_directory_test(b".fs-backend-" + uuid4().hex.encode(encoding))

    def __reduce__(self, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        return super().__reduce__(args, {**(kwargs or {}), "url": self.url})

    def _find_path(self, url: str | None) -> str:
        if not url:
            raise ImproperlyConfigured(E_NO_PATH_SET)
        parts = urlsplit(url)
        if parts.scheme not in ("file", "filesystem") or parts.netloc not in ("", "localhost"):
            raise ImproperlyConfigured(E_PATH_NON_CONFORMING_SCHEME.format(url))
        path = unquote(parts.path)
        if not path:
            raise ImproperlyConfigured(E_NO_PATH_SET)
        return path

    def _do_directory_test(self, key: bytes) -> None:
        try:
            self.set(key, b"test value")
            readable = self.get(key) == b"test value"
            self.delete(key)
        except OSError as exc:
            path = os.fsdecode(self.path)
            raise ImproperlyConfigured(E_PATH_INVALID.format(path, exc)) from exc
        if not readable:
            path = os.fsdecode(self.path)
            raise ImproperlyConfigured(E_PATH_INVALID.format(path, "a file lost its content"))

    def _filename(self, key: bytes) -> bytes:
        return self.sep.join((self.path, key))

    def get(self, key: bytes) -> bytes | None:
        """Return the content of the file for `key`, None if there is none."""
        try:
            with self.open(self._filename(key), "rb") as infile:
                return infile.read()  # type: ignore[no-any-return]
        except FileNotFoundError:
            return None

    def mget(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the contents of the files for `keys`, in their order."""
        return [self.get(key) for key in keys]

    def set(self, key: bytes, value: Any) -> None:
        """Write the file for `key`; it appears with all of its content."""
        temporary = self._filename(TEMPORARY + uuid4().hex.encode())
        try:
            with self.open(temporary, "wb") as outfile:
                outfile.write(ensure_bytes(value))
            os.replace(temporary, self._filename(key))
        except OSError:
            self._remove(temporary)
            raise

    def delete(self, key: bytes) -> None:
        """Remove the file for `key`, if there is one."""
        self._remove(self._filename(key))

    def _remove(self, path: bytes) -> None:
        try:
            self.unlink(path)
        except FileNotFoundError:
            pass  # another process was quicker, or it was never there

    def cleanup(self) -> None:
        """Remove the files of tasks and groups that are older than `result_expires`."""
        if not self.expires:
            return
        oldest = time.time() - self.expires
        prefixes = (self.task_keyprefix, self.group_keyprefix, self.chord_keyprefix, TEMPORARY)
        for entry in os.scandir(self.path):
            if entry.name.startswith(prefixes):
                try:
                    if entry.stat().st_mtime < oldest:
                        self._remove(entry.path)
                except FileNotFoundError:
                    continue

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        """Return True for errors of the file system, which may be a network's."""
        return isinstance(exc, OSError)
