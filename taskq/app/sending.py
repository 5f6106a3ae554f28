"""Sending tasks by name: from a call's options to a message and its result handle.

A part of `TaskQ`; `Task.apply_async` ends here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from taskq import exceptions
from taskq._state import get_current_worker_task
from taskq.app.delayed import through_delay_queues
from taskq.app.links import links_of
from taskq.app.unreachable import naming_the_broker
from taskq.utils.imports import symbol_by_name
from taskq.utils.log import get_logger
from taskq.utils.time import maybe_make_aware
from taskq.utils.uuids import uuid

logger = get_logger("celery.app.base")

#: Marks an option that was not given, where None has a meaning of its own.
UNSET: Any = object()


class Sending:
    """The part of an app that sends tasks."""

    conf: Any
    amqp: Any
    backend: Any
    tasks: Any
    timezone: Any
    _local: Any
    now: Any
    AsyncResult: Any

    @property
    def thread_oid(self) -> str:
        """Id of this app in this thread, where results are sent to by reply."""
        local = self._local
        try:
            return str(local.oid)
        except AttributeError:
            local.oid = str(symbol_by_name("kombu.common:oid_from")(self, threads=True))
            return str(local.oid)

    def send_task(
        self,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        countdown: float | None = None,
        eta: Any = None,
        task_id: str | None = None,
        producer: Any = None,
        connection: Any = None,
        router: Any = None,
        result_cls: Any = None,
        expires: Any = UNSET,
        publisher: Any = None,
        link: Any = None,
        link_error: Any = None,
        add_to_parent: bool = True,
        group_id: str | None = None,
        group_index: int | None = None,
        retries: int = 0,
        chord: Any = None,
        reply_to: str | None = None,
        time_limit: Any = UNSET,
        soft_time_limit: Any = UNSET,
        root_id: str | None = None,
        parent_id: str | None = None,
        route_name: str | None = None,
        shadow: str | None = None,
        chain: Any = None,
        task_type: Any = None,
        replaced_task_nesting: int = 0,
        **options: Any,
    ) -> Any:
        """Send a task by name; it need not be registered here.

        - countdown: seconds until it may start; eta: the datetime.
        - expires: seconds or datetime; messages not run by then are discarded.
        - connection, producer: to publish with, from the pools by default.
        - router: resolves the destination, the app's by default.
        - add_to_parent: make the result a child of the running task.
        - group_id, group_index, chord, chain, root_id, parent_id: place in a workflow.
        - time_limit, soft_time_limit: in seconds.
        - route_name: name to look for in the routes instead of the task's.
        - options: of the message, see `AMQP.send_task_message`.

        Returns the result handle. Raises as `Task.apply_async`.
        """
        amqp = self.amqp
        task_id = task_id or uuid()
        producer = producer or publisher
        conf = self.conf
        if conf.task_always_eager:
            logger.warning("task_always_eager has no effect on send_task")
        # None leaves it to the task as the worker has it, which may not be registered here.
        asked_to_ignore = ignore_result = options.pop("ignore_result", None)
        if task_type is None and name in self.tasks:
            task_type = self.tasks[name]
        if task_type is not None:
            if ignore_result is None:
                ignore_result = task_type.ignore_result
            if time_limit is UNSET:
                time_limit = task_type.time_limit
            if soft_time_limit is UNSET:
                soft_time_limit = task_type.soft_time_limit
            if expires is UNSET:
                expires = task_type.expires
        time_limit = None if time_limit is UNSET else time_limit
        soft_time_limit = None if soft_time_limit is UNSET else soft_time_limit
        expires = None if expires is UNSET else expires

        parent = get_current_worker_task()
        if parent is not None:
            root_id, parent_id = self._inherit(parent, options, root_id, parent_id)
        options = (router or amqp.router).route(
            options, route_name or name, args, kwargs, task_type=task_type
        )
        if expires is not None:
            expires, options["expiration"] = self._expiry(task_id, expires)
        if eta is not None or countdown:
            options = through_delay_queues(self, options, countdown, eta)
        stamped_headers = options.get("stamped_headers")
        message = amqp.create_task_message(
            task_id,
            name,
            args,
            kwargs,
            countdown,
            eta,
            group_id,
            group_index,
            expires,
            retries,
            chord,
            links_of("link", link),
            links_of("link_error", link_error),
            reply_to or self.thread_oid,
            time_limit,
            soft_time_limit,
            conf.task_send_sent_event,
            root_id,
            parent_id,
            shadow,
            chain,
            ignore_result=None if asked_to_ignore is None else bool(asked_to_ignore),
            replaced_task_nesting=replaced_task_nesting,
            **self._message_options(options, stamped_headers),
        )
        if connection is not None:
            producer = amqp.Producer(connection, auto_declare=False)
        try:
            self._publish_with(producer, task_id, name, message, ignore_result, options)
        except exceptions.EncodeError as exc:
            from taskq.app.unserialisable import explained, without_signatures

            serializer = options.get("serializer") or conf.task_serializer
            simpler = without_signatures(message, serializer)
            if simpler is None:
                embed = message.body[2] if isinstance(message.body, tuple) else None
                raise explained(exc, name, args, kwargs, serializer, task_type, embed) from exc
            self._publish_with(producer, task_id, name, simpler, ignore_result, options)
        result = (result_cls or self.AsyncResult)(task_id)
        result.ignored = bool(ignore_result)
        if add_to_parent and parent is not None:
            parent.add_trail(result)
        return result

    def _publish_with(
        self,
        producer: Any,
        task_id: str,
        name: str,
        message: Any,
        ignore_result: Any,
        options: Mapping[str, Any],
    ) -> None:
        """Publish with the given producer, or with one from the pool."""
        if producer is not None:
            self._publish(producer, task_id, name, message, ignore_result, options)
            return
        pooled = self.amqp.producer_pool.acquire(block=True)
        try:
            self._publish(pooled, task_id, name, message, ignore_result, options)
        finally:
            pooled.release()

    def _publish(
        self,
        producer: Any,
        task_id: str,
        name: str,
        message: Any,
        ignore_result: Any,
        options: Mapping[str, Any],
    ) -> None:
        try:
            if not ignore_result:
                self.backend.on_task_call(producer, task_id)
            self.amqp.send_task_message(producer, name, message, **options)
        except OSError:
            with naming_the_broker(producer.connection):
                raise

    def _inherit(
        self, parent: Any, options: dict[str, Any], root_id: str | None, parent_id: str | None
    ) -> tuple[str | None, str | None]:
        """Fill in what a task sent by a running task takes over from it."""
        request = parent.request
        if not root_id:
            root_id = request.root_id or request.id
        if not parent_id:
            parent_id = request.id
        if self.conf.task_inherit_parent_priority and request.delivery_info:
            options.setdefault("priority", request.delivery_info.get("priority"))
        return root_id, parent_id

    def _expiry(self, task_id: str, expires: Any) -> tuple[Any, float]:
        """Return the expiry and the seconds until then, which brokers can enforce too."""
        if isinstance(expires, str):
            expires = datetime.fromisoformat(expires)
        if isinstance(expires, datetime):
            aware = maybe_make_aware(expires, self.timezone)
            seconds = (aware - self.now()).total_seconds()
        else:
            seconds = expires
        if seconds < 0:
            logger.warning(
                "%s has an expiration date in the past (%ss ago). We assume this is intended "
                "and so the message expires at once.",
                task_id,
                -seconds,
            )
            seconds = 0
        return expires, seconds

    @staticmethod
    def _message_options(options: dict[str, Any], stamped_headers: Any) -> dict[str, Any]:
        """Take the options that go into the message's headers out of those for publishing."""
        chosen: dict[str, Any] = {}
        for key in ("origin", "argsrepr", "kwargsrepr", "now", "timezone"):
            if key in options:
                chosen[key] = options.pop(key)
        if stamped_headers:
            chosen["stamped_headers"] = options.pop("stamped_headers")
            for header in stamped_headers:
                if header in options:
                    chosen[header] = options.pop(header)
        else:
            options.pop("stamped_headers", None)
        return chosen
