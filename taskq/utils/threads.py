"""Thread utilities: context-local stacks, and background threads that report a crash.

Used by the app state, the timer and whatever needs a thread of its own.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from threading import get_ident
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from taskq.local import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import GenericAlias

__all__ = (
    "Local",
    "LocalManager",
    "LocalStack",
    "bgThread",
    "bound_open_broker_sockets",
    "default_socket_timeout",
    "get_ident",
)

T = TypeVar("T")

#: Longest wait a lock accepts, in seconds.
THREAD_TIMEOUT_MAX: float = getattr(threading, "TIMEOUT_MAX", 1e10)


@contextmanager
def default_socket_timeout(timeout: float | None) -> Iterator[None]:
    """Use ``timeout`` (seconds) for sockets that are made inside the ``with`` block."""
    import socket

    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout)
    try:
        yield
    finally:
        socket.setdefaulttimeout(previous)


@contextmanager
def bound_open_broker_sockets(connection: Any, timeout: float | None) -> Iterator[None]:
    """Use ``timeout`` (seconds) for the open sockets of ``connection`` inside the ``with`` block.

    So a broker that stopped answering cannot hold up a shutdown. Transports that show no socket are
    left alone.
    """
    previous = [(sock, sock.gettimeout()) for sock in _open_broker_sockets(connection)]
    for sock, _ in previous:
        sock.settimeout(timeout)
    try:
        yield
    finally:
        for sock, before in previous:
            if sock.fileno() != -1:
                sock.settimeout(before)


def _open_broker_sockets(connection: Any) -> list[Any]:
    # Never `connection.connection`, which would connect; `_connection` is what is open already.
    raw = getattr(connection, "_connection", None)
    transport = getattr(raw, "transport", None)
    found: list[Any] = []
    for owner in (transport, raw):
        sock: Any = getattr(owner, "sock", None)
        is_socket = hasattr(sock, "settimeout") and hasattr(sock, "fileno")
        if is_socket and sock not in found and sock.fileno() != -1:
            found.append(sock)
    return found


class bgThread(threading.Thread):
    """Daemon thread that calls :meth:`body` over and over until :meth:`stop`.

    A crash of the body is written to stderr and ends the process with status 1: a worker that lost
    its timer or its scaler must not go on as if nothing had happened.
    """

    def __init__(self, name: str | None = None, **kwargs: Any) -> None:
        super().__init__()
        self._is_shutdown = threading.Event()
        self._is_stopped_event = threading.Event()
        self.daemon = True
        self.name = name or self.__class__.__name__

    def body(self) -> None:
        """Do one round of work."""
        raise NotImplementedError(f"{self.__class__.__name__} has no body()")

    def on_crash(self, msg: str, *fmt: Any, **kwargs: Any) -> None:
        """Write ``msg % fmt`` and the current traceback to stderr."""
        import traceback

        print(msg.format(*fmt), file=sys.stderr)
        traceback.print_exc(None, sys.stderr)

    def run(self) -> None:
        """Call the body until the thread is told to stop."""
        shutdown_set = self._is_shutdown.is_set
        try:
            while not shutdown_set():
                try:
                    self.body()
                except Exception as exc:
                    try:
                        self.on_crash("{0!r} crashed: {1!r}", self.name, exc)
                        self._set_stopped()
                    finally:
                        sys.stderr.flush()
                        os._exit(1)
        finally:
            self._set_stopped()

    def _set_stopped(self) -> None:
        self._is_stopped_event.set()

    def stop(self) -> None:
        """Ask the thread to stop, and wait until it has."""
        self._is_shutdown.set()
        if self.ident is not None:
            self._is_stopped_event.wait()
            if self.is_alive() and threading.current_thread() is not self:
                self.join(THREAD_TIMEOUT_MAX)


def release_local(local: Any) -> None:
    """Forget what ``local`` (a :class:`Local` or :class:`LocalStack`) holds in this context."""
    local.__release_local__()


class Local:
    """Attributes that are private to the thread, greenlet or asyncio task that set them."""

    __slots__ = ("__ident_func__", "__storage__", "__values")

    def __init__(self) -> None:
        object.__setattr__(self, "_Local__values", ContextVar("taskq.Local"))
        object.__setattr__(self, "__storage__", {})
        object.__setattr__(self, "__ident_func__", get_ident)

    def __current(self) -> dict[str, Any]:
        values: ContextVar[dict[str, Any]] = object.__getattribute__(self, "_Local__values")
        return values.get({})

    def __replace(self, values: dict[str, Any]) -> None:
        # Replaced, never changed in place: a child context shares the value it inherited.
        object.__getattribute__(self, "_Local__values").set(values)

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        current = self.__current()
        if current:
            yield get_ident(), dict(current)

    def __call__(self, proxy: str) -> Proxy:
        """Return a proxy for the attribute named ``proxy``."""
        return Proxy(self, name=proxy)

    def __release_local__(self) -> None:
        self.__replace({})

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__current()[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self.__replace({**self.__current(), name: value})

    def __delattr__(self, name: str) -> None:
        values = dict(self.__current())
        try:
            del values[name]
        except KeyError:
            raise AttributeError(name) from None
        self.__replace(values)


class LocalStack(Generic[T]):
    """A stack that is private to each thread, greenlet and asyncio task.

    An asyncio task starts with the stack of the code that made it; what it pushes stays its own.
    """

    __slots__ = ("__ident_func__", "__weakref__", "_items")

    def __init__(self) -> None:
        # An immutable tuple per context, because contexts are copied by reference.
        self._items: ContextVar[tuple[T, ...]] = ContextVar("taskq.LocalStack", default=())
        self.__ident_func__: Callable[[], int] = get_ident

    if not TYPE_CHECKING:

        @classmethod
        def __class_getitem__(cls, item: Any) -> GenericAlias:
            from types import GenericAlias

            return GenericAlias(cls, item)

    def __release_local__(self) -> None:
        self._items.set(())

    def __call__(self) -> Proxy:
        """Return a proxy for the top of the stack."""

        def lookup() -> T:
            items = self._items.get()
            if not items:
                raise RuntimeError("object unbound")
            return items[-1]

        return Proxy(lookup)

    def push(self, obj: T) -> list[T]:
        """Put ``obj`` on top; return the stack, bottom first."""
        items = (*self._items.get(), obj)
        self._items.set(items)
        return list(items)

    def pop(self) -> T | None:
        """Take the top off and return it, or None if the stack is empty."""
        items = self._items.get()
        if not items:
            return None
        self._items.set(items[:-1])
        return items[-1]

    def __len__(self) -> int:
        return len(self._items.get())

    @property
    def stack(self) -> list[T]:
        """The stack as a list, bottom first."""
        return list(self._items.get())

    @property
    def top(self) -> T | None:
        """The top of the stack, or None if it is empty."""
        items = self._items.get()
        return items[-1] if items else None


_LocalStack = LocalStack


class LocalManager:
    """Releases several locals at once, for instance at the end of a web request.

    Parameters:
        locals: a :class:`Local` or :class:`LocalStack`, or several.
        ident_func: returns what tells contexts apart (default: the thread's id).
    """

    def __init__(
        self,
        locals: Local | LocalStack[Any] | Iterable[Local | LocalStack[Any]] | None = None,
        ident_func: Callable[[], int] | None = None,
    ) -> None:
        if locals is None:
            self.locals: list[Any] = []
        elif hasattr(locals, "__release_local__"):
            self.locals = [locals]
        else:
            self.locals = list(locals)
        self.ident_func: Callable[[], int] = ident_func or get_ident

    def get_ident(self) -> int:
        """Return the id of the current context."""
        return self.ident_func()

    def cleanup(self) -> None:
        """Release every managed local in this context."""
        for local in self.locals:
            release_local(local)

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} storages: {len(self.locals)}>"
