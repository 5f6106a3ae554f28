"""The Signal class: connect receivers, then call all of them with one ``send``.

Sent on every publish and every task, so a signal without receivers must cost next to nothing.
"""

from __future__ import annotations

import logging
import threading
import weakref
from typing import TYPE_CHECKING, Any

from taskq.local import PromiseProxy, Proxy
from taskq.utils.coroutines import finished
from taskq.utils.signatures import fun_accepts_kwargs

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("Signal",)

logger = logging.getLogger(__name__)

#: Settings of ``retry=True``: seconds before the second call, and added before each later one.
RETRY_INTERVAL_START = 2.0
RETRY_INTERVAL_STEP = 2.0
#: Longest wait between calls, in seconds.
RETRY_INTERVAL_MAX = 30.0

RECEIVER_RETRY_ERROR = "Signal receiver %(receiver)s raised; it is called again %(when)s."


def _identity(target: Any) -> Any:
    """Return what a receiver or sender is told apart by."""
    if isinstance(target, Proxy):
        target = target._get_current_object()
    if isinstance(target, (bytes, str)):
        return target  # Senders may be names; equal names are one sender.
    if hasattr(target, "__func__"):
        return id(target.__self__), id(target.__func__)
    return id(target)


_NO_SENDER = _identity(None)


