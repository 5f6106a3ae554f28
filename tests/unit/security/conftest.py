"""Keys, and the serializers of the process as they were before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu.serialization import registry

from tests.certificates import Keyring


@pytest.fixture(autouse=True)
def _serializers_as_before() -> Iterator[None]:
    tables = (
        registry._encoders,
        registry._decoders,
        registry.name_to_type,
        registry.type_to_name,
        registry._disabled_content_types,
    )
    before = [table.copy() for table in tables]
    yield
    for table, content in zip(tables, before, strict=True):
        table.clear()
        table.update(content)


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    """A directory for keys in which ``alice`` and ``bob`` trust each other."""
    keyring = Keyring(tmp_path / "keys")
    keyring.add("alice")
    keyring.add("bob")
    return keyring
