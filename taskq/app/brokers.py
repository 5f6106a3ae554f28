"""Connections of an app to its broker, and the pools they are kept in.

A part of `TaskQ`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from taskq.utils.objects import FallbackContext


class Brokers:
    """The part of an app that connects."""

    conf: Any
    amqp: Any
    _pool: Any
    _close_loop_publishers: Callable[..., None]
    _ensure_after_fork: Callable[[], None]
    _forget_loop_publishers: Callable[[], None]

    def connection_for_read(self, url: Any = None, **kwargs: Any) -> Any:
        """Return a new connection for consuming, to ``broker_read_url`` by default."""
        return self._connection(url or self.conf.broker_read_url, **kwargs)

    def connection_for_write(self, url: Any = None, **kwargs: Any) -> Any:
        """Return a new connection for publishing, to ``broker_write_url`` by default."""
        return self._connection(url or self.conf.broker_write_url, **kwargs)

    def connection(
        self,
        hostname: Any = None,
        userid: str | None = None,
        password: str | None = None,
        virtual_host: str | None = None,
        port: int | None = None,
        ssl: Any = None,
        connect_timeout: float | None = None,
        transport: Any = None,
        transport_options: Any = None,
        heartbeat: float | None = None,
        login_method: str | None = None,
        failover_strategy: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Return a new connection, not yet established.

        - hostname: URL, several separated by ``;``, or a host name.
        - connect_timeout, heartbeat: in seconds.

        What is not given comes from the ``broker_*`` settings.
        """
        return self.connection_for_write(
            hostname or self.conf.broker_write_url,
            userid=userid,
            password=password,
            virtual_host=virtual_host,
            port=port,
            ssl=ssl,
            connect_timeout=connect_timeout,
            transport=transport,
            transport_options=transport_options,
            heartbeat=heartbeat,
            login_method=login_method,
            failover_strategy=failover_strategy,
            **kwargs,
        )

    broker_connection = connection

    def _connection(
        self,
        url: Any,
        userid: str | None = None,
        password: str | None = None,
        virtual_host: str | None = None,
        port: int | None = None,
        ssl: Any = None,
        connect_timeout: float | None = None,
        transport: Any = None,
        transport_options: Any = None,
        heartbeat: float | None = None,
        login_method: str | None = None,
        failover_strategy: Any = None,
        **kwargs: Any,
    ) -> Any:
        conf = self.conf
        connection = self.amqp.Connection(
            url,
            userid or conf.broker_user,
            password or conf.broker_password,
            virtual_host or conf.broker_vhost,
            port or conf.broker_port,
            transport=transport or conf.broker_transport,
            ssl=conf.broker_use_ssl if ssl is None else ssl,
            heartbeat=heartbeat,
            login_method=login_method or conf.broker_login_method,
            failover_strategy=failover_strategy or conf.broker_failover_strategy,
            transport_options={**conf.broker_transport_options, **(transport_options or {})},
            connect_timeout=(
                conf.broker_connection_timeout if connect_timeout is None else connect_timeout
            ),
            **kwargs,
        )
        if connection.transport_cls in self.amqp.own_transports:
            # Only ours know leases; others would not accept the option.
            connection.transport_options.setdefault("lease", conf.worker_lease)
        return connection

    def _acquire_connection(self, pool: bool = True) -> Any:
        return self.pool.acquire(block=True) if pool else self.connection_for_write()

    def connection_or_acquire(
        self, connection: Any = None, pool: bool = True, *_: Any, **__: Any
    ) -> AbstractContextManager[Any]:
        """Return a context of the given connection, or of one from the pool."""
        return FallbackContext(connection, self._acquire_connection, pool=pool)

    default_connection = connection_or_acquire

    def _acquire_producer(self, timeout: float | None = None) -> Any:
        return self.amqp.producer_pool.acquire(block=True, timeout=timeout)

    @contextmanager
    def producer_or_acquire(self, producer: Any = None) -> Iterator[Any]:
        """Return a context of the given producer, or of one from the pool."""
        if producer is not None:
            yield producer
            return
        with self.amqp.producer_pool.acquire(block=True) as acquired:
            yield acquired

    default_producer = producer_or_acquire

    @property
    def pool(self) -> Any:
        """The pool of connections; its size is ``broker_pool_limit``."""
        if self._pool is None:
            self._ensure_after_fork()
            self._pool = self.connection_for_write().Pool(limit=self.conf.broker_pool_limit)
        return self._pool

    @property
    def producer_pool(self) -> Any:
        """The pool of producers."""
        return self.amqp.producer_pool

    def _close_pools(self) -> None:
        """Close pooled connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.force_close_all()
        amqp = vars(self).get("amqp")
        if amqp is not None:
            amqp._producer_pool = None
        self._close_loop_publishers()

    def _forget_pools(self) -> None:
        """Drop pooled connections without a word to their sockets: they are another process's."""
        self._pool = None
        self._forget_loop_publishers()
        amqp = vars(self).get("amqp")
        if amqp is not None:
            amqp._producer_pool = None
