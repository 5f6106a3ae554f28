"""Connections to one database file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskq.transport import Connection
from tests.unit.transport.sqlite.support import Connect


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/broker.db"


@pytest.fixture
def connect(url: str) -> Iterator[Connect]:
    """Return a function that connects to the same file; what it made ends with the test."""
    made = []

    def connect(**options: Any) -> Any:
        connection = Connection(url, transport_options=options)
        made.append(connection)
        return connection

    yield connect
    for connection in made:
        connection.release()
