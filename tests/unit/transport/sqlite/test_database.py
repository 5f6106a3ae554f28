"""Opening the file, and what happens when that or a transaction fails."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu.exceptions import OperationalError

from taskq.transport import Connection
from taskq.transport.sqlite.database import Database
from taskq.transport.sqlite.errors import DatabaseCorrupt, DatabaseError, DatabaseLocked
from taskq.transport.sqlite.options import parse_url
from taskq.transport.sqlite.schema import APPLICATION_ID
from tests.unit.transport.sqlite.support import Connect, bodies, publish

#: User id of nobody in particular.
NOBODY = 65534


@pytest.fixture
def as_anyone(tmp_path: Path) -> Iterator[None]:
    """Be an ordinary user, who may use ``tmp_path`` but not write everything as root may."""
    if os.geteuid() != 0:
        yield
        return
    for directory in (tmp_path, *tmp_path.parents[:3]):
        directory.chmod(directory.stat().st_mode | 0o011)
    os.chown(tmp_path, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def send(url: str, **options: Any) -> None:
    """Publish like an application: with kombu's retries."""
    with Connection(url) as connection:
        connection.Producer().publish(
            "x",
            routing_key="q",
            retry=True,
            retry_policy={"max_retries": 1, "interval_start": 0, "interval_step": 0},
        )


def test_the_file_is_created_for_its_owner_only(tmp_path: Path) -> None:
    send(f"sqlite:///{tmp_path}/new.db")
    assert stat.S_IMODE((tmp_path / "new.db").stat().st_mode) == 0o600


def test_the_mode_of_a_new_file_can_be_chosen(tmp_path: Path) -> None:
    database = Database(parse_url(f"sqlite:///{tmp_path}/new.db?mode=0640"))
    database.connect()
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    database.close()


