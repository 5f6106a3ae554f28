"""Where several beats agree who leads: the lease, and when tasks were sent last.

`open_lease` picks the store that the app uses anyway; `taskq.beat.leader` uses it.
"""

from __future__ import annotations

from typing import Any

from taskq.beat.leases.base import (
    BrokerLease,
    Fenced,
    Holder,
    Intent,
    Lease,
    OutboxLease,
    Run,
)
from taskq.exceptions import ImproperlyConfigured
from taskq.utils.imports import symbol_by_name

__all__ = (
    "BrokerLease",
    "Fenced",
    "Holder",
    "Intent",
    "Lease",
    "OutboxLease",
    "Run",
    "lease_name",
    "open_lease",
)

#: Package of the broker's transport -> lease that is kept in the broker.
IN_BROKER = {
    "taskq.transport.redis": "taskq.beat.leases.redis:RedisBrokerLease",
    "taskq.transport.sqlite": "taskq.beat.leases.sqlite:SQLiteBrokerLease",
}
#: Package of the result backend -> lease that is kept there, beside another broker.
IN_BACKEND = {
    "taskq.backends.redis": "taskq.beat.leases.redis:RedisOutboxLease",
    "taskq.backends.sqlite": "taskq.beat.leases.sqlite:SQLiteOutboxLease",
    "taskq.backends.database": "taskq.beat.leases.sql:SQLLease",
}

E_NO_STORE = (
    "beat_leader_lease is set, but neither the broker ({broker}) nor the result backend "
    "({backend}) can keep a lease. Use Redis or sqlite:// for one of them, or a SQL database for "
    "the results, or unset beat_leader_lease and run a single beat."
)


def lease_name(app: Any) -> str:
    """Return what tells the lease of an app from those of others."""
    name: str | None = app.conf.beat_leader_name
    return (app.main or "") if name is None else name


def open_lease(app: Any) -> BrokerLease | OutboxLease:
    """Return the lease in the app's broker, else in its result backend.

    Raises ImproperlyConfigured if neither can keep one.
    """
    name = lease_name(app)
    connection = app.connection_for_write()
    broker = _of_package(IN_BROKER, type(connection.transport))
    if broker:
        in_broker: BrokerLease = symbol_by_name(broker)(connection, name)
        return in_broker
    backend = _of_package(IN_BACKEND, type(app.backend))
    if not backend:
        raise ImproperlyConfigured(
            E_NO_STORE.format(broker=connection.as_uri(), backend=app.backend.as_uri())
        )
    beside_broker: OutboxLease = symbol_by_name(backend).in_backend(app, name)
    return beside_broker


def _of_package(table: dict[str, str], cls: type) -> str | None:
    for base in cls.__mro__:
        for package, name in table.items():
            if base.__module__ == package or base.__module__.startswith(f"{package}."):
                return name
    return None
