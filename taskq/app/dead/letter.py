"""One dead letter: the message as it was, and why it is here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any
from uuid import uuid4

from kombu.utils.encoding import ensure_bytes

from taskq.utils.saferepr import saferepr
from taskq.utils.text import truncate

__all__ = ("DeadLetter", "Epitaph", "Reason")

#: Header of a dead letter that holds its epitaph.
HEADER = "taskq-dead-letter"
#: Longest traceback and exception kept, in characters: headers must fit into a frame of AMQP.
TRACEBACK_LENGTH, EXCEPTION_LENGTH = 16_384, 1_024
#: Header with the compression of a body that could not be unpacked.
STILL_PACKED = "taskq-still-packed"
#: Headers that belong to one delivery of the message, and not to the message.
_OF_DELIVERIES = (
    HEADER,
    "redelivered",
    "x-delivery-count",
    "x-death",
    "x-taskq-deliveries",
    # The body was decompressed when it came.
    "compression",
)
#: Properties that belong to one delivery, or that publishing sets again.
_NOT_KEPT = (
    "application_headers",
    "content_type",
    "content_encoding",
    "headers",
    "delivery_info",
    "delivery_tag",
    "body_encoding",
    "expiration",
)


class Reason(StrEnum):
    """Why a message is a dead letter."""

    #: The task failed and is not retried.
    FAILED = "failed"
    #: The task raised `Reject`, not to be put back to the queue.
    REJECTED = "rejected"
    #: It was delivered ``task_delivery_limit`` times, and did not end.
    DELIVERY_LIMIT = "delivery-limit"
    #: No task could be made of it: not readable, not registered, or malformed.
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Epitaph:
    """What a dead letter tells beside the message.

    - key: name of the letter, unlike that of any other.
    - reason: value of a `Reason`.
    - exception, traceback: what was raised, shortened if long.
    - hostname: node name of the worker; died: unix time.
    - exchange, routing_key, queue: where the message came from; "" if not known.
    - deliveries: how often it was delivered, as far as that was counted.
    """

    key: str
    reason: str
    exception: str
    traceback: str
    hostname: str
    died: float
    exchange: str
    routing_key: str
    queue: str
    deliveries: int

    @classmethod
    def of(
        cls,
        message: Any,
        reason: Reason,
        exc: BaseException | None,
        traceback: Any,
        *,
        hostname: str,
        queue: str,
        deliveries: int,
    ) -> Epitaph:
        """Return one for a received message that is dead now."""
        info = message.delivery_info or {}
        return cls(
            key=uuid4().hex,
            reason=reason.value,
            exception=truncate(saferepr(exc) if exc is not None else "", EXCEPTION_LENGTH),
            traceback=_end_of(str(traceback or ""), TRACEBACK_LENGTH),
            hostname=hostname,
            died=time.time(),
            exchange=str(info.get("exchange") or ""),
            routing_key=str(info.get("routing_key") or ""),
            queue=queue,
            deliveries=deliveries,
        )

    def header(self) -> dict[str, Any]:
        """Return it as the value of a message header."""
        return asdict(self)

    @classmethod
    def from_header(cls, value: Any) -> Epitaph:
        """Return one from a header; what is missing is empty: others may write to the queue too."""
        given = value if isinstance(value, Mapping) else {}
        empty: dict[str, Any] = {"died": 0.0, "deliveries": 0}
        return cls(
            **{
                field.name: given.get(field.name, empty.get(field.name, ""))
                for field in fields(cls)
            }
        )


class DeadLetter:
    """A message on the dead letter queue.

    - message: as the broker delivered it.
    """

    def __init__(self, message: Any) -> None:
        self.headers: dict[str, Any] = dict(message.headers or {})
        self.epitaph = Epitaph.from_header(self.headers.get(HEADER))
        self.body: bytes = ensure_bytes(message.body if message.body is not None else b"")
        self.content_type: str | None = message.content_type
        self.content_encoding: str | None = message.content_encoding
        self.properties = kept_properties(message)
        self._message = message

    @property
    def key(self) -> str:
        """Name of the letter; for messages that others put there it is made from the content."""
        return self.epitaph.key or f"{self.task_id or 'no-id'}"

    @property
    def task_id(self) -> str | None:
        """Id of the task, None if the message had none."""
        return self.headers.get("id")

    @property
    def task(self) -> str | None:
        """Name of the task, None if the message had none."""
        return self.headers.get("task")

    @property
    def retries(self) -> int:
        """How often the task was retried."""
        return int(self.headers.get("retries") or 0)

    def is_called(self, name: str) -> bool:
        """Tell whether ``name`` is the key of the letter or the id of its task."""
        return name in {self.key, self.task_id}

    def fresh_headers(self) -> dict[str, Any]:
        """Return the message's headers for a new life: no retries yet, nothing expired."""
        fresh = kept_headers(self._message)
        if "retries" in fresh:
            fresh["retries"] = 0
        for name in ("eta", "expires"):
            if fresh.get(name) is not None:
                fresh[name] = None
        return fresh

    def as_dict(self) -> dict[str, Any]:
        """Return what there is to show, without the body."""
        return {
            "key": self.key,
            "id": self.task_id,
            "task": self.task,
            "args": self.headers.get("argsrepr"),
            "kwargs": self.headers.get("kwargsrepr"),
            "retries": self.retries,
            **{name: value for name, value in self.epitaph.header().items() if name != "key"},
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.task}[{self.task_id}] {self.epitaph.reason}>"


def kept_headers(message: Any) -> dict[str, Any]:
    """Return the headers of a message without those of its delivery."""
    headers = message.headers or {}
    kept = {name: value for name, value in headers.items() if name not in _OF_DELIVERIES}
    if getattr(message, "errors", None) and "compression" in headers:
        kept[STILL_PACKED] = headers["compression"]
    return kept


def kept_properties(message: Any) -> dict[str, Any]:
    """Return the properties of a message without those of its delivery."""
    return {
        name: value for name, value in (message.properties or {}).items() if name not in _NOT_KEPT
    }


def _end_of(text: str, length: int) -> str:
    return text if len(text) <= length else f"…{text[1 - length :]}"
