"""Dicts with attributes, configuration in layers, and containers that stay small.

The parts are in ``mappings``, ``limited_set`` and ``buffers``; this is the name that users know.
"""

from __future__ import annotations

from taskq.utils.buffers import BufferMap, Evictable, Messagebuffer, OrderedDict
from taskq.utils.limited_set import LimitedSet
from taskq.utils.mappings import (
    AttributeDict,
    AttributeDictMixin,
    ChainMap,
    ConfigurationView,
    DictAttribute,
    force_mapping,
    lpmerge,
)

__all__ = (
    "AttributeDict",
    "AttributeDictMixin",
    "BufferMap",
    "ChainMap",
    "ConfigurationView",
    "DictAttribute",
    "Evictable",
    "LimitedSet",
    "Messagebuffer",
    "OrderedDict",
    "force_mapping",
    "lpmerge",
)