def test_many_threads_create_the_file_together(tmp_path: Path) -> None:
    databases = [Database(parse_url(f"sqlite:///{tmp_path}/new.db")) for _ in range(8)]
    threads = [threading.Thread(target=each.connect) for each in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(each.read("SELECT count(*) FROM message") == [(0,)] for each in databases)


def test_a_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(OperationalError, match=rf"{tmp_path}/no does not exist.*mkdir"):
        send(f"sqlite:///{tmp_path}/no/broker.db")


def test_the_directory_may_appear_later(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/later/broker.db"
    connection = Connection(url)
    threading.Timer(0.2, (tmp_path / "later").mkdir).start()
    connection.ensure_connection(max_retries=20, interval_start=0.1, interval_step=0)
    connection.release()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("These are not messages, but my notes. " * 100)
    with pytest.raises(OperationalError, match=rf"{path} is damaged or is not"):
        send(f"sqlite:///{path}")
    assert path.read_text().startswith("These are not")


def test_another_programs_database(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE customer (name TEXT)")
    with pytest.raises(OperationalError, match=rf"{path} is a database of another program"):
        send(f"sqlite:///{path}")
    with sqlite3.connect(path) as other:
        tables = other.execute("SELECT name FROM sqlite_schema").fetchall()
    assert tables == [("customer",)]


def test_a_file_of_a_newer_version(tmp_path: Path) -> None:
    path = tmp_path / "newer.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE message (id)")
        other.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(OperationalError, match=r"version 99.*Upgrade"):
        send(f"sqlite:///{path}")


def test_a_damaged_database_is_not_tried_again(connect: Connect, url: str, tmp_path: Path) -> None:
    channel = connect().channel()
    for _ in range(200):
        publish(channel, b"x" * 500)
    database = channel.connection.database
    database.read("PRAGMA wal_checkpoint(TRUNCATE)")
    channel.connection.client.release()
    path = tmp_path / "broker.db"
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xde\xad" * 40_000)
    with Connection(url) as connection:
        with pytest.raises(DatabaseError, match=rf"{path}"):
            connection.channel().queue_purge("q")
    assert DatabaseCorrupt not in Connection(url).recoverable_connection_errors


@pytest.mark.usefixtures("as_anyone")
def test_a_read_only_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/broker.db"
    send(url)
    (tmp_path / "broker.db").chmod(0o400)
    with pytest.raises(OperationalError, match=r"cannot be written.*permission"):
        send(url)


def test_a_full_disk_refuses_the_message_and_keeps_the_others(connect: Connect) -> None:
    connection = connect()
    channel = connection.channel()
    publish(channel, b"before")
    database = connection.transport.database
    ((pages,),) = database.read("PRAGMA page_count")
    database.read(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(OperationalError, match=r"No room.*broker.db.*full"):
        publish(channel, b"m" * 100_000)
    publish(channel, b"after")
    assert bodies(channel) == [b"before", b"after"]


def test_a_full_disk_keeps_acknowledgements_until_there_is_room(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = connect(), connect()
    channel = first.channel()
    publish(channel)
    received = channel.basic_get("q")
    first.transport.database.connect()

    def full(*args: Any) -> Any:
        raise DatabaseError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(Database, "transaction", full)
        with pytest.raises(DatabaseError):
            received.ack()
        first.release()
    other = second.channel()
    publish(other, b"y", queue="other")
    assert bodies(other, "other") == [b"y"]
    assert second.transport.database.read("SELECT count(*) FROM message") == [(0,)]


def test_a_lock_that_is_held_too_long(connect: Connect) -> None:
    holder, waiting = connect(), connect(busy_timeout=0.1)
    waiting.connect()
    holder.connect()
    with holder.transport.database.transaction():
        started = time.monotonic()
        with pytest.raises(DatabaseLocked, match=r"broker.db has been locked.*0.1 s"):
            publish(waiting.channel())
        assert time.monotonic() - started < 4
    publish(waiting.channel())
    assert bodies(waiting.channel()) == [b"x"]


def test_a_short_lock_is_waited_for(connect: Connect) -> None:
    holder, waiting = connect(), connect()
    channel = waiting.channel()
    holder.connect()
    with holder.transport.database.transaction():
        thread = threading.Thread(target=publish, args=[channel])
        thread.start()
        time.sleep(0.1)
    thread.join()
    assert bodies(channel) == [b"x"]


def test_a_deleted_file_is_noticed_and_a_retry_goes_to_the_new_one(
    connect: Connect, tmp_path: Path
) -> None:
    connection = connect()
    producer = connection.Producer()
    producer.publish("lost with the file", routing_key="q")
    for path in tmp_path.iterdir():
        path.unlink()
    producer.publish("kept", routing_key="q", retry=True, retry_policy={"max_retries": 1})
    other = connect().channel()
    assert other.basic_get("q").payload == "kept"


def test_a_replaced_file_is_noticed_within_a_second(connect: Connect, tmp_path: Path) -> None:
    connection = connect()
    publish(connection.channel())
    for path in tmp_path.iterdir():
        path.unlink()
    publish(connect().channel(), b"new")
    time.sleep(1.1)
    with pytest.raises(DatabaseError, match="deleted or replaced"):
        publish(connection.channel())


def test_an_error_inside_a_transaction_rolls_it_back(connect: Connect) -> None:
    connection = connect()
    connection.connect()
    database = connection.transport.database

    def interrupted() -> None:
        with database.transaction() as transaction:
            transaction.execute("INSERT INTO exchange (name, type) VALUES ('e', 'direct')")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert database.read("SELECT * FROM exchange WHERE name = 'e'") == []


def test_a_failover_url_reaches_another_file(tmp_path: Path) -> None:
    good = f"sqlite:///{tmp_path}/good.db"
    connection = Connection(f"sqlite:///{tmp_path}/no/such.db;{good}")
    connection.ensure_connection(max_retries=3, interval_start=0, interval_step=0)
    publish(connection.channel())
    connection.release()
    with Connection(good) as other:
        assert bodies(other.channel()) == [b"x"]


def test_what_was_held_in_a_deleted_file_touches_nothing_in_the_new_one(
    connect: Connect, tmp_path: Path
) -> None:
    """Ids begin anew in a new file, so that the old ones name other people's messages there."""
    old = connect().channel()
    publish(old)
    held_in_old = old.basic_get("q")
    for path in tmp_path.iterdir():
        path.unlink()
    new = connect().channel()
    publish(new, b"new")
    held_in_new = new.basic_get("q")
    assert held_in_new.delivery_tag == held_in_old.delivery_tag
    time.sleep(1.1)
    with pytest.raises(DatabaseError):
        held_in_old.ack()
    old.flush()
    old.close()
    database = new.connection.database
    assert database.read("SELECT count(*), count(claim) FROM message") == [(1, 1)]
    held_in_new.ack()
    assert database.read("SELECT count(*) FROM message") == [(0,)]
