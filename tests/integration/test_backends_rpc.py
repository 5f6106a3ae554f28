"""Results as messages, over RabbitMQ."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from taskq import TaskQ
from taskq.app.task import Context


@pytest.fixture
def client(amqp_url: str, unique: str) -> Iterator[TaskQ]:
    app = TaskQ("client", broker=amqp_url, backend="rpc://", set_as_current=False)
    app.conf.update(task_default_queue=unique, result_expires=60)

    @app.task(name="t", shared=False)
    def t() -> None: ...

    yield app
    app.backend.waiter.close()
    with app.connection_for_write() as connection:
        connection.default_channel.queue_delete(unique)
        connection.default_channel.exchange_delete(unique)
    app.close()


def send(client: TaskQ) -> Any:
    return client.tasks["t"].delay()


def reply(client: TaskQ, result: Any, value: Any, to: str | None = None) -> None:
    """Do as a worker does: send the result to who sent the task."""
    request = Context(
        id=result.id, reply_to=to or client.thread_oid, correlation_id=result.id, delivery_info={}
    )
    client.backend.store_result(result.id, value, "SUCCESS", request=request)


def test_a_result_that_was_there_before(client: TaskQ) -> None:
    result = send(client)
    reply(client, result, 5)
    assert result.get(timeout=10) == 5


def test_a_result_that_comes_while_waiting(client: TaskQ) -> None:
    result = send(client)
    threading.Timer(0.2, reply, [client, result, 5, client.thread_oid]).start()
    assert result.get(timeout=10) == 5


def test_a_large_result(client: TaskQ) -> None:
    result = send(client)
    reply(client, result, "x" * 3_000_000)
    assert len(result.get(timeout=20)) == 3_000_000


def test_many_threads_send_and_wait(client: TaskQ) -> None:
    values: list[Any] = []

    def call(number: int) -> None:
        for _ in range(5):
            result = send(client)
            reply(client, result, number)
            values.append(result.get(timeout=20) == number)

    threads = [threading.Thread(target=call, args=[n]) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert values == [True] * 30


def test_a_group_of_a_hundred(client: TaskQ) -> None:
    results = [send(client) for _ in range(100)]
    for result in reversed(results):
        reply(client, result, result.id)
    assert client.ResultSet(results).get(timeout=20) == [each.id for each in results]


def test_a_lost_connection_is_made_again(client: TaskQ) -> None:
    first, second = send(client), send(client)
    reply(client, first, 1)
    assert first.get(timeout=10) == 1
    sock = client.backend.waiter.source._connection.connection.transport.sock
    received, oid = threading.Event(), client.thread_oid

    def cut_and_reply() -> None:
        sock.shutdown(socket.SHUT_RDWR)
        # The reply queue goes with its consumer until the client declares it anew.
        while not received.wait(0.1):
            reply(client, second, 2, oid)

    thread = threading.Thread(target=cut_and_reply)
    thread.start()
    assert second.get(timeout=20) == 2
    received.set()
    thread.join(20)


def test_the_parents_connection_survives_a_child(client: TaskQ) -> None:
    result = send(client)
    assert result.state == "PENDING"
    pid = os.fork()
    if not pid:
        status = 1
        try:
            own = send(client)
            reply(client, own, "child")
            assert own.get(timeout=10) == "child"
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    reply(client, result, "parent")
    assert result.get(timeout=10) == "parent"
