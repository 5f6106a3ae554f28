"""The servers that tests talk to: found by address, or started for one test process.

Each function is a generator that yields one URL and cleans up after itself, and raises
``Unavailable`` with the reason when it can neither find nor start its server. Used by
``tests/conftest.py``.

Environment, all optional: ``TASKQ_TEST_REDIS_URL`` (its database is emptied between tests),
``TASKQ_TEST_AMQP_URL``, ``TASKQ_TEST_POSTGRES_URL``, ``TASKQ_TEST_MYSQL_URL`` (an account that may
create databases), ``TASKQ_TEST_MEMCACHED_ADDRESS`` (``host:port``).
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

#: Seconds a server of ours may take until it accepts connections.
START_TIMEOUT = 10.0
#: Seconds until an address that should be served counts as not served.
CONNECT_TIMEOUT = 2.0

AMQP_URL = "amqp://guest:guest@127.0.0.1:5672//"
POSTGRES_URL = "postgresql+psycopg://root@127.0.0.1:5432/test"
MYSQL_URL = "mysql+pymysql://root@127.0.0.1:3306/test"


class Unavailable(Exception):
    """The service is neither running nor can it be started; says why."""


def redis() -> Iterator[str]:
    """Yield the URL of a Redis database that tests may empty."""
    url = os.environ.get("TASKQ_TEST_REDIS_URL")
    if url:
        _ping_redis(url)
        yield url
        return
    command = ("redis-server", "--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--port")
    with _own_server(*command) as port:
        yield f"redis://127.0.0.1:{port}/0"


def empty_redis(url: str) -> None:
    """Delete every key of the database that *url* names."""
    with _redis_client(url) as client:
        client.flushdb()


def amqp() -> Iterator[str]:
    """Yield the URL of a RabbitMQ: of a virtual host of our own where we may make one.

    Broadcasts reach every worker on a virtual host, those of other test runs too.
    """
    given = os.environ.get("TASKQ_TEST_AMQP_URL")
    url = given or AMQP_URL
    _connect_amqp(url)
    if given:
        yield url
        return
    name = f"taskq_{uuid.uuid4().hex[:12]}"
    if not (_rabbitmqctl("add_vhost", name) and _may_all(name)):
        yield url
        return
    try:
        yield f"{url.removesuffix('/')}{name}"
    finally:
        _rabbitmqctl("delete_vhost", name)


def _may_all(vhost: str) -> bool:
    """Let the account of `AMQP_URL` do everything in ``vhost``; return whether it could be done."""
    return _rabbitmqctl("set_permissions", "-p", vhost, "guest", ".*", ".*", ".*")


def _connect_amqp(url: str) -> None:
    from kombu import Connection

    try:
        with Connection(url, connect_timeout=CONNECT_TIMEOUT) as connection:
            connection.connect()
    except Exception as exc:
        raise Unavailable(
            f"no RabbitMQ at {Connection(url).as_uri()} (TASKQ_TEST_AMQP_URL): {exc!r}"
        ) from exc


def _rabbitmqctl(*arguments: str) -> bool:
    """Run an administrator's command; return whether it could be done."""
    binary = shutil.which("rabbitmqctl", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if binary is None:
        return False
    done = subprocess.run(
        [binary, "-q", *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return done.returncode == 0


def amazon() -> Iterator[str]:
    """Yield the address of a server that answers as S3 and DynamoDB do."""
    try:
        from moto.server import ThreadedMotoServer
    except ModuleNotFoundError as exc:
        raise Unavailable("pip install 'moto[server,s3,dynamodb]'") from exc
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def postgres() -> Iterator[str]:
    """Yield the SQLAlchemy URL of a new PostgreSQL database, dropped afterwards."""
    url = os.environ.get("TASKQ_TEST_POSTGRES_URL", POSTGRES_URL)
    yield from _own_database(url, "TASKQ_TEST_POSTGRES_URL")


def mysql() -> Iterator[str]:
    """Yield the SQLAlchemy URL of a new MariaDB database, dropped afterwards."""
    url = os.environ.get("TASKQ_TEST_MYSQL_URL", MYSQL_URL)
    yield from _own_database(url, "TASKQ_TEST_MYSQL_URL")


def memcached() -> Iterator[str]:
    """Yield the ``cache+memcached://`` URL of a memcached."""
    address = os.environ.get("TASKQ_TEST_MEMCACHED_ADDRESS")
    if address:
        host, _, port = address.rpartition(":")
        if not _accepts(host, int(port)):
            raise Unavailable(f"no memcached at {address} (TASKQ_TEST_MEMCACHED_ADDRESS)")
        yield f"cache+memcached://{address}/"
        return
    with _own_server("memcached", "-u", "nobody", "-l", "127.0.0.1", "-p") as port:
        yield f"cache+memcached://127.0.0.1:{port}/"


def free_port() -> int:
    """Return a TCP port of the loopback interface that nothing listens on.

    Below the range that outgoing connections get theirs from, so that none takes it before the
    server it is meant for does; by chance, so that tests at the same time choose different ones.
    """
    while True:
        port = random.SystemRandom().randrange(12_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


@contextmanager
def _own_server(*command: str) -> Iterator[int]:
    """Run *command* with a free port appended, give the port, and end the server afterwards."""
    binary = shutil.which(command[0])
    if binary is None:
        raise Unavailable(f"{command[0]} is not installed")
    port = free_port()
    process = subprocess.Popen(
        [binary, *command[1:], str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_until_served(process, port, command[0])
        yield port
    finally:
        process.terminate()
        process.wait(START_TIMEOUT)


def _wait_until_served(process: subprocess.Popen[bytes], port: int, name: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not _accepts("127.0.0.1", port):
        if process.poll() is not None:
            raise Unavailable(f"{name} ended at once with exit code {process.returncode}")
        if time.monotonic() > deadline:
            raise Unavailable(f"{name} did not listen on port {port} within {START_TIMEOUT} s")
        time.sleep(0.02)


def _accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), CONNECT_TIMEOUT).close()
    except OSError:
        return False
    return True


def _redis_client(url: str):  # type: ignore[no-untyped-def]
    try:
        from redis import Redis
    except ImportError as exc:
        raise Unavailable("the redis client is not installed: pip install 'taskq[redis]'") from exc
    return Redis.from_url(url, socket_connect_timeout=CONNECT_TIMEOUT)


def _ping_redis(url: str) -> None:
    from kombu.utils.url import maybe_sanitize_url

    with _redis_client(url) as client:
        try:
            client.ping()
        except Exception as exc:
            address = maybe_sanitize_url(url)
            raise Unavailable(f"no Redis at {address} (TASKQ_TEST_REDIS_URL): {exc!r}") from exc


def _own_database(url: str, variable: str) -> Iterator[str]:
    """Create a database beside the one *url* names, yield its URL, drop it afterwards."""
    try:
        from sqlalchemy import create_engine, make_url, text
    except ImportError as exc:
        raise Unavailable("SQLAlchemy is not installed: pip install 'taskq[sqlalchemy]'") from exc
    name = f"taskq_{uuid.uuid4().hex[:12]}"
    address = make_url(url)
    try:
        admin = create_engine(address, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
    except Exception as exc:
        raise Unavailable(f"no database server at {address!r} ({variable}): {exc}") from exc
    try:
        yield address.set(database=name).render_as_string(hide_password=False)
    finally:
        force = " WITH (FORCE)" if address.get_backend_name() == "postgresql" else ""
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name}{force}"))
        admin.dispose()
