"""The two classes that a backend for a store of one's own inherits from."""

from __future__ import annotations

from taskq.backends.chords import ChordSupport
from taskq.backends.synchronous import SyncBackendMixin

__all__ = ("Backend", "BaseBackend")


class Backend(ChordSupport):
    """A result backend; add `SyncBackendMixin` or another way to wait for results."""


class BaseBackend(Backend, SyncBackendMixin):
    """A result backend that can be waited on; subclass it for a store of your own."""
