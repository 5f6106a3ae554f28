"""Which tasks a broker still has a message of: waiting in the queue, or held in somebody's name."""

from __future__ import annotations

import re
from typing import Any

from kombu import Connection
from redis import Redis


def left_in_broker(url: str, queue: str) -> set[int]:
    """Return the numbers of the tasks of ``fleet.CODE`` that *queue* of the broker still has.

    - url: ``redis://`` or ``amqp://``. From RabbitMQ the messages are taken, so call it last, when
      no worker holds any.
    """
    found = _in_redis(url) if url.startswith("redis") else _in_amqp(url, queue)
    return {int(number) for one in found for number in re.findall(rf"{queue}-(\d+)", one)}


def _in_redis(url: str) -> list[str]:
    with Redis.from_url(url, decode_responses=True, encoding_errors="replace") as client:
        found: list[str] = []
        for key in client.scan_iter(count=1000):
            found += _values(client, key, client.type(key))
        return found


def _values(client: Any, key: str, kind: str) -> list[str]:
    if kind == "list":
        return client.lrange(key, 0, -1)  # type: ignore[no-any-return]
    if kind == "hash" and key.startswith("unacked"):
        return client.hvals(key)  # type: ignore[no-any-return]
    return []


def _in_amqp(url: str, queue: str) -> list[str]:
    with Connection(url) as connection:
        channel = connection.default_channel
        found = []
        while message := channel.basic_get(queue, no_ack=True):
            found.append(str(message.headers.get("id")))
        return found
