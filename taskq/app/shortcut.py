"""Calls without options, sent the short way: as a copy of a message that was made the long way.

Whatever of a call is the same each time is computed once for the task. `Task.apply_async` takes
the short way as long as nothing asks for the long one: no option beyond the place in a workflow,
no receiver of a publishing signal, no route, no running task, nothing overridden or replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from json.encoder import encode_basestring_ascii
from typing import Any
from weakref import ref

from taskq import signals
from taskq._state import get_current_worker_task
from taskq.app.messages import check_arguments
from taskq.app.producer import CHANNEL_OPTIONS, Producer, is_kombus_json
from taskq.app.sending import Sending
from taskq.app.task.calling import TaskCalls
from taskq.app.unreachable import naming_the_broker
from taskq.utils.jsontext import encode_json
from taskq.utils.nodenames import anon_nodename
from taskq.utils.saferepr import saferepr
from taskq.utils.uuids import uuid

__all__ = ("Shortcut",)

#: Header of a message -> the option of a call that says its place in a workflow there.
_PLACES = {"group": "group_id", "group_index": "group_index", "parent_id": "parent_id"}
#: What differs between the messages of a task.
_GAPS = ("id", "root_id", *_PLACES, "reply_to", "argsrepr", "kwargsrepr")
#: The links of a call without any; the fourth is the body of the chord it is in.
_LINKS = {"callbacks": None, "errbacks": None, "chain": None}
_NO_LINKS = encode_json({**_LINKS, "chord": None})

#: What `Producer.publish_task` takes besides the properties of a message.
_PUBLISHING = frozenset(
    ("exchange", "routing_key", "serializer", "compression", "delivery_mode", "declare")
) | {"retry", "retry_policy"}


class _Recorder:
    """Stands for a producer, and keeps the message instead of publishing it."""

    options: dict[str, Any]

    def publish(self, body: Any, **options: Any) -> None:
        self.options = options


class Shortcut:
    """The short way for the calls of one task, as long as it leads where the long one does.

    - task: the task, bound to its app.
    """

    __slots__ = (
        "_amqp",
        "_app",
        "_builder",
        "_exec_options",
        "_headers",
        "_ignore_result",
        "_learnt",
        "_properties",
        "_publishing",
        "_router",
        "_sender",
        "_stencil",
        "_task",
        "_usable",
    )

    def __init__(self, task: Any) -> None:
        app = task._get_app()
        amqp = app.amqp
        self._task = task
        self._app = app
        self._amqp = amqp
        # Each is made anew when a setting changes that it depends on.
        self._sender = amqp.send_task_message
        self._builder = amqp.create_task_message
        self._router = amqp.router
        self._exec_options = task._get_exec_options()
        self._ignore_result = task.ignore_result
        self._usable = self._is_plain()
        self._learnt = False
        #: What a channel writes the task's messages of a batch with, and the channel.
        self._stencil: tuple[Any, Any] = (None, None)

    def _is_plain(self) -> bool:
        """Return whether the calls of the task can be copies of each other."""
        app, conf, task = self._app, self._app.conf, type(self._task)
        return (
            task.shadow_name is TaskCalls.shadow_name
            and not conf.task_always_eager
            and not conf.task_send_sent_event
            and conf.task_protocol == 2
            and self._amqp.Producer is Producer
            and self._exec_options["expires"] is None
            # Others want bodies made plain.
            and (self._exec_options["serializer"] or conf.task_serializer) == "json"
            and not self._router.routes
            and self._builder == self._amqp.as_task_v2
            and self._sender is self._amqp.own_sender
            and type(app).send_task is Sending.send_task
        )

    def _learn(self) -> None:
        """Make a message the long way, and keep what does not change from call to call.

        Only when one is about to be sent: until then somebody may listen to what is published, and
        this is no publishing.
        """
        task, options = self._task, dict(self._exec_options)
        limits = {name: options.pop(name) for name in ("time_limit", "soft_time_limit")}
        del options["expires"]
        options = self._router.route(options, task.name, (), {}, task_type=task)
        message = self._builder(
            "", task.name, (), {}, ignore_result=bool(self._ignore_result), **limits
        )
        recorder = _Recorder()
        self._sender(recorder, task.name, message, **options)
        recorded = recorder.options
        self._headers: dict[str, Any] = recorded.pop("headers")
        self._publishing = {key: recorded.pop(key) for key in _PUBLISHING & recorded.keys()}
        self._properties = recorded
        self._learnt = True

    @property
    def current(self) -> bool:
        """Whether nothing has changed that the short way was made of."""
        amqp = self._app.amqp
        made = amqp.__dict__
        task = self._task
        return (
            amqp is self._amqp
            and made.get("send_task_message") is self._sender
            and made.get("create_task_message") is self._builder
            and made.get("router") is self._router
            and task._exec_options is self._exec_options
            and task.ignore_result is self._ignore_result
        )

    def takes(self, producer: Any) -> bool:
        """Return whether a call with this producer, None for the pool's, may go the short way."""
        app = self._app
        return (
            self._usable
            and (producer is None or isinstance(producer, Producer))
            and not self._router.routes
            and not signals.before_task_publish.receivers
            and not signals.after_task_publish.receivers
            and "send_task" not in app.__dict__
            and type(app).send_task is Sending.send_task
            and get_current_worker_task() is None
        )

    def send(
        self, args: Any, kwargs: Any, task_id: str | None, producer: Any, place: Mapping[str, Any]
    ) -> Any:
        """Send a call and return the handle on its result.

        - task_id: a new one by default; producer: one from the pool by default.
        - place: options that say where in a workflow the call is.

        Raises as `Task.apply_async`; EncodeError before anything is sent.
        """
        if not self._learnt:
            self._learn()
        args, kwargs = check_arguments(args, kwargs)
        task_id = task_id or uuid()
        if producer is None or not self._add_to_batch(producer, task_id, args, kwargs, place):
            self._send_alone(producer, task_id, args, kwargs, place)
        result = self._task.AsyncResult(task_id)
        result.ignored = bool(self._ignore_result)
        return result

    # -- one message ----------------------------------------------------------------------

    def _send_alone(
        self, producer: Any, task_id: str, args: Any, kwargs: Any, place: Mapping[str, Any]
    ) -> None:
        """Send a call as a copy of the message that was made the long way."""
        amqp, get = self._amqp, place.get
        headers = {
            **self._headers,
            "id": task_id,
            "group": get("group_id"),
            "group_index": get("group_index"),
            "root_id": get("root_id") or task_id,
            "parent_id": get("parent_id"),
            "argsrepr": saferepr(args, amqp.argsrepr_maxsize, amqp.repr_maxlevels),
            "kwargsrepr": (
                saferepr(kwargs, amqp.kwargsrepr_maxsize, amqp.repr_maxlevels) if kwargs else "{}"
            ),
            "origin": anon_nodename(),
        }
        links = {**_LINKS, "chord": get("chord")}
        properties = {
            **self._properties,
            "correlation_id": task_id,
            "reply_to": get("reply_to") or self._app.thread_oid,
        }
        if producer is not None:
            self._publish(producer, task_id, (args, kwargs, links), headers, properties)
            return
        pooled = amqp.producer_pool.acquire(block=True)
        try:
            self._publish(pooled, task_id, (args, kwargs, links), headers, properties)
        finally:
            pooled.release()

    def _publish(
        self,
        producer: Any,
        task_id: str,
        body: Any,
        headers: dict[str, Any],
        properties: dict[str, Any],
    ) -> None:
        try:
            if not self._ignore_result:
                self._app.backend.on_task_call(producer, task_id)
            producer.publish_task(body, headers=headers, properties=properties, **self._publishing)
        except OSError:
            with naming_the_broker(producer.connection):
                raise

    # -- many messages in one go ----------------------------------------------------------

    def _add_to_batch(
        self, producer: Any, task_id: str, args: Any, kwargs: Any, place: Mapping[str, Any]
    ) -> bool:
        """Write a call's message with a stencil; False if there is none, or it can't be written."""
        channel = producer.stencils_for if isinstance(producer, Producer) else None
        if channel is None or not is_kombus_json(self._publishing["serializer"]):
            return False
        known, stencil = self._stencil
        if known is None or known() is not channel:
            stencil = self._cut_stencil(producer, channel)
            self._stencil = ref(channel), stencil
        if stencil is None:
            return False
        amqp, get = self._amqp, place.get
        chord = get("chord")
        try:
            links = _NO_LINKS if chord is None else encode_json({**_LINKS, "chord": chord})
            body = f"[{encode_json(args)}, {encode_json(kwargs) if kwargs else '{}'}, {links}]"
            texts = {
                "id": encode_basestring_ascii(task_id),
                "root_id": encode_basestring_ascii(get("root_id") or task_id),
                "reply_to": encode_basestring_ascii(get("reply_to") or self._app.thread_oid),
                "argsrepr": encode_basestring_ascii(
                    saferepr(args, amqp.argsrepr_maxsize, amqp.repr_maxlevels)
                ),
                "kwargsrepr": encode_basestring_ascii(
                    saferepr(kwargs, amqp.kwargsrepr_maxsize, amqp.repr_maxlevels)
                )
                if kwargs
                else '"{}"',
            }
            for header, option in _PLACES.items():
                texts[header] = _text(get(option))
        except Exception:
            return False  # the other way says what is wrong with it
        filled = stencil.filled(body.encode(), texts)
        if not self._ignore_result:
            self._app.backend.on_task_call(producer, task_id)
        producer.add_filled(filled)
        return True

    def _cut_stencil(self, producer: Any, channel: Any) -> Any:
        """Return a stencil for this task's messages, made of one of them; None if there is none."""
        publishing = self._publishing
        if publishing["compression"] or not self._properties.keys().isdisjoint(CHANNEL_OPTIONS):
            return None
        gaps = {name: f"{uuid()} {name}" for name in _GAPS}
        headers = {**self._headers, "origin": anon_nodename()}
        headers.update((name, text) for name, text in gaps.items() if name != "reply_to")
        properties = {
            **self._properties,
            "correlation_id": gaps["id"],
            "reply_to": gaps["reply_to"],
        }
        with producer.collecting() as drafts:
            producer.publish_task("", headers=headers, properties=properties, **publishing)
        (draft,) = drafts
        return channel.stencil(*draft.prepared(channel), gaps)


def _text(value: Any) -> str:
    """Return a header as JSON."""
    if value is None:
        return "null"
    return encode_basestring_ascii(value) if value.__class__ is str else encode_json(value)