class Signal:
    """Something that happens, which receivers can be connected to.

    Parameters:
        providing_args: names of the arguments that receivers are given, for documentation.
        use_caching: remember which receivers each sender has (for many sends from few senders
            that can be weakly referenced).
        name: shown by ``repr``.
    """

    #: The connected receivers: ``((receiver id or dispatch_uid, sender id), receiver or weakref)``.
    receivers: list[tuple[Any, Any]] = []  # replaced in __init__

    def __init__(
        self,
        providing_args: Iterable[str] | None = None,
        use_caching: bool = False,
        name: str | None = None,
    ) -> None:
        self.receivers = []
        self.providing_args = set(providing_args or ())
        self.lock = threading.Lock()
        self.use_caching = use_caching
        self.name = name
        self.sender_receivers_cache: Any = weakref.WeakKeyDictionary() if use_caching else {}
        self._dead_receivers = False

    # -- connecting

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Connect a receiver: ``connect(receiver, sender=None, ...)``, or as decorator.

        Parameters:
            receiver: called as ``receiver(signal=..., sender=..., **named)``; must take any keyword
                arguments.
            sender: only signals from this sender are received (None: from all).
            weak: keep only a weak reference to the receiver (default True).
            dispatch_uid: what the receiver is known by, so that it is not connected twice.
            retry: call the receiver again, after a while, when it raises (default False). Such a
                receiver is kept with a strong reference.

        Returns the receiver.
        """

        def connect_with(
            receiver: Any,
            sender: Any = None,
            weak: bool = True,
            dispatch_uid: Any = None,
            retry: bool = False,
        ) -> Any:
            if receiver is None:
                raise ValueError("connect() needs a receiver, or no arguments for a decorator")
            if not fun_accepts_kwargs(receiver):
                raise ValueError("Signal receiver must accept keyword arguments.")
            if isinstance(sender, PromiseProxy):
                # The real sender does not exist yet, and its id is what we compare.
                sender.__then__(self._connect_to, receiver, sender, weak, dispatch_uid, retry)
            else:
                self._connect_to(receiver, sender, weak, dispatch_uid, retry)
            return receiver

        if "receiver" in kwargs:
            return connect_with(*args, **kwargs)
        if args:
            if not callable(args[0]):
                raise TypeError(f"a signal's receiver must be callable, not {args[0]!r}")
            return connect_with(*args, **kwargs)
        return lambda receiver: connect_with(receiver, **kwargs)

    def _connect_to(
        self, receiver: Any, sender: Any, weak: bool, dispatch_uid: Any, retry: bool
    ) -> None:
        key = _lookup_key(receiver, sender, dispatch_uid)
        if retry:
            entry: Any = _retrying(receiver)
        elif weak:
            entry = self._weak_reference(receiver)
        else:
            entry = receiver
        with self.lock:
            self._clear_dead_receivers()
            if not any(known == key for known, _ in self.receivers):
                # A new list, so that a send under way in another thread keeps the one it has.
                self.receivers = [*self.receivers, (key, entry)]
            self.sender_receivers_cache.clear()

    def _weak_reference(self, receiver: Any) -> Any:
        if hasattr(receiver, "__func__") and hasattr(receiver, "__self__"):
            # A bound method is made anew at each access: refer to its object instead.
            weakref.finalize(receiver.__self__, self._remove_receiver).atexit = False
            return weakref.WeakMethod(receiver)
        weakref.finalize(receiver, self._remove_receiver).atexit = False
        return weakref.ref(receiver)

    def disconnect(
        self,
        receiver: Any = None,
        sender: Any = None,
        weak: bool | None = None,
        dispatch_uid: Any = None,
    ) -> bool:
        """Disconnect what was connected with the same receiver (or ``dispatch_uid``) and sender.

        Returns True if something was disconnected. ``weak`` has no meaning.
        """
        key = _lookup_key(receiver, sender, dispatch_uid)
        with self.lock:
            self._clear_dead_receivers()
            remaining = [(known, entry) for known, entry in self.receivers if known != key]
            disconnected = len(remaining) < len(self.receivers)
            self.receivers = remaining
            self.sender_receivers_cache.clear()
        return disconnected

    # -- sending

    def has_listeners(self, sender: Any = None) -> bool:
        """Return True if a signal from ``sender`` would be received."""
        return bool(self._live_receivers(sender))

    def send(self, sender: Any, **named: Any) -> list[tuple[Any, Any]]:
        """Call all receivers with ``named`` arguments; coroutine functions are run to their end.

        Returns a list of ``(receiver, response)``. A receiver that raises does not keep the others
        from being called: the error is logged and is that receiver's response.
        """
        if not self.receivers:
            return []
        responses = []
        for receiver in self._live_receivers(sender):
            try:
                response = finished(receiver(signal=self, sender=sender, **named))
            except Exception as exc:
                logger.exception("Signal handler %r raised: %r", receiver, exc)
                responses.append((receiver, exc))
            else:
                responses.append((receiver, response))
        return responses

    send_robust = send

    def _live_receivers(self, sender: Any) -> list[Any]:
        if self.use_caching and not self._dead_receivers:
            try:
                cached = self.sender_receivers_cache.get(sender)
            except TypeError:
                cached = None  # A sender that cannot be weakly referenced is not remembered.
            if cached is not None:
                return cached  # type: ignore[no-any-return]
        with self.lock:
            self._clear_dead_receivers()
            receivers = self.receivers
        sender_id = _identity(sender)
        found = []
        for (_, wanted), entry in receivers:
            if wanted in (_NO_SENDER, sender_id):
                receiver = entry() if isinstance(entry, weakref.ReferenceType) else entry
                if receiver is not None:
                    found.append(receiver)
        if self.use_caching:
            try:
                self.sender_receivers_cache[sender] = found
            except TypeError:
                pass  # See above.
        return found

    # -- receivers that were garbage collected

    def _remove_receiver(self, receiver: Any = None) -> None:
        # Runs inside the garbage collector, maybe under our lock: only take a note.
        self._dead_receivers = True

    def _clear_dead_receivers(self) -> None:
        if self._dead_receivers:
            self._dead_receivers = False
            self.receivers = [
                (key, entry)
                for key, entry in self.receivers
                if not (isinstance(entry, weakref.ReferenceType) and entry() is None)
            ]
            self.sender_receivers_cache.clear()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.name} providing_args={self.providing_args!r}>"

    __str__ = __repr__


def _lookup_key(receiver: Any, sender: Any, dispatch_uid: Any) -> tuple[Any, Any]:
    return (dispatch_uid or _identity(receiver), _identity(sender))


def _retrying(receiver: Any) -> Any:
    """Return a function that calls ``receiver`` until it does not raise."""
    from functools import wraps
    from time import sleep

    @wraps(receiver)
    def call_until_it_succeeds(*args: Any, **kwargs: Any) -> Any:
        interval = RETRY_INTERVAL_START
        while True:
            try:
                return receiver(*args, **kwargs)
            except Exception:
                logger.exception(
                    RECEIVER_RETRY_ERROR, {"receiver": receiver, "when": f"in {interval:.2f}s"}
                )
                sleep(interval)
                interval = min(interval + RETRY_INTERVAL_STEP, RETRY_INTERVAL_MAX)

    return call_until_it_succeeds
