"""Messages that are sent together."""

from __future__ import annotations

import pytest

from taskq import TaskQ


@pytest.fixture
def app():
    app = TaskQ("batches", broker="memory://", set_as_current=False)
    app.task(lambda: None, name="nothing")
    yield app
    app.close()


def test_a_connection_that_breaks_amidst_a_batch_is_tried_again(app, monkeypatch):
    with app.producer_pool.acquire(block=True) as producer:
        channel = producer.channel
        publish, broken = channel.basic_publish, []
        recoverable = producer.connection.recoverable_connection_errors[0]

        def break_at_the_second(*args, **kwargs):
            if len(sent) == 1 and not broken:
                broken.append(True)
                raise recoverable("broken on purpose")
            sent.append(args)
            return publish(*args, **kwargs)

        sent: list[object] = []
        monkeypatch.setattr(type(channel), "basic_publish", staticmethod(break_at_the_second))
        with app.amqp.batch(producer):
            for _ in range(3):
                app.tasks["nothing"].apply_async(producer=producer)
    assert broken == [True]
    assert len(sent) == 3
