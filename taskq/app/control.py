"""Remote control: asking workers, and telling them what to do.

``app.control`` broadcasts commands to the workers' mailboxes; ``app.control.inspect()`` collects
what they answer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

from billiard.common import TERM_SIGNAME
from kombu.matcher import match
from kombu.pidbox import Mailbox
from kombu.utils.functional import maybe_list

from taskq._state import get_current_app
from taskq.app.unreachable import naming_in_errors
from taskq.exceptions import DuplicateNodenameWarning, ImproperlyConfigured
from taskq.utils.log import get_logger
from taskq.utils.text import pluralize

__all__ = ("Control", "Inspect", "flatten_reply")

logger = get_logger("celery.app.control")

W_DUPNODE = (
    "Received multiple replies from node {0}: {1}.\n"
    "Please make sure you give each node a unique nodename using the worker `-n` option."
)


def flatten_reply(reply: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge replies into one dict: node name -> reply. Warns of nodes that answered twice."""
    nodes: dict[str, Any] = {}
    seen: set[str] = set()
    for item in reply:
        seen.update(name for name in item if name in nodes)
        nodes.update(item)
    if seen:
        warnings.warn(
            DuplicateNodenameWarning(
                W_DUPNODE.format(pluralize(len(seen), "name"), ", ".join(sorted(seen)))
            ),
            stacklevel=2,
        )
    return nodes


