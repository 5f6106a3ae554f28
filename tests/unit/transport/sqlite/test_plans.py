"""How SQLite runs the statements that matter: by index, whatever else the tables hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq.transport.sqlite import claiming, owner, publishing, routing
from taskq.transport.sqlite.database import Database
from taskq.transport.sqlite.options import parse_url


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(parse_url(f"sqlite:///{tmp_path}/plans.db"))
    yield database
    database.close()


def plan(database: Database, statement: str) -> list[str]:
    """Return the steps that SQLite takes for a statement."""
    parameters = [1] * statement.count("?")
    return [row[3] for row in database.read(f"EXPLAIN QUERY PLAN {statement}", parameters)]


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("ready", "message_ready"),
        ("due", "message_due"),
        ("next_due", "message_due"),
        ("promote", "message_due"),
        ("has_expired", "message_expiry"),
        ("count_ready", "message_ready"),
        ("count_delayed", "message_due"),
        ("purge_ready", "message_ready"),
        ("purge_delayed", "message_due"),
        ("purge_claimed", "message_claim"),
    ],
)
def test_messages_are_found_by_the_index_of_their_state(
    database: Database, statement: str, index: str
) -> None:
    steps = plan(database, claiming.SQL[statement])
    assert any(index in step for step in steps), steps
    assert not any("TEMP B-TREE" in step for step in steps), steps
    assert not any(step == "SCAN message" for step in steps), steps


@pytest.mark.parametrize(
    "statement", ["claim", "take", "acknowledge", "requeue", "put_back", "defer"]
)
def test_single_messages_are_found_by_id(database: Database, statement: str) -> None:
    steps = plan(database, claiming.SQL[statement])
    assert any("message USING INTEGER PRIMARY KEY" in step for step in steps), steps


@pytest.mark.parametrize("statement", ["release", "orphans"])
def test_claims_are_found_by_their_index(database: Database, statement: str) -> None:
    steps = plan(database, owner.SQL[statement])
    assert any("message_claim" in step for step in steps), steps


@pytest.mark.parametrize("kind", ["publish", "publish_direct", "publish_fanout"])
def test_publishing_scans_nothing(database: Database, kind: str) -> None:
    steps = plan(database, publishing.SQL[kind])
    scans = [step for step in steps if step.startswith("SCAN") and "SUBQUERY" not in step]
    assert [step for step in scans if "message" in step or "queue" in step] == [], steps


@pytest.mark.parametrize(
    "statement", ["queue", "bind", "unbind_queue", "queue_exchanges", "consumers", "has_bindings"]
)
def test_routing_is_by_key(database: Database, statement: str) -> None:
    assert not any("SCAN" in step for step in plan(database, routing.SQL[statement]))


def test_100_000_delayed_messages_do_not_change_the_work_of_a_claim(database: Database) -> None:
    insert = "INSERT INTO message (queue, due, envelope, body) VALUES ('q', ?, '', '')"
    with database.transaction() as transaction:
        transaction.executemany(insert, [(None,)] * 8)
    before = work_of_a_claim(database)
    with database.transaction() as transaction:
        transaction.executemany(insert, [(5000.0 + i,) for i in range(100_000)])
    assert claiming.next_due(database, ["q"]) == 5000.0
    # A few steps more, to see that the first of them is not due yet.
    assert work_of_a_claim(database) < before + 20


def work_of_a_claim(database: Database) -> int:
    """Return the number of steps of SQLite's machine to claim eight messages; undo the claim."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    with database.transaction() as transaction:
        transaction.set_progress_handler(count, 1)
        claiming.promote(transaction, ["q"], 1000.0)
        ids = claiming.choose(transaction, ["q"], 8)
        assert len(claiming.claim(transaction, ids, 1)) == 8
        transaction.set_progress_handler(None, 0)
        transaction.execute("UPDATE message SET claim = NULL WHERE claim IS NOT NULL")
    return steps
