"""Leases: messages of dead or silent owners come back once, those of living ones never do."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time

import pytest
from kombu import Connection as KombuConnection
from kombu import Exchange, Queue

from tests.integration.redis_support import Receiver, bodies_in, receiving, script, send, wait_for

#: A short lease in seconds, so that tests need not wait for long.
LEASE = 2.0

#: Takes messages and holds them, until it is killed.
HOLDER = """
import sys, time
from tests.integration.redis_support import Receiver
url, count, lease, ack = sys.argv[1:]
receiver = Receiver(url, "q", lease=float(lease), ack=bool(ack))
receiver.receive(int(count))
print("holding", flush=True)
while True:
    receiver.turn()
"""


def holder(url, count, lease=LEASE, ack=""):
    return script(HOLDER, url, str(count), str(lease), ack)


def await_holding(process):
    assert process.stdout.readline() == "holding\n"


@pytest.mark.parametrize("when", ["before", "after"])
def test_messages_of_a_killed_process_come_back_flagged(redis_url, connection, client, when):
    send(connection, "q", 1, 2, 3)
    with holder(redis_url, 3) as process:
        await_holding(process)
        if when == "before":
            process.kill()
            process.wait()
        with receiving(redis_url, "q", lease=LEASE, ack=True) as receiver:
            receiver.turn(5)
            process.kill()
            killed = time.monotonic()
            assert receiver.receive(3, timeout=3 * LEASE) == [1, 2, 3]
            if when == "after":
                assert time.monotonic() - killed < LEASE
            assert all(message.headers["redelivered"] for message in receiver.messages)
            receiver.turn(5)
            wait_for(lambda: not client.exists("unacked", "unacked_index", "q"))
            wait_for(lambda: not client.exists("taskq.owners.dead"))


def test_acknowledged_messages_of_a_killed_process_stay_gone(redis_url, connection, client):
    send(connection, "q", 1, 2, 3)
    with holder(redis_url, 3, ack="yes") as process:
        await_holding(process)
        wait_for(lambda: client.hlen("unacked") == 0)
    with receiving(redis_url, "q", lease=LEASE) as receiver:
        end = time.monotonic() + 1.5 * LEASE
        while time.monotonic() < end:
            receiver.turn()
        assert receiver.messages == []


def test_long_work_is_not_redelivered(redis_url, connection):
    send(connection, "q", "long")
    with (
        receiving(redis_url, "q", lease=LEASE) as holding,
        receiving(redis_url, "q", lease=LEASE) as other,
    ):
        holding.receive(1)
        end = time.monotonic() + 2 * LEASE
        while time.monotonic() < end:  # the holder's loop stands still meanwhile
            other.turn()
        assert other.messages == []


def test_index_is_renewed_so_that_kombu_does_not_redeliver(redis_url, connection, client):
    send(connection, "q", "long")
    kombu = KombuConnection(redis_url, transport_options={"visibility_timeout": 2})
    with receiving(redis_url, "q", lease=LEASE, visibility_timeout=2) as holding, kombu:
        holding.receive(1)
        end = time.monotonic() + 5
        while time.monotonic() < end:
            time.sleep(0.2)
            kombu.default_channel.qos.restore_visible(interval=1)
            assert client.llen("q") == 0


def test_owner_that_holds_nothing_beats_less_often_until_it_does(redis_url, connection, client):
    with (
        receiving(redis_url, "q", lease=LEASE) as busy,
        receiving(redis_url, "other", lease=LEASE) as idle,
    ):
        busy.turn(3)
        idle.turn(3)
        owners = [each.channel.claimer.lease.owner for each in (busy, idle)]

        def beats(wanted):
            """Return how often the second one has beaten until the first one had so often."""
            seen = [set(), set()]
            while len(seen[0]) < wanted:
                for owner, scores in zip(owners, seen, strict=True):
                    scores.add(client.zscore("taskq.owners", owner))
                busy.turn()
                idle.turn()
            assert None not in seen[0] | seen[1]
            return len(seen[1])

        beats(2)  # nobody is judged at first
        send(connection, "q", 1)  # to one that has begun to rest
        busy.receive(1)
        assert beats(7) < 6
        busy.messages[0].ack()
        send(connection, "other", 2)
        idle.receive(1)
        assert beats(6) > 7


def test_silent_owner_is_fenced(redis_url, connection, client):
    """A process that is stopped and goes on later must not touch what was given to others."""
    send(connection, "q", 1, 2)
    with holder(redis_url, 2) as process:
        await_holding(process)
        os.kill(process.pid, signal.SIGSTOP)
        with receiving(redis_url, "q", lease=LEASE) as receiver:
            assert receiver.receive(2, timeout=3 * LEASE) == [1, 2]
            os.kill(process.pid, signal.SIGCONT)
            time.sleep(LEASE)
            receiver.turn(5)
            assert client.hlen("unacked") == 2
            assert len(client.zrange("taskq.owners", 0, -1)) == 2


#: Holds a message, is stopped and resumed, and acknowledges then.
LATE = """
import logging, sys
from tests.integration.redis_support import Receiver
logging.basicConfig(stream=sys.stdout, format="%(message)s")
receiver = Receiver(sys.argv[1], "q", lease=float(sys.argv[2]))
told = []
receiver.channel.on_lost = told.append
receiver.receive(1)
owner = receiver.channel.claimer.lease.owner
print("holding", flush=True)
sys.stdin.readline()
lost = receiver.channel.flush()
print("flush", lost == {receiver.messages[0].delivery_tag}, len(told), flush=True)
receiver.messages[0].ack()
receiver.turn(5)
print("renamed", receiver.channel.claimer.lease.owner != owner, flush=True)
receiver.ack = True
receiver.receive(2)
print("received", receiver.bodies[1], flush=True)
"""


def test_late_work_and_acknowledgement_are_noticed(redis_url, connection, client):
    send(connection, "q", 1)
    with script(LATE, redis_url, str(LEASE)) as process:
        await_holding(process)
        os.kill(process.pid, signal.SIGSTOP)
        with receiving(redis_url, "q", lease=LEASE) as other:
            assert other.receive(1, timeout=3 * LEASE) == [1]
            process.stdin.write("go on\n")
            process.stdin.flush()
            os.kill(process.pid, signal.SIGCONT)
            lines = [process.stdout.readline().strip() for _ in range(4)]
            assert any("was silent for longer than its lease" in line for line in lines)
            assert "flush True 1" in lines
            assert any("was acknowledged too late" in line for line in lines)
            assert "renamed True" in lines
            assert client.hlen("unacked") == 1  # still the other one's
            other.consumer.cancel()
            send(connection, "q", 2)  # the fenced one goes on under its new name
            assert process.stdout.readline() == "received 2\n"
            assert len(client.zrange("taskq.owners", 0, -1)) == 2


def test_messages_of_dead_kombu_processes_come_back_after_the_visibility_timeout(redis_url, client):
    with KombuConnection(redis_url) as kombu:
        channel = kombu.default_channel
        Queue("q", Exchange("x"), "key")(channel).declare()
        kombu.Producer().publish({"n": 1}, exchange="x", routing_key="key", priority=6)
        message = channel.basic_get("q")
        message.channel.qos._delivered.clear()  # the process is gone
        assert client.hlen("unacked") == 1
        options = {"visibility_timeout": 2, "unacked_restore_interval": 0.2}
        with receiving(redis_url, "q", lease=LEASE, **options) as receiver:
            assert receiver.receive(1) == [{"n": 1}]
            assert receiver.messages[0].headers["redelivered"] is True
            assert receiver.messages[0].properties["priority"] == 6
        assert not client.exists("unacked_mutex")


def test_mutex_of_kombu_is_respected(redis_url, client):
    with KombuConnection(redis_url) as kombu:
        kombu.Producer().publish(1, exchange="", routing_key="q", serializer="json")
        kombu.default_channel.basic_get("q").channel.qos._delivered.clear()
    client.set("unacked_mutex", "theirs")
    options = {"visibility_timeout": 1, "unacked_restore_interval": 0.1}
    with receiving(redis_url, "q", lease=LEASE, **options) as receiver:
        end = time.monotonic() + 2
        while time.monotonic() < end:
            receiver.turn()
        assert receiver.messages == []
        client.delete("unacked_mutex")
        assert receiver.receive(1) == [1]


def test_kombu_restores_what_our_dead_processes_held(redis_url, connection, client):
    send(connection, "q", {"n": 1}, priority=3)
    with holder(redis_url, 1) as process:
        await_holding(process)
    with KombuConnection(redis_url, transport_options={"visibility_timeout": 1}) as kombu:
        time.sleep(1.1)
        kombu.default_channel.qos.restore_visible(interval=1)
        message = kombu.default_channel.basic_get("q")
        assert message.payload == {"n": 1}
        assert message.headers["redelivered"] is True
        message.ack()
    assert not client.exists("unacked", "unacked_index")


def test_close_signs_off(redis_url, connection, client):
    send(connection, "q", 1)
    with receiving(redis_url, "q") as receiver:
        receiver.receive(1)
        assert client.zcard("taskq.owners") == 1
    assert not client.keys("taskq.*")
    assert bodies_in(client, "q") == [1]


def test_too_short_lease_is_refused(redis_url):
    with pytest.raises(ValueError, match=r"'lease' is 0\.1 s"):
        Receiver(redis_url, "q", lease=0.1)


def lease_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("taskq-lease-")]


def test_forgotten_channel_ends_its_thread(redis_url):
    before = len(lease_threads())
    receiver = Receiver(redis_url, "q")
    receiver.turn(5)
    assert len(lease_threads()) == before + 1
    receiver.hub.close()
    del receiver
    wait_for(lambda: gc.collect() or len(lease_threads()) <= before)


#: Takes messages and ends without closing anything.
CARELESS = """
import sys
from tests.integration.redis_support import Receiver
receiver = Receiver(sys.argv[1], "q", lease=60)
receiver.receive(2)
receiver.messages[0].ack()
"""


def test_process_that_ends_without_closing_gives_back_at_once(redis_url, connection, client):
    send(connection, "q", 1, 2)
    with script(CARELESS, redis_url) as process:
        assert process.wait(20) == 0
    assert bodies_in(client, "q") == [2]
    assert not client.exists("unacked", "unacked_index")
