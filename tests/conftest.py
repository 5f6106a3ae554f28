"""Addresses of the services that tests may use, one fixture each.

A service that is not there skips the test with the reason; where ``CI=true`` it fails the test,
because a skipped test there is a test that nobody runs. The servers themselves live in
``tests/services.py``.
"""

from __future__ import annotations

import os
import signal
import uuid
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest

import taskq.app.base  # noqa: F401 - built-in tasks are known before the first test begins
from taskq import _state, signals
from taskq.utils.dispatch import Signal
from tests import browser as browsers
from tests import services

ALL_SIGNALS = [each for each in vars(signals).values() if isinstance(each, Signal)]
IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}

# A shell that starts the tests in its background has them ignore SIGINT, and their processes too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test is one that nobody runs: it fails, unless it is of a long form."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        if "TASKQ_CHAOS=long" not in reason:
            report.outcome = "failed"
            report.longrepr = f"CI must run every test, and this one was skipped: {reason}"
    return report


# How long an example takes depends on what else the machine does. CI tries the same examples each
# time; elsewhere new ones are looked for.
hypothesis.settings.register_profile(
    "taskq",
    deadline=None,
    derandomize=IN_CI,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("taskq")


def _require(start: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    """Yield what *start* yields, an address most often; skip, or in CI fail, without one."""
    try:
        yield from start()
    except services.Unavailable as reason:
        if IN_CI:
            pytest.fail(f"CI must provide this service: {reason}", pytrace=False)
        pytest.skip(str(reason))


@pytest.fixture(scope="module", autouse=True)
def _apps_of_the_module() -> Iterator[None]:
    """Restore what this process knows of apps and shared tasks when a test module is done.

    Receivers of signals too: projects that tests import connect some.
    """
    before = {signal: signal.receivers for signal in ALL_SIGNALS}
    with _apps_as_before():
        yield
    for each, receivers in before.items():
        each.receivers = receivers
        each.sender_receivers_cache.clear()


@pytest.fixture(autouse=True)
def _apps_of_the_test() -> Iterator[None]:
    """The same for each test: tasks are shared by default, with the apps of the tests to come."""
    with _apps_as_before():
        yield


@contextmanager
def _apps_as_before() -> Iterator[None]:
    names = ("default_app", "_default_is_fallback", "_process_app")
    before = {name: getattr(_state, name) for name in names}
    current = _state._tls.current_app
    finalizers = set(_state._on_app_finalizers)
    apps = weakref.WeakSet(_state._apps)
    yield
    for name, value in before.items():
        setattr(_state, name, value)
    _state._tls.current_app = current
    _state._on_app_finalizers = finalizers
    _state._apps = apps
    _state._set_task_join_will_block(False)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """A Redis for this test process: ``TASKQ_TEST_REDIS_URL``, or one of our own on a free port."""
    yield from _require(services.redis)


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """URL of an empty Redis database."""
    services.empty_redis(redis_server)
    return redis_server


@pytest.fixture(scope="session")
def amqp_url() -> Iterator[str]:
    """URL of a RabbitMQ. Its tests share it: give queues and exchanges the ``unique`` name."""
    yield from _require(services.amqp)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """SQLAlchemy URL of a PostgreSQL database that only this test process uses."""
    yield from _require(services.postgres)


@pytest.fixture(scope="session")
def mysql_url() -> Iterator[str]:
    """SQLAlchemy URL of a MariaDB database that only this test process uses."""
    yield from _require(services.mysql)


@pytest.fixture(scope="session")
def memcached_url() -> Iterator[str]:
    """``cache+memcached://`` URL of a memcached for this test process."""
    yield from _require(services.memcached)


@pytest.fixture(scope="module")
def amazon_url() -> Iterator[str]:
    """Address of a server that answers as S3 and DynamoDB do. Shared: use the ``unique`` name."""
    yield from _require(services.amazon)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Selenium driver of a Chromium without a window."""
    yield from _require(browsers.browser)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """URL of an embedded database in a fresh file; always there."""
    return f"sqlite:///{tmp_path / 'taskq.db'}"


@pytest.fixture
def unique() -> str:
    """A name no other test uses, for queues and keys on shared servers."""
    return f"taskq-test-{uuid.uuid4().hex[:12]}"
