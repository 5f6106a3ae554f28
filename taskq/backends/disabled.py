"""The backend of apps without one: says so when it is asked for a result."""

from __future__ import annotations

from typing import Any, NoReturn

from taskq.backends.backend import BaseBackend

__all__ = ("DisabledBackend",)

E_NO_BACKEND = """
No result backend is configured.
Set result_backend, for example to 'sqlite:///results.db', 'redis://localhost/0' or 'rpc://'.
Please see the documentation for more information.
"""

E_CHORD_NO_BACKEND = """
Starting chords requires a result backend to be configured.

Note that a group chained with a task is also upgraded to be a chord,
as this pattern requires synchronization.

Result backends that support chords: SQLite, Redis, Database, Memcached, and more.
"""


class DisabledBackend(BaseBackend):
    """Stores nothing."""

    _cache: dict[str, Any] = {}

    def store_result(self, *args: Any, **kwargs: Any) -> None:
        """Store nothing: tasks run without a backend."""

    def ensure_chords_allowed(self) -> NoReturn:
        """Raise NotImplementedError: chords need results."""
        raise NotImplementedError(E_CHORD_NO_BACKEND.strip())

    def _is_disabled(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise NotImplementedError: there are no results to be had."""
        raise NotImplementedError(E_NO_BACKEND.strip())

    def as_uri(self, *args: Any, **kwargs: Any) -> str:
        """Return ``disabled://``."""
        return "disabled://"

    get_state = get_status = get_result = get_traceback = _is_disabled
    get_task_meta = get_task_meta_for = _get_task_meta_for = _is_disabled
    get_many = get_children = wait_for = wait_for_pending = iter_native = _is_disabled
    create_follower = _is_disabled
    forget = save_group = restore_group = delete_group = _is_disabled
