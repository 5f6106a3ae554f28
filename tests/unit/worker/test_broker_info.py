"""What ``inspect stats`` tells about the broker."""

from __future__ import annotations

from types import SimpleNamespace

from taskq import TaskQ
from taskq.worker.consumer.connection import Connection


def test_no_secret_is_told() -> None:
    app = TaskQ("t", set_as_current=False)
    app.conf.broker_transport_options = {"sentinel_kwargs": {"password": "hunter2"}, "lease": 3}
    urls = "sentinel://:hunter2@one:1;sentinel://user:hunter2@two:2"
    with app.connection_for_read(urls) as connection:
        consumer = SimpleNamespace()
        step = Connection(consumer)
        consumer.connection = connection
        told = step.info(consumer)["broker"]
    assert told["transport"] == "sentinel"
    assert told["transport_options"]["lease"] == 3
    assert "two" in str(told["alternates"])
    assert "hunter2" not in str(told)