class Inspect:
    """Asks workers about themselves.

    - destination: node names, all by default; pattern, matcher: choose nodes by ``glob`` or
      ``pcre``.
    - timeout: seconds to wait for answers; limit: number of answers to wait for.
    - callback: called with each answer; connection: to use.

    Methods return a dict of node name -> answer, or None when nobody answered.
    """

    app: Any = None

    def __init__(
        self,
        destination: Any = None,
        timeout: float = 1.0,
        callback: Callable[[Any], Any] | None = None,
        connection: Any = None,
        app: Any = None,
        limit: int | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> None:
        self.app = app or self.app or get_current_app()
        self.destination = destination
        self.timeout = timeout
        self.callback = callback
        self.connection = connection
        self.limit = limit
        self.pattern = pattern
        self.matcher = matcher

    def _prepare(self, reply: Any) -> Any:
        if not reply:
            return None
        by_node = flatten_reply(reply)
        if self.destination and not isinstance(self.destination, list | tuple):
            return by_node.get(self.destination)
        if self.pattern:
            return {
                node: answer
                for node, answer in by_node.items()
                if match(node, self.pattern, self.matcher or "glob")
            }
        return by_node

    def _request(self, command: str, **kwargs: Any) -> Any:
        return self._prepare(
            self.app.control.broadcast(
                command,
                arguments=kwargs,
                destination=maybe_list(self.destination),
                callback=self.callback,
                connection=self.connection,
                limit=self.limit,
                timeout=self.timeout,
                reply=True,
                pattern=self.pattern,
                matcher=self.matcher,
            )
        )

    def report(self) -> Any:
        """Return the workers' bug reports."""
        return self._request("report")

    def clock(self) -> Any:
        """Return the workers' logical clocks."""
        return self._request("clock")

    def active(self, safe: bool | None = None) -> Any:
        """Return the tasks being run."""
        return self._request("active", safe=safe)

    def scheduled(self, safe: bool | None = None) -> Any:
        """Return the tasks that wait for their ETA in the workers."""
        return self._request("scheduled")

    def reserved(self, safe: bool | None = None) -> Any:
        """Return the tasks received and not begun."""
        return self._request("reserved")

    def stats(self) -> Any:
        """Return the workers' statistics."""
        return self._request("stats")

    def revoked(self) -> Any:
        """Return the ids that workers know as revoked."""
        return self._request("revoked")

    def registered(self, *taskinfoitems: str) -> Any:
        """Return the names of registered tasks, with these attributes of theirs."""
        return self._request("registered", taskinfoitems=taskinfoitems)

    registered_tasks = registered

    def ping(self, destination: Any = None) -> Any:
        """Return who is there."""
        if destination:
            self.destination = destination
        return self._request("ping")

    def active_queues(self) -> Any:
        """Return the queues that workers consume from."""
        return self._request("active_queues")

    def query_task(self, *ids: Any) -> Any:
        """Return what workers know of these ids."""
        # An iterable of ids may be given in place of the ids.
        if len(ids) == 1 and isinstance(ids[0], list | tuple):
            ids = tuple(ids[0])
        return self._request("query_task", ids=ids)

    def conf(self, with_defaults: bool = False) -> Any:
        """Return the workers' settings, secrets censored."""
        return self._request("conf", with_defaults=with_defaults)

    def hello(self, from_node: str, revoked: Any = None) -> Any:
        """Exchange revoked ids and clocks, as a starting worker does."""
        return self._request("hello", from_node=from_node, revoked=revoked)

    def memsample(self) -> Any:
        """Have workers sample their memory use."""
        return self._request("memsample")

    def memdump(self, samples: int = 10) -> Any:
        """Return memory samples."""
        return self._request("memdump", samples=samples)

    def objgraph(self, type: str = "Request", n: int = 200, max_depth: int = 10) -> Any:
        """Have workers draw a graph of objects in memory."""
        return self._request("objgraph", num=n, max_depth=max_depth, type=type)


class Control:
    """Tells workers what to do."""

    Mailbox = Mailbox

    def __init__(self, app: Any = None) -> None:
        self.app = app
        conf = app.conf
        if conf.control_queue_durable and conf.control_queue_exclusive:
            raise ImproperlyConfigured(
                "control_queue_durable and control_queue_exclusive cannot both be True: an "
                "exclusive queue goes with its connection"
            )
        self.mailbox = self.Mailbox(
            conf.control_exchange,
            type="fanout",
            accept=conf.accept_content,
            serializer=conf.task_serializer,
            producer_pool=_LazyPool(app),
            queue_ttl=conf.control_queue_ttl,
            reply_queue_ttl=conf.control_queue_ttl,
            queue_expires=conf.control_queue_expires,
            queue_exclusive=conf.control_queue_exclusive,
            queue_durable=conf.control_queue_durable,
            reply_queue_expires=conf.control_queue_expires,
        )

    def _after_fork(self) -> None:
        self.mailbox.producer_pool = _LazyPool(self.app)

    @cached_property
    def inspect(self) -> Any:
        """The `Inspect` class, bound to this app."""
        return self.app.subclass_with_self(Inspect, reverse="control.inspect")

    def purge(self, connection: Any = None) -> int:
        """Delete all messages waiting in the app's queues. Returns how many."""
        with self.app.connection_for_write() if connection is None else _given(connection) as conn:
            return int(self.app.amqp.TaskConsumer(conn).purge())

    discard_all = purge

    def election(self, id: str, topic: str, action: Any = None, connection: Any = None) -> None:
        """Have workers elect one of them to run ``action``."""
        self.broadcast(
            "election",
            connection=connection,
            destination=None,
            arguments={"id": id, "topic": topic, "action": action},
        )

    def revoke(
        self,
        task_id: Any,
        destination: Any = None,
        terminate: bool = False,
        signal: str = TERM_SIGNAME,
        **kwargs: Any,
    ) -> Any:
        """Have workers not run a task.

        - task_id: one id, or several; terminate: kill it with ``signal`` if it runs already.
        """
        return self.broadcast(
            "revoke",
            destination=destination,
            arguments={"task_id": task_id, "terminate": terminate, "signal": signal},
            **kwargs,
        )

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        destination: Any = None,
        terminate: bool = False,
        signal: str = TERM_SIGNAME,
        **kwargs: Any,
    ) -> Any:
        """Have workers not run the tasks that have any of these stamps."""
        result = self.broadcast(
            "revoke_by_stamped_headers",
            destination=destination,
            arguments={"headers": headers, "terminate": terminate, "signal": signal},
            **kwargs,
        )
        task_ids: set[str] = set()
        if result:
            for host in result:
                for response in host.values():
                    if isinstance(response.get("ok"), list | set | tuple):
                        task_ids.update(response["ok"])
        if task_ids:
            return self.revoke(
                list(task_ids),
                destination=destination,
                terminate=terminate,
                signal=signal,
                **kwargs,
            )
        return result

    def terminate(
        self, task_id: Any, destination: Any = None, signal: str = TERM_SIGNAME, **kwargs: Any
    ) -> Any:
        """Revoke a task, and kill it if it runs already."""
        return self.revoke(
            task_id, destination=destination, terminate=True, signal=signal, **kwargs
        )

    def ping(self, destination: Any = None, timeout: float = 1.0, **kwargs: Any) -> Any:
        """Return the list of answers of who is there."""
        return self.broadcast(
            "ping", reply=True, arguments={}, destination=destination, timeout=timeout, **kwargs
        )

    def rate_limit(
        self, task_name: str, rate_limit: Any, destination: Any = None, **kwargs: Any
    ) -> Any:
        """Change the rate limit of a task, as ``"10/m"``."""
        return self.broadcast(
            "rate_limit",
            destination=destination,
            arguments={"task_name": task_name, "rate_limit": rate_limit},
            **kwargs,
        )

    def add_consumer(
        self,
        queue: str,
        exchange: str | None = None,
        exchange_type: str = "direct",
        routing_key: str | None = None,
        options: Mapping[str, Any] | None = None,
        destination: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Have workers consume from one more queue."""
        return self.broadcast(
            "add_consumer",
            destination=destination,
            arguments={
                "queue": queue,
                "exchange": exchange,
                "exchange_type": exchange_type,
                "routing_key": routing_key,
                **(options or {}),
            },
            **kwargs,
        )

    def cancel_consumer(self, queue: str, destination: Any = None, **kwargs: Any) -> Any:
        """Have workers stop consuming from a queue."""
        return self.broadcast(
            "cancel_consumer", destination=destination, arguments={"queue": queue}, **kwargs
        )

    def time_limit(
        self,
        task_name: str,
        soft: float | None = None,
        hard: float | None = None,
        destination: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Change the time limits of a task, in seconds."""
        return self.broadcast(
            "time_limit",
            destination=destination,
            arguments={"task_name": task_name, "hard": hard, "soft": soft},
            **kwargs,
        )

    def enable_events(self, destination: Any = None, **kwargs: Any) -> Any:
        """Have workers send task events."""
        return self.broadcast("enable_events", destination=destination, arguments={}, **kwargs)

    def disable_events(self, destination: Any = None, **kwargs: Any) -> Any:
        """Have workers stop sending task events."""
        return self.broadcast("disable_events", destination=destination, arguments={}, **kwargs)

    def pool_grow(self, n: int = 1, destination: Any = None, **kwargs: Any) -> Any:
        """Have workers add ``n`` pool processes."""
        return self.broadcast("pool_grow", destination=destination, arguments={"n": n}, **kwargs)

    def pool_shrink(self, n: int = 1, destination: Any = None, **kwargs: Any) -> Any:
        """Have workers remove ``n`` pool processes."""
        return self.broadcast("pool_shrink", destination=destination, arguments={"n": n}, **kwargs)

    def autoscale(self, max: int, min: int, destination: Any = None, **kwargs: Any) -> Any:
        """Change the limits that workers scale their pools between."""
        return self.broadcast(
            "autoscale", destination=destination, arguments={"max": max, "min": min}, **kwargs
        )

    def shutdown(self, destination: Any = None, **kwargs: Any) -> Any:
        """Have workers shut down, warmly."""
        return self.broadcast("shutdown", destination=destination, arguments={}, **kwargs)

    def pool_restart(
        self,
        modules: Any = None,
        reload: bool = False,
        reloader: Any = None,
        destination: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Have workers import modules and restart their pools."""
        return self.broadcast(
            "pool_restart",
            destination=destination,
            arguments={"modules": modules, "reload": reload, "reloader": reloader},
            **kwargs,
        )

    def heartbeat(self, destination: Any = None, **kwargs: Any) -> Any:
        """Have workers send a heartbeat now."""
        return self.broadcast("heartbeat", destination=destination, arguments={}, **kwargs)

    def broadcast(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        destination: Any = None,
        connection: Any = None,
        reply: bool = False,
        timeout: float = 1.0,
        limit: int | None = None,
        callback: Callable[[Any], Any] | None = None,
        channel: Any = None,
        pattern: str | None = None,
        matcher: str | None = None,
        **extra_kwargs: Any,
    ) -> Any:
        """Send a command to workers.

        - destination: node names, all by default; pattern, matcher: choose nodes.
        - reply: wait for answers, ``timeout`` seconds at most or for ``limit`` of them.
        - callback: called with each answer.

        Returns the list of answers, when asked for. Raises ValueError when ``destination`` is
        not a list.
        """
        if destination is not None and isinstance(destination, str):
            raise ValueError(
                f"destination must be a list of node names, not the string {destination!r}"
            )
        all_arguments = {**(arguments or {}), **extra_kwargs}
        with _given(connection) if connection else self.app.connection_or_acquire(None) as conn:
            call = self.mailbox(conn)._broadcast
            choice: dict[str, Any] = {"channel": channel}
            if pattern and matcher:
                # Only sent where it matters: older workers don't know them.
                choice.update(pattern=pattern, matcher=matcher)
            with naming_in_errors(conn):
                return call(
                    command, all_arguments, destination, reply, timeout, limit, callback, **choice
                )


class _given:  # noqa: N801 - reads like a function
    """Context of a connection that somebody else closes."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def __enter__(self) -> Any:
        return self.connection

    def __exit__(self, *exc_info: Any) -> None:
        return None


class _LazyPool:
    """The app's producer pool, looked up when it is used."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def acquire(self, *args: Any, **kwargs: Any) -> Any:
        """Return a producer from the pool."""
        return self.app.amqp.producer_pool.acquire(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.app.amqp.producer_pool, name)
