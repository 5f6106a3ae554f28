"""Redis behind TLS and behind Sentinel, as broker and for results."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import threading
import time
import uuid

import pytest
from redis import Redis

from taskq import TaskQ
from taskq.transport import Connection
from tests.integration.redis_support import Server, receiving, send, wait_for
from tests.services import free_port


@pytest.fixture
def certificate(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, cert


def test_tls(tmp_path, certificate):
    key, cert = map(str, certificate)
    port = free_port()
    server = Server(
        tmp_path, "--tls-port", str(port), "--tls-cert-file", cert, "--tls-key-file", key,
        "--tls-ca-cert-file", cert, "--tls-auth-clients", "no",
    )  # fmt: skip
    try:
        tls = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": cert}
        url = f"rediss://127.0.0.1:{port}/0"
        with Connection(url, ssl=tls) as connection:
            channel = connection.default_channel
            big = "x" * 300_000
            send(connection, "q", *[big] * 3)
            for _ in range(3):
                message = channel.basic_get("q")
                assert message.payload == big
                message.ack()
            channel.basic_publish_many(
                [
                    (channel.prepare_message(str(n), 0, "application/json", "utf-8"), "", "q")
                    for n in range(50)
                ]
            )
        with receiving(f"{url}?ssl_cert_reqs=none", "q", prefetch=50, ack=True) as receiver:
            assert receiver.receive(50) == list(range(50))
        app = TaskQ("tls", backend=f"{url}?ssl_cert_reqs=required&ssl_ca_certs={cert}",
                    set_as_current=False)  # fmt: skip
        check_results(app)
        app.conf.broker_url = f"{url}?ssl_cert_reqs=required&ssl_ca_certs={cert}"
        check_loop(app)
    finally:
        server.stop()


def check_loop(app):
    """Publish and wait on an event loop, with values that no packet holds."""
    big = "x" * 3_000_000

    async def use():
        for _ in range(5):
            await asyncio.gather(
                *(app.signature("task", args=(big, n)).aapply_async() for n in range(3))
            )
        task_id = uuid.uuid4().hex
        waiting = asyncio.ensure_future(app.AsyncResult(task_id).aget(timeout=10))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(app.backend.store_result, task_id, big, "SUCCESS")
        return await waiting

    assert asyncio.run(use()) == big
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue("celery")
        taken = [queue.get(timeout=10) for _ in range(15)]
    assert [message.payload[0] for message in taken] == [
        [big, n] for _ in range(5) for n in range(3)
    ]


def check_results(app):
    """Store a result while it is waited for."""
    task_id = uuid.uuid4().hex
    timer = threading.Timer(0.1, app.backend.store_result, (task_id, "x" * 100_000, "SUCCESS"))
    timer.start()
    assert app.AsyncResult(task_id).get(timeout=10) == "x" * 100_000


class Sentinel:
    """One sentinel that watches one server."""

    def __init__(self, folder, port):
        self.port = free_port()
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor mygroup 127.0.0.1 {port} 1\n"
            "sentinel down-after-milliseconds mygroup 500\n"
            "sentinel failover-timeout mygroup 2000\n"
        )
        self.process = subprocess.Popen(
            [shutil.which("redis-server"), str(config), "--sentinel"], stdout=subprocess.DEVNULL
        )
        self.client = Redis(port=self.port)
        wait_for(self._ready)

    def _ready(self):
        try:
            return self.client.sentinel_master("mygroup")
        except Exception:
            return None

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.mark.slow
def test_sentinel_and_failover(tmp_path):
    for name in ("one", "two", "sentinel"):
        (tmp_path / name).mkdir()
    primary = Server(tmp_path / "one")
    replica = Server(tmp_path / "two", "--replicaof", f"127.0.0.1 {primary.port}")
    sentinel = Sentinel(tmp_path / "sentinel", primary.port)
    options = {"master_name": "mygroup", "lease": 2}
    url = f"sentinel://127.0.0.1:{sentinel.port}/0"
    try:
        wait_for(lambda: replica.client().info()["master_link_status"] == "up")
        wait_for(lambda: sentinel.client.sentinel_slaves("mygroup"))
        with Connection(url, transport_options=options) as connection:
            send(connection, "q", 1, 2)
            assert connection.default_channel.basic_get("q").payload == 1
            wait_for(lambda: replica.client().hlen("unacked") == 1)
        app = TaskQ("sentinel", backend=url, set_as_current=False)
        app.conf.result_backend_transport_options = options
        check_results(app)
        with receiving(url, "q", **options) as receiver:
            assert receiver.receive(2) == [1, 2]
            time.sleep(0.5)  # replicated
            primary.stop()
            wait_for(lambda: replica.client().role()[0] in ("master", b"master"), timeout=30)
            with pytest.raises(receiver.connection.connection_errors):
                receiver.turn(2000)
            receiver.connection.collect()
            wait_for(lambda: connected(receiver))
            for message in receiver.messages:
                message.ack()
            wait_for(lambda: receiver.turn() or not replica.client().exists("unacked", "q"))
        check_results(app)
        app.conf.broker_url, app.conf.broker_transport_options = url, options
        check_loop(app)
    finally:
        sentinel.stop()
        primary.stop()
        replica.stop()


def connected(receiver):
    try:
        receiver.connect()
    except receiver.connection.connection_errors:
        time.sleep(0.1)
        return False
    return True


def test_sentinel_needs_the_name_of_the_group():
    with pytest.raises(ValueError, match="master_name"):
        Connection("sentinel://127.0.0.1:1/0").connect()
