"""Held messages that are to come with other headers, if they come again."""

from __future__ import annotations

import pytest

from tests.integration.redis_support import receiving, send, wait_for
from tests.integration.test_redis_breaks import kill_clients


def rewrite(receiver, message, **headers):
    receiver.channel.rewrite(message, {**message.headers, **headers})


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_it_comes_again_with_other_headers(redis_url, connection, client, compression):
    send(connection, "q", "x" * 10_000, compression=compression, headers={"a": 1}, priority=3)
    with receiving(redis_url, "q") as holding:
        holding.receive(1)
        message = holding.messages[0]
        rewrite(holding, message, task="other")
        holding.channel.flush()
        assert client.hlen("unacked") == 1  # held as before
        with receiving(redis_url, "q") as other:
            other.turn(5)
            assert other.messages == []
            holding.close()
            other.receive(1)
            again = other.messages[0]
            assert again.payload == "x" * 10_000
            assert again.headers["a"] == 1
            assert again.headers["task"] == "other"
            assert again.delivery_info["redelivered"]
            assert again.properties["priority"] == 3


def test_it_is_acknowledged_like_others(redis_url, connection, client):
    send(connection, "q", 1)
    with receiving(redis_url, "q") as holding:
        holding.receive(1)
        rewrite(holding, holding.messages[0], task="other")
        holding.messages[0].ack()
        holding.channel.flush()
        wait_for(lambda: not client.exists("unacked", "unacked_index", "q"))
        with pytest.raises(KeyError):
            rewrite(holding, holding.messages[0])


def test_it_is_written_though_the_connection_breaks(redis_url, connection, client):
    send(connection, "q", 1, 2)
    with receiving(redis_url, "q") as holding:
        holding.receive(2)
        kill_clients(client)
        for message in holding.messages:
            rewrite(holding, message, task="other")
        holding.messages[1].ack()
        holding.run_until(lambda: client.hlen("unacked") == 1)
        holding.run_until(lambda: b'"other"' in client.hvals("unacked")[0])


def test_what_was_given_to_others_is_not_put_back(redis_url, connection, client, caplog):
    send(connection, "q", 1)
    with receiving(redis_url, "q") as holding:
        holding.receive(1)
        client.delete("unacked", "unacked_index")
        lost = []
        holding.channel.on_lost = lost.append
        rewrite(holding, holding.messages[0], task="other")
        holding.run_until(lambda: lost)
        assert lost == [{holding.messages[0].delivery_tag}]
        assert not client.exists("unacked")
        assert "given to another worker" in caplog.text
