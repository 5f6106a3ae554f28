"""Which of several beats sends: one leads, the others stand by and take over when it dies.

On by the setting ``beat_leader_lease``; used by the service before each tick, and by the scheduler
for each task it sends.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from dataclasses import replace
from datetime import datetime
from typing import Any

from taskq.beat.leases import BrokerLease, Holder, Intent, OutboxLease, lease_name, open_lease
from taskq.beat.outbox import Outbox
from taskq.exceptions import ImproperlyConfigured
from taskq.utils.log import get_logger
from taskq.utils.time import maybe_make_aware

__all__ = ("Leadership", "leadership_for")

logger = get_logger("celery.beat")

#: How often the leader shows that it lives, and others look, within the time of a lease.
LOOKS_PER_LEASE = 5
#: Ids of tasks are made of this and of what they are a run of.
NAMESPACE = uuid.UUID("6f4ff0f1-5d10-4e5c-a0f6-6f2b7f0c5a71")


def leadership_for(app: Any, scheduler: Any) -> Leadership | None:
    """Return the leadership of a beat, or None where ``beat_leader_lease`` is off.

    Raises ImproperlyConfigured for schedulers that are not ours, and stores that keep no lease.
    """
    lease: float = app.conf.beat_leader_lease
    if not lease:
        return None
    if lease < 0.5:
        raise ImproperlyConfigured(f"beat_leader_lease is {lease}, must be 0.5 seconds or more")
    if not hasattr(scheduler, "adopt"):
        raise ImproperlyConfigured(
            f"beat_leader_lease does not work with the scheduler {type(scheduler).__name__}: "
            "its class must be a subclass of taskq.beat:Scheduler"
        )
    return Leadership(app, scheduler, lease)


class Leadership:
    """A beat's part among several.

    Parameters:
        app: the app.
        scheduler: sends tasks while this beat leads.
        lease: seconds after which a leader that shows no sign of life is replaced.
    """

    def __init__(self, app: Any, scheduler: Any, lease: float) -> None:
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._app = app
        self._scheduler = scheduler
        self._lease = lease
        self._interval = lease / LOOKS_PER_LEASE
        self._store_cache: BrokerLease | OutboxLease | None = None
        #: What is about to be sent, where the lease is beside the broker.
        self._outbox: Outbox | None = None
        #: Of this leader; 0 while another one leads.
        self._fence = 0
        self._renewed = 0.0
        #: Who was seen to lead, since when nothing changed, and whether anything ever did.
        self._seen: Holder | None = None
        self._seen_at = 0.0
        self._seen_alive = False
        #: Since when this beat has been watching whoever leads.
        self._watching: datetime | None = None
        self._store_failed = False

    @property
    def leads(self) -> bool:
        """Whether this beat leads, as far as it knows."""
        return self._fence > 0

    @property
    def _store(self) -> BrokerLease | OutboxLease:
        if self._store_cache is None:
            self._store_cache = open_lease(self._app)
        return self._store_cache

    def patience(self) -> float:
        """Return the seconds after which `standby` has to be called again."""
        return self._interval

    def standby(self) -> float:
        """Return 0 if this beat leads, else the seconds until it is to ask again."""
        try:
            if self.leads:
                self._show_life()
            if not self.leads:
                self._watch()
        except ImproperlyConfigured:
            raise
        except Exception as exc:
            self._store_is_away(exc)
            return self._interval
        if self._store_failed:
            self._store_failed = False
            logger.info("beat: the store of the leader's lease is back.")
        return 0.0 if self.leads else self._interval

    def _show_life(self) -> None:
        now = time.monotonic()
        if now - self._renewed < self._interval:
            return
        if self._store.renew(self._fence):
            self._renewed = now
        else:
            self.deposed()

    def deposed(self) -> None:
        """Stand by: another beat leads."""
        self._fence = 0
        self._outbox = None
        self._seen = None
        logger.warning("beat: another beat leads now, standing by.")

    def _watch(self) -> None:
        """Take the lease if nobody holds it, or its holder has shown no life for too long."""
        self._watching = self._watching or self._scheduler.app.now()
        holder = self._store.look()
        now = time.monotonic()
        if holder != self._seen:
            if self._seen is None:
                if holder.owner:
                    logger.info("beat: %s leads, standing by.", holder.owner)
            else:
                self._seen_alive = True
            self._seen, self._seen_at = holder, now
        if holder.owner and now - self._seen_at < self._lease:
            return
        fence = self._store.take(self.owner, holder)
        if fence is not None:
            self._lead(fence, holder)

    def _lead(self, fence: int, predecessor: Holder) -> None:
        store = self._store
        runs = store.runs()
        if isinstance(store, OutboxLease):
            left = list(store.intents())
            self._outbox = Outbox(
                fence, lease_name(self._app), left, self._scheduler._means_broker_away
            )
            # They are sent before anything else.
            runs |= {intent.entry: intent.run for intent in left}
        died = bool(predecessor.owner) and self._seen_alive
        missing = self._scheduler.adopt(
            runs, self, since=None if self._seen_alive else self._watching
        )
        store.seed(missing)
        self._fence, self._renewed = fence, time.monotonic()
        self._seen_alive, self._watching = False, None
        logger.info("beat: leading as %s%s.", self.owner, " after another beat died" * died)

    def send(self, entry: Any, next_entry: Any, producer: Any, apply_entry: Any) -> None:
        """Write a run down, to be sent by `flush`; or both at once, where the broker can do that.

        - entry: as it is before the run; next_entry: and after it.
        - apply_entry: publishes with the producer; nothing if the run is left out.

        Raises Fenced if another beat leads by now, and errors of broker and store.
        """
        with producer.collecting() as messages:
            if apply_entry is not None:
                apply_entry(entry, producer=producer)
        run = replace(self._scheduler.run_of(next_entry), key=self.task_id(entry))
        intent = Intent(entry.name, run, tuple(messages))
        store = self._store
        if isinstance(store, BrokerLease):
            store.commit(self._fence, intent, producer.channel)
        elif self._outbox is not None:
            self._outbox.put(store, intent)

    @property
    def has_unsent(self) -> bool:
        """Whether runs were written down, here or by the leader before, that are to be sent."""
        return bool(self._outbox)

    def flush(self, producer: Any) -> None:
        """Send what was written down. Raises Fenced, and errors of broker and store."""
        store = self._store
        if self._outbox and isinstance(store, OutboxLease):
            self._outbox.flush(store, producer.channel)

    @staticmethod
    def task_id(entry: Any) -> str:
        """Return the id of an entry's next run, the same in every beat."""
        last: datetime = maybe_make_aware(entry.last_run_at)
        return str(uuid.uuid5(NAMESPACE, f"{entry.name} {last.isoformat()}"))

    def resign(self) -> None:
        """Give the lease back, so that another beat need not wait until it runs out."""
        fence, self._fence = self._fence, 0
        self._outbox = None
        if not fence:
            return
        try:
            self._store.release(fence)
            self._store.close()
        except Exception as exc:
            # The others find out by themselves.
            logger.warning("beat: cannot give the leader's lease back: %r", exc)

    def _store_is_away(self, exc: Exception) -> None:
        if not self._store_failed:
            self._store_failed = True
            logger.error("beat: cannot reach the store of the leader's lease: %r", exc)
        store, self._store_cache = self._store_cache, None
        if store is not None:
            try:
                store.close()
            except Exception as failure:
                logger.debug("beat: closing the store of the lease failed: %r", failure)
