"""Apps for tests: an app in memory, and keeping the current app of a test to the test.

Used by the pytest plugin and by test suites of any kind.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from taskq import _state
from taskq.app.base import TaskQ
from taskq.app.log import Logging
from taskq.contrib.testing import tasks as tasks  # every app made here has celery.ping

#: Settings of test apps: broker and results in the memory of this process.
DEFAULT_TEST_CONFIG: dict[str, Any] = {
    "worker_hijack_root_logger": False,
    "worker_log_color": False,
    "accept_content": {"json"},
    "enable_utc": True,
    "timezone": "UTC",
    "broker_url": "memory://",
    "result_backend": "cache+memory://",
    "broker_heartbeat": 0,
}

#: Seconds between looks at the queues in memory; kombu's own second would make tests wait.
POLLING_INTERVAL = 0.01


class Trap:
    """Stands in for the current app where a test must not use one: any use is an error."""

    def __getattr__(self, name: str) -> Any:
        # A name Python itself looks up is no use of the app.
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        raise RuntimeError(
            f"Test depends on current_app (looked up {name!r}); pass the app, or use the fixture "
            "depends_on_current_app"
        )


class UnitLogging(Logging):
    """Logging that believes it was set up, so that tests keep their own."""

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        type(self)._setup = True


def TestApp(  # noqa: N802 - the public name
    name: str | None = None,
    config: dict[str, Any] | None = None,
    enable_logging: bool = False,
    set_as_current: bool = False,
    log: Any = UnitLogging,
    backend: str | None = None,
    broker: str | None = None,
    **kwargs: Any,
) -> TaskQ:
    """Return an app for tests, in memory unless told otherwise.

    Parameters:
        name: the app's main name, ``celery.tests`` if not given.
        config: settings over `DEFAULT_TEST_CONFIG`.
        enable_logging: let the app set up logging.
        set_as_current: make it the current app.
        log: logging class where ``enable_logging`` is off.
        backend, broker: URLs over the ones in the settings.

    Further arguments are the app's.
    """
    settings = {**deepcopy(DEFAULT_TEST_CONFIG), **(config or {})}
    if broker is not None:
        settings.pop("broker_url", None)
    if (broker or settings.get("broker_url")) == "memory://":
        settings.setdefault("broker_transport_options", {"polling_interval": POLLING_INTERVAL})
    if backend is not None:
        settings.pop("result_backend", None)
    app = TaskQ(
        name or "celery.tests",
        set_as_current=set_as_current,
        log=None if enable_logging else log,
        broker=broker,
        backend=backend,
        **kwargs,
    )
    app.add_defaults(settings)
    return app


TestApp.__test__ = False  # type: ignore[attr-defined]  # pytest takes it for a test otherwise


class _Trapped:
    """Thread-local state whose current app is a trap."""

    def __init__(self, trap: Trap) -> None:
        self.current_app = trap


@contextmanager
def set_trap(app: Any) -> Iterator[None]:
    """Make any use of the current app an error inside the ``with`` block.

    - app: the app in use; not touched.
    """
    trap = Trap()
    before = _state._tls
    _state.set_default_app(trap)
    _state._tls = _Trapped(trap)  # type: ignore[assignment]
    try:
        yield
    finally:
        _state._tls = before


@contextmanager
def setup_default_app(app: Any, use_trap: bool = False) -> Iterator[None]:
    """Put the state of current and default apps back as it was when the ``with`` block ends.

    - app: app of the test, closed at the end.
    - use_trap: see `set_trap`.
    """
    before = _snapshot()
    try:
        if use_trap:
            with set_trap(app):
                yield
        else:
            yield
    finally:
        _restore(before)
        if app is not before["current_app"]:
            app.close()


def _snapshot() -> dict[str, Any]:
    return {
        "current_app": _state._tls.current_app,
        "default_app": _state.default_app,
        "_default_is_fallback": _state._default_is_fallback,
        "_process_app": _state._process_app,
        "_on_app_finalizers": set(_state._on_app_finalizers),
        "_apps": weakref.WeakSet(_state._apps),
    }


def _restore(before: dict[str, Any]) -> None:
    _state._tls.current_app = before["current_app"]
    for name, value in before.items():
        if name != "current_app":
            setattr(_state, name, value)
