"""What a message says about its task, read when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from kombu.serialization import prepare_accept_content

from taskq.app.context import NO_LINKS, Context
from taskq.app.trace import decode_body, in_base64
from taskq.exceptions import InvalidTaskError
from taskq.utils.functional import noop
from taskq.utils.nodenames import gethostname
from taskq.utils.time import maybe_iso8601, maybe_make_aware

__all__ = ("Facts",)


class Facts:
    """The message of a request and what can be read from it; see `Request` for the parameters."""

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_app",
        "_body",
        "_connection_errors",
        "_content_encoding",
        "_content_type",
        "_decoded",
        "_eventer",
        "_hostname",
        "_message",
        "_on_ack",
        "_on_reject",
        "_request_dict",
        "_task",
        "_utc",
        "acknowledged",
        "early_ack",
        "id",
        "name",
        "time_start",
        "worker_pid",
    )

    #: (hard, soft) limits as the pool knows them.
    time_limits: tuple[float | None, float | None] = (None, None)
    _already_revoked = False
    _already_cancelled = False
    #: (pool, signal) when the task is to be terminated as soon as it starts.
    _terminate_on_ack: Any = None
    _eta_timer_entry: Any = None
    #: Whether one more message is prefetched for this one, which waits for its ETA.
    _widened_prefetch = True
    _limit_hit = False
    #: Whether the broker is to note that the task is about to start once more.
    counts_delivery = False
    #: Whether the broker holds a message that fails the task if this worker dies.
    leaves_loss = False

    def __init__(
        self,
        message: Any,
        on_ack: Callable[..., Any] = noop,
        hostname: str | None = None,
        eventer: Any = None,
        app: Any = None,
        connection_errors: Any = None,
        request_dict: dict[str, Any] | None = None,
        task: Any = None,
        on_reject: Callable[..., Any] = noop,
        body: Any = None,
        headers: Mapping[str, Any] | None = None,
        decoded: bool = False,
        utc: bool = True,
        maybe_make_aware: Any = maybe_make_aware,
        maybe_iso8601: Any = maybe_iso8601,
        **opts: Any,
    ) -> None:
        if headers is None:
            headers = request_dict if request_dict is not None else message.headers
        self._message = message
        self._request_dict: dict[str, Any] = headers  # type: ignore[assignment]
        self._content_encoding = message.content_encoding
        if body is not None:
            self._body = body
        elif (undecoded := getattr(message, "undecoded", None)) is not None:
            # Whoever runs the task decodes it, not the process that has all of them.
            self._body, self._content_encoding = undecoded, in_base64(message.content_encoding)
        else:
            self._body = message.body
        self._content_type = "application/x-taskq-decoded" if decoded else message.content_type
        self._decoded = decoded
        self._app = app
        self._utc = utc
        self._on_ack = on_ack
        self._on_reject = on_reject
        self._hostname = hostname
        self._eventer = eventer
        self._connection_errors = connection_errors or ()
        self._task = task
        self.id: str = headers["id"]
        self.name: str = headers.get("shadow") or headers["task"]
        self.acknowledged = False
        self.time_start: float | None = None
        self.worker_pid: int | None = None
        #: Acknowledged before it runs; what the pool asks.
        self.early_ack = not task.acks_late if task is not None else True

    @property
    def delivery_info(self) -> dict[str, Any]:
        """How the message came here."""
        info = self._message.delivery_info or {}
        properties = self._message.properties
        return {
            "exchange": info.get("exchange"),
            "routing_key": info.get("routing_key"),
            "priority": properties.get("priority") if properties else None,
            "redelivered": bool(info.get("redelivered", False)),
        }

    @property
    def message(self) -> Any:
        """The broker's message."""
        return self._message

    @property
    def request_dict(self) -> dict[str, Any]:
        """The headers of the message."""
        return self._request_dict

    @property
    def raw_body(self) -> Any:
        """The body in bytes, or in base64 as the broker has it."""
        return self._body

    @property
    def has_decoded_body(self) -> bool:
        """Whether the body came decoded, as that of another protocol does."""
        return self._decoded

    @property
    def body(self) -> Any:
        """The body of the message, as it came."""
        return self._body if self._decoded else self._message.body

    @property
    def app(self) -> Any:
        """The app of the worker."""
        return self._app

    @property
    def utc(self) -> bool:
        """Whether naive times in the message are UTC."""
        return self._utc

    @property
    def content_type(self) -> str:
        """Content type of the body."""
        return self._content_type

    @property
    def content_encoding(self) -> str:
        """Content encoding of the body."""
        return self._message.content_encoding  # type: ignore[no-any-return]

    @property
    def type(self) -> str:
        """Name of the task."""
        return self._request_dict["task"]  # type: ignore[no-any-return]

    @property
    def root_id(self) -> str | None:
        """Id of the first task of the workflow."""
        return self._request_dict.get("root_id")

    @property
    def parent_id(self) -> str | None:
        """Id of the task that sent this one."""
        return self._request_dict.get("parent_id")

    @property
    def argsrepr(self) -> str:
        """Representation of the positional arguments."""
        return self._request_dict.get("argsrepr") or ""

    @property
    def kwargsrepr(self) -> str:
        """Representation of the keyword arguments."""
        return self._request_dict.get("kwargsrepr") or ""

    @property
    def args(self) -> Any:
        """Positional arguments; decodes the body."""
        return self._payload[0]

    @property
    def kwargs(self) -> Any:
        """Keyword arguments; decodes the body."""
        return self._payload[1]

    @property
    def _payload(self) -> tuple[Any, Any, Any]:
        if self._decoded:
            return self._body  # type: ignore[no-any-return]
        accept = (
            prepare_accept_content(self._app.conf.accept_content) if self._app is not None else None
        )
        return decode_body(self._body, self._content_type, self._content_encoding, accept)

    @property
    def _embed(self) -> dict[str, Any]:
        return self._payload[2] or {}

    @property
    def chord(self) -> Any:
        """Body of the chord that the task is in."""
        return self._embed.get("chord")

    @property
    def errbacks(self) -> Any:
        """Signatures called when the task fails."""
        return self._embed.get("errbacks")

    @property
    def group(self) -> str | None:
        """Id of the group that the task is in."""
        return self._request_dict.get("group")

    @property
    def groups(self) -> Any:
        """Ids of the groups that the task is in."""
        return self._request_dict.get("groups")

    @property
    def group_index(self) -> int | None:
        """Position in the group."""
        return self._request_dict.get("group_index")

    @property
    def on_ack(self) -> Callable[..., Any]:
        """Function that acknowledges the message."""
        return self._on_ack

    @property
    def on_reject(self) -> Callable[..., Any]:
        """Function that rejects the message."""
        return self._on_reject

    @on_reject.setter
    def on_reject(self, value: Callable[..., Any]) -> None:
        self._on_reject = value

    @property
    def hostname(self) -> str:
        """Node name of the worker."""
        return self._hostname or gethostname()

    @property
    def ignore_result(self) -> bool:
        """Whether the call wants no result stored."""
        return bool(self._request_dict.get("ignore_result", False))

    @property
    def eventer(self) -> Any:
        """The worker's event dispatcher."""
        return self._eventer

    @eventer.setter
    def eventer(self, eventer: Any) -> None:
        self._eventer = eventer

    @property
    def connection_errors(self) -> Any:
        """What a broken connection raises."""
        return self._connection_errors

    @property
    def task(self) -> Any:
        """The registered task."""
        return self._task

    @property
    def eta(self) -> datetime | None:
        """When the task may start."""
        return self._time("eta")

    @property
    def expires(self) -> datetime | None:
        """After when the task must not start."""
        return self._time("expires")

    def _time(self, header: str) -> datetime | None:
        value = self._request_dict.get(header)
        if value is None:
            return None
        try:
            parsed = maybe_iso8601(value)
        except (AttributeError, ValueError, TypeError) as exc:
            raise InvalidTaskError(f"invalid {header} value {value!r}: {exc}") from exc
        if parsed is None:
            return None
        return maybe_make_aware(parsed, UTC if self._utc else self.tzlocal)

    @property
    def tzlocal(self) -> Any:
        """The app's time zone."""
        return self._app.timezone

    @property
    def store_errors(self) -> bool:
        """Whether failures of this task are stored."""
        task = self._task
        return not task.ignore_result or bool(task.store_errors_even_if_ignored)

    @property
    def task_id(self) -> str:
        """Id of the call."""
        return self.id

    @property
    def task_name(self) -> str:
        """Name of the call, its shadow or the task's."""
        return self.name

    @property
    def reply_to(self) -> str | None:
        """Where results are sent to by reply."""
        return self._message.properties.get("reply_to")  # type: ignore[no-any-return]

    @property
    def replaced_task_nesting(self) -> int:
        """How often the task has been replaced."""
        return self._request_dict.get("replaced_task_nesting", 0)  # type: ignore[no-any-return]

    @property
    def correlation_id(self) -> str | None:
        """Correlation id of the message."""
        return self._message.properties.get("correlation_id")  # type: ignore[no-any-return]

    @property
    def stamped_headers(self) -> list[str]:
        """Names of the headers that are stamps."""
        return self._request_dict.get("stamped_headers") or []

    @property
    def stamps(self) -> dict[str, Any]:
        """The stamps: header -> values."""
        stamps = self._request_dict.get("stamps") or {}
        return {header: stamps.get(header) for header in self.stamped_headers}

    @property
    def _context(self) -> Context:
        """The request as backends and errbacks know it."""
        args, kwargs, embed = self._payload
        return Context(
            {
                **self._request_dict,
                **(embed or NO_LINKS),
                "args": args,
                "kwargs": kwargs,
                "hostname": self.hostname,
                "delivery_info": self.delivery_info,
                "properties": self._message.properties,
                "reply_to": self.reply_to,
                "correlation_id": self.correlation_id,
                "called_directly": False,
            }
        )
