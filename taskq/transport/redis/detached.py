"""The leases of this process: those without a channel, and what becomes of all at exit and fork."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from kombu.log import get_logger
from redis import exceptions

if TYPE_CHECKING:
    from taskq.transport.redis.lease import Lease

logger = get_logger(__name__)

#: Seconds that a fork waits for a heartbeat under way.
FORK_PATIENCE = 0.5

_lock = threading.Lock()
_detached: list[Lease] = []
#: Leases with a keeper that runs.
_kept: weakref.WeakSet[Lease] = weakref.WeakSet()
#: Leases whose keepers wait for a fork to be over.
_paused: list[Lease] = []


def leave(lease: Lease) -> None:
    """Leave a lease for the next channel to find."""
    with _lock:
        _detached.append(lease)


def adopt(options: Any, queues: Collection[str]) -> Lease | None:
    """Return the lease that a channel for one of these queues left behind when it broke.

    - options: the `LeaseOptions` it must have.
    """
    with _lock:
        for lease in _detached:
            if lease.options == options and not lease.queues.isdisjoint(queues):
                _detached.remove(lease)
                lease.attached = True
                return lease
    return None


def retire(lease: Lease) -> bool:
    """Forget a lease that nothing is left of; False if a channel has just taken it over."""
    with _lock:
        if lease.attached:
            return False
        _detached.remove(lease)
        return True


def remember(lease: Lease) -> None:
    """Look after a lease at exit and fork."""
    _kept.add(lease)


def _give_back_at_exit() -> None:
    """Put back what channels hold that nobody closed; a claim under way is for others to find."""
    for lease in list(_kept):
        keeper = lease.keeper
        if keeper.stopped or not lease.needed:
            continue
        try:
            keeper.stop(wait=True)
            keeper.wire.reopen_if_closed()
            lease.give_back(keeper.wire)
        except (exceptions.RedisError, OSError) as exc:
            logger.debug("Could not give back messages at exit: %r", exc)


def _before_fork() -> None:
    """Let no thread be in the middle of a name lookup, whose locks the child would inherit."""
    _paused[:] = [
        lease for lease in list(_kept) if lease.keeper.network.acquire(timeout=FORK_PATIENCE)
    ]


def _after_fork_in_parent() -> None:
    for lease in _paused:
        lease.keeper.network.release()
    _paused.clear()


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()
    for leases in (_detached, _paused, _kept):  # they are the parent's
        leases.clear()


atexit.register(_give_back_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
