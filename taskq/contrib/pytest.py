"""Fixtures for pytest: an app and a worker for tests, under Celery's names and under ours.

pytest loads it by itself where taskq is installed; elsewhere ``-p taskq.contrib.pytest`` does. Each
fixture ``celery_x`` is also there as ``taskq_x``; either may be
overridden. Where Celery's own plugin is installed too (the package pytest-celery, or
``-p celery.contrib.pytest``), switch it off with ``-p no:celery``: both have the same names, and
the one that pytest loads last wins.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

#: Tests of projects may say that no worker runs beside them; then none is started.
NO_WORKER = os.environ.get("NO_WORKER")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, so that pytest's strict mode knows it."""
    for name in ("celery", "taskq"):
        config.addinivalue_line(
            "markers",
            f"{name}(**overrides): settings of the app made by {name}_app, for this test.",
        )


@contextmanager
def _create_app(
    enable_logging: bool = False,
    use_trap: bool = False,
    parameters: Mapping[str, Any] | None = None,
    **config: Any,
) -> Iterator[Any]:
    from taskq.contrib.testing.app import TestApp, setup_default_app

    app = TestApp(
        set_as_current=False,
        enable_logging=enable_logging,
        config=config,
        **(parameters or {}),
    )
    with setup_default_app(app, use_trap=use_trap):
        yield app


@pytest.fixture(scope="session")
def use_taskq_app_trap() -> bool:
    """Whether using the current app is an error. Override it to return True."""
    return False


@pytest.fixture(scope="session")
def use_celery_app_trap(use_taskq_app_trap: bool) -> bool:
    """The same as ``use_taskq_app_trap``, under Celery's name."""
    return use_taskq_app_trap


@pytest.fixture(scope="session")
def celery_session_app(
    request: pytest.FixtureRequest,
    celery_config: Mapping[str, Any],
    celery_parameters: Mapping[str, Any],
    celery_enable_logging: bool,
    use_celery_app_trap: bool,
) -> Iterator[Any]:
    """The app of all tests that ask for it, made once."""
    config = dict(celery_config, **_mark_options(request))
    with _create_app(
        enable_logging=celery_enable_logging,
        use_trap=use_celery_app_trap,
        parameters=celery_parameters,
        **config,
    ) as app:
        if not use_celery_app_trap:
            app.set_default()
            app.set_current()
        yield app


@pytest.fixture(scope="session")
def celery_session_worker(
    request: pytest.FixtureRequest,
    celery_session_app: Any,
    celery_includes: Sequence[str],
    celery_class_tasks: Sequence[Any],
    celery_worker_pool: Any,
    celery_worker_parameters: Mapping[str, Any],
) -> Iterator[Any]:
    """A worker in a thread that runs as long as the tests do."""
    from taskq.contrib.testing import worker

    if NO_WORKER:
        yield None
        return
    for module in celery_includes:
        celery_session_app.loader.import_task_module(module)
    for class_task in celery_class_tasks:
        celery_session_app.register_task(class_task)
    with worker.start_worker(
        celery_session_app, pool=celery_worker_pool, **celery_worker_parameters
    ) as running:
        yield running


@pytest.fixture(scope="session")
def taskq_enable_logging() -> bool:
    """Whether the app sets up logging. Override it to return True."""
    return False


@pytest.fixture(scope="session")
def celery_enable_logging(taskq_enable_logging: bool) -> bool:
    """The same as ``taskq_enable_logging``, under Celery's name."""
    return taskq_enable_logging


@pytest.fixture(scope="session")
def taskq_includes() -> Sequence[str]:
    """Modules with tasks that a worker imports when it starts. Override it to name yours."""
    return ()


@pytest.fixture(scope="session")
def celery_includes(taskq_includes: Sequence[str]) -> Sequence[str]:
    """The same as ``taskq_includes``, under Celery's name."""
    return taskq_includes


