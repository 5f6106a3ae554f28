"""Results as messages to the client that sent the task (``rpc://``).

The worker side publishes to the reply queue named in the task's message; the client side is an
`RPCSource`, which keeps results that come before anybody asks for them.
"""

from __future__ import annotations

from typing import Any, NoReturn

from kombu import Consumer, Exchange, Producer, Queue
from kombu.common import maybe_declare

from taskq import states
from taskq._state import current_task, task_join_will_block
from taskq.backends.backend import BaseBackend
from taskq.backends.rpc_source import RPCSource
from taskq.backends.waiting import Meta

__all__ = ("BacklogLimitExceeded", "RPCBackend")

E_NO_CHORD_SUPPORT = """
The "rpc" result backend does not support chords!

Note that a group chained with a task is also upgraded to be a chord,
as this pattern requires synchronization.

Result backends that support chords: SQLite, Redis, Database, Memcached, and more.
"""


class BacklogLimitExceeded(Exception):  # noqa: N818 - Celery's name
    """Too many states of one task are waiting to be read."""


class NoCacheQueue(Queue):
    """A queue that is declared again wherever it is asked for: it may have been deleted."""

    can_cache_declaration = False


class RPCBackend(BaseBackend):
    """Sends states and results to the queue of the client that sent the task.

    Each thread of a client has a reply queue, which exists as long as the client listens. A
    result can be had by the client that sent the task only.

    Parameters:
        app: the app.
        connection: unused; kept for Celery's positional order.
        exchange: exchange to publish to; the default exchange when None.
        exchange_type: its type.
        persistent: results survive a restart of the broker (`result_persistent`).
        serializer: name of the serializer of results.
        auto_delete: the reply queue is deleted when nobody listens any more.
    """

    Exchange: Any = Exchange
    Producer: Any = Producer
    Consumer: Any = Consumer
    Queue: Any = NoCacheQueue
    ResultConsumer: Any = RPCSource
    BacklogLimitExceeded = BacklogLimitExceeded

    persistent = False
    supports_autoexpire = True
    supports_native_join = True

    #: How publishing a result is retried; times in seconds.
    retry_policy = {
        "max_retries": 20,
        "interval_start": 0,
        "interval_step": 1,
        "interval_max": 1,
    }

    def __init__(
        self,
        app: Any,
        connection: Any = None,
        exchange: str | None = None,
        exchange_type: str | None = None,
        persistent: bool | None = None,
        serializer: str | None = None,
        auto_delete: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(app, serializer=serializer, **kwargs)
        self._connection = connection
        self.persistent = self.prepare_persistent(persistent)
        self.delivery_mode = 2 if self.persistent else 1
        self.exchange = self._create_exchange(exchange or "", exchange_type or "direct")
        self.auto_delete = auto_delete
        #: Ids of the threads that have a reply queue, and of those whose queue exists now.
        self._known: set[str] = set()
        self._declared: set[str] = set()

    def _create_exchange(
        self, name: str, type: str = "direct", delivery_mode: int | None = None
    ) -> Any:
        # The default exchange: it knows every queue by its name.
        return self.Exchange("", type="direct")

    def create_result_source(self) -> RPCSource:
        """Return the consumer of the reply queues."""
        return RPCSource(self)

    def _after_fork(self) -> None:
        super()._after_fork()
        self._known = set()
        self._declared = set()

    # -- the client side --------------------------------------------------------

    @property
    def oid(self) -> str:
        """Id of this thread of the client, which is the name of its reply queue."""
        return self.app.thread_oid  # type: ignore[no-any-return]

    @property
    def binding(self) -> Any:
        """The reply queue of this thread."""
        return self.queue_for(self.oid)

    def queue_for(self, oid: str) -> Any:
        """Return the reply queue with this name."""
        return self.Queue(
            oid,
            self.exchange,
            oid,
            durable=True,
            auto_delete=self.auto_delete,
            expires=self.expires,
        )

    def reply_queue_names(self) -> list[str]:
        """Return the names of the queues to listen on: of this and all threads that sent tasks."""
        self._known.add(self.oid)
        return sorted(self._known)

    def on_task_call(self, producer: Any, task_id: str) -> dict[str, Any]:
        """Declare the reply queue before the first task of this thread is sent.

        Not inside a task, which may not wait for results.
        """
        oid = self.oid
        if oid not in self._declared and not task_join_will_block():
            maybe_declare(self.queue_for(oid), producer.channel, retry=True)
            self._declared.add(oid)
            self._known.add(oid)
        return {}

    def get_task_meta(self, task_id: str, backlog_limit: int = 1000) -> Meta:
        """Return the last state of a task that has arrived.

        Parameters:
            task_id: the task.
            backlog_limit: kept for Celery's sake: what has arrived is kept in bounded memory.
        """
        self.waiter.take()
        source = self.waiter.source
        meta = source.last_state(task_id) if isinstance(source, RPCSource) else None
        return meta or {"status": states.PENDING, "result": None}

    poll = get_task_meta

    def read_metas(self, task_ids: Any) -> Any:
        """Yield the last states of those of the tasks that have sent any."""
        self.waiter.take()
        for task_id in task_ids:
            meta = self.waiter.source.last_state(task_id)  # type: ignore[attr-defined]
            if meta is not None:
                yield meta

    def task_result_exists(self, task_id: str) -> bool:
        """Tell whether any state of a task has arrived."""
        return bool(self.get_task_meta(task_id)["status"] != states.PENDING)

    # -- the worker side --------------------------------------------------------

    def destination_for(self, task_id: str, request: Any) -> tuple[str, str]:
        """Return the routing key and correlation id of the result of a task.

        Raises:
            RuntimeError: there is no request to tell who wants the result.
        """
        request = request or getattr(current_task, "request", None)
        if request is None:
            raise RuntimeError(f"RPC backend missing task request for {task_id!r}")
        return request.reply_to, getattr(request, "correlation_id", None) or task_id

    def on_reply_declare(self, task_id: str) -> Any:
        """Return what to declare before publishing a result: nothing, the client has done it."""
        return None

    def on_result_fulfilled(self, result: Any) -> None:
        """Called when a followed result is ready."""

    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Send the state and result of a task to who sent the task; see `Backend.store_result`."""
        routing_key, correlation_id = self.destination_for(task_id, request)
        if not routing_key:
            return None
        with self.app.amqp.producer_pool.acquire(block=True) as producer:
            producer.publish(
                self._to_result(task_id, state, result, traceback, request),
                exchange=self.exchange,
                routing_key=routing_key,
                correlation_id=correlation_id,
                serializer=self.serializer,
                retry=True,
                retry_policy=self.retry_policy,
                declare=self.on_reply_declare(task_id),
                delivery_mode=self.delivery_mode,
            )
        return result

    def _to_result(
        self, task_id: str, state: str, result: Any, traceback: Any, request: Any
    ) -> Meta:
        meta = self._get_result_meta(self.encode_result(result, state), state, traceback, request)
        meta["task_id"] = task_id
        return meta

    # -- what messages cannot do --------------------------------------------------

    def ensure_chords_allowed(self) -> NoReturn:
        """Raise NotImplementedError: nobody but the client sees the results of a header."""
        raise NotImplementedError(E_NO_CHORD_SUPPORT.strip())

    def forget(self, task_id: str) -> None:
        """Forget what has arrived for a task."""
        self._cache.pop(task_id, None)
        self._forget(task_id)

    def _forget(self, task_id: str) -> None:
        source = self.waiter.source
        if isinstance(source, RPCSource):
            source.forget(task_id)

    def _unsupported(self, name: str) -> NoReturn:
        raise NotImplementedError(f"{name} is not supported by this backend.")

    def save_group(self, group_id: str, result: Any) -> NoReturn:
        """Raise NotImplementedError."""
        self._unsupported("save_group")

    def restore_group(self, group_id: str, cache: bool = True) -> NoReturn:
        """Raise NotImplementedError."""
        self._unsupported("restore_group")

    def delete_group(self, group_id: str) -> NoReturn:
        """Raise NotImplementedError."""
        self._unsupported("delete_group")

    def reload_task_result(self, task_id: str) -> NoReturn:
        """Raise NotImplementedError."""
        self._unsupported("reload_task_result")

    def reload_group_result(self, task_id: str) -> NoReturn:
        """Raise NotImplementedError."""
        self._unsupported("reload_group_result")

    def as_uri(self, include_password: bool = True) -> str:
        """Return ``rpc://``."""
        return "rpc://"

    def __reduce__(self, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        own = {
            "connection": None,
            "exchange": self.exchange.name,
            "exchange_type": self.exchange.type,
            "persistent": self.persistent,
            "serializer": self.serializer,
            "auto_delete": self.auto_delete,
            "expires": self.expires,
        }
        return super().__reduce__(args, {**(kwargs or {}), **own})
