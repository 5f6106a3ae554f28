"""Result backends: the classes to subclass, under Celery's names.

The parts are in modules of their own: `core` (settings, reading, writing), `marking` (states),
`chords`, `keyvalue`, `waiting`.
"""

from __future__ import annotations

from taskq._state import get_current_task
from taskq.backends.backend import Backend, BaseBackend
from taskq.backends.compression import (
    COMPRESSED_PAYLOAD_MAGIC,
    E_UNKNOWN_COMPRESSION,
    compress_payload,
    decompress_payload,
)
from taskq.backends.core import unpickle_backend
from taskq.backends.disabled import E_CHORD_NO_BACKEND, E_NO_BACKEND, DisabledBackend
from taskq.backends.failures import EXCEPTION_ABLE_CODECS
from taskq.backends.keyvalue import BaseKeyValueStoreBackend, KeyValueStoreBackend
from taskq.backends.synchronous import SyncBackendMixin

__all__ = (
    "COMPRESSED_PAYLOAD_MAGIC",
    "EXCEPTION_ABLE_CODECS",
    "E_CHORD_NO_BACKEND",
    "E_NO_BACKEND",
    "E_UNKNOWN_COMPRESSION",
    "Backend",
    "BaseBackend",
    "BaseDictBackend",
    "BaseKeyValueStoreBackend",
    "DisabledBackend",
    "KeyValueStoreBackend",
    "SyncBackendMixin",
    "compress_payload",
    "decompress_payload",
    "get_current_task",
    "unpickle_backend",
)


BaseDictBackend = BaseBackend