@pytest.fixture(scope="session")
def taskq_worker_pool() -> str | Any:
    """The pool of the worker, ``solo``. Override it for another."""
    return "solo"


@pytest.fixture(scope="session")
def celery_worker_pool(taskq_worker_pool: str | Any) -> str | Any:
    """The same as ``taskq_worker_pool``, under Celery's name."""
    return taskq_worker_pool


@pytest.fixture(scope="session")
def taskq_config() -> Mapping[str, Any]:
    """Settings of the app. Override it to return yours."""
    return {}


@pytest.fixture(scope="session")
def celery_config(taskq_config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same as ``taskq_config``, under Celery's name."""
    return taskq_config


@pytest.fixture(scope="session")
def taskq_parameters() -> Mapping[str, Any]:
    """Arguments of the app's class. Override it to return yours."""
    return {}


@pytest.fixture(scope="session")
def celery_parameters(taskq_parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same as ``taskq_parameters``, under Celery's name."""
    return taskq_parameters


@pytest.fixture(scope="session")
def taskq_worker_parameters() -> Mapping[str, Any]:
    """Arguments of the worker. Override it to return yours."""
    return {}


@pytest.fixture(scope="session")
def celery_worker_parameters(taskq_worker_parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same as ``taskq_worker_parameters``, under Celery's name."""
    return taskq_worker_parameters


@pytest.fixture(scope="session")
def taskq_class_tasks() -> Sequence[Any]:
    """Tasks written as classes, to register with the session's app. Override it to name yours."""
    return ()


@pytest.fixture(scope="session")
def celery_class_tasks(taskq_class_tasks: Sequence[Any]) -> Sequence[Any]:
    """The same as ``taskq_class_tasks``, under Celery's name."""
    return taskq_class_tasks


@pytest.fixture
def celery_app(
    request: pytest.FixtureRequest,
    celery_config: Mapping[str, Any],
    celery_parameters: Mapping[str, Any],
    celery_enable_logging: bool,
    use_celery_app_trap: bool,
) -> Iterator[Any]:
    """An app for one test; the marker ``celery(setting=value)`` changes its settings."""
    config = dict(celery_config, **_mark_options(request))
    with _create_app(
        enable_logging=celery_enable_logging,
        use_trap=use_celery_app_trap,
        parameters=celery_parameters,
        **config,
    ) as app:
        yield app


@pytest.fixture
def celery_worker(
    request: pytest.FixtureRequest,
    celery_app: Any,
    celery_includes: Sequence[str],
    celery_worker_pool: str | Any,
    celery_worker_parameters: Mapping[str, Any],
) -> Iterator[Any]:
    """A worker in a thread, while one test runs."""
    from taskq.contrib.testing import worker

    if NO_WORKER:
        yield None
        return
    for module in celery_includes:
        celery_app.loader.import_task_module(module)
    with worker.start_worker(
        celery_app, pool=celery_worker_pool, **celery_worker_parameters
    ) as running:
        yield running


@pytest.fixture(scope="session")
def taskq_session_app(celery_session_app: Any) -> Any:
    """The same as ``celery_session_app``."""
    return celery_session_app


@pytest.fixture(scope="session")
def taskq_session_worker(celery_session_worker: Any) -> Any:
    """The same as ``celery_session_worker``."""
    return celery_session_worker


@pytest.fixture
def taskq_app(celery_app: Any) -> Any:
    """The same as ``celery_app``."""
    return celery_app


@pytest.fixture
def taskq_worker(celery_worker: Any) -> Any:
    """The same as ``celery_worker``."""
    return celery_worker


@pytest.fixture
def depends_on_current_app(celery_app: Any) -> None:
    """Make the test's app the current one."""
    celery_app.set_current()


def _mark_options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the arguments of the markers of a test, the nearest last; none for a session."""
    if request.scope != "function":
        return {}
    options: dict[str, Any] = {}
    for name in ("celery", "taskq"):
        for mark in reversed(list(request.node.iter_markers(name))):
            options.update(mark.kwargs)
    return options
