"""The request: what a running task can know about the call it serves.

The tracer makes one per execution from the message's headers; ``task.request`` returns it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = ("NO_LINKS", "Context")

#: Headers that the broker adds and that a retry must not send again.
_BROKER_HEADERS = ("x-death", "x-first-death-exchange", "x-first-death-queue", "x-delivery-count")


class Context:
    """Information and state of one task execution.

    Attributes not given are the class's defaults, so that every documented attribute is there in
    worker, eager and direct calls alike.
    """

    _children: list[Any] | None = None
    #: 1 while the tracer calls a task with a ``__call__`` of its own; see `Task.__call__`.
    _protected = 0
    #: A tracer runs it, which sends its retries once their state is stored.
    _traced = False
    #: It runs on a loop among others: what would block it is left to the tracer.
    _shares_loop = False
    #: Each `Retry` whose message the tracer is to send.
    _unsent_retries: tuple[Any, ...] = ()
    args: Any = None
    callbacks: Any = None
    called_directly = True
    chain: Any = None
    chord: Any = None
    correlation_id: str | None = None
    delivery_info: Any = None
    errbacks: Any = None
    eta: str | None = None
    expires: Any = None
    group: str | None = None
    group_index: int | None = None
    headers: Any = None
    hostname: str | None = None
    id: str | None = None
    ignore_result = False
    is_eager = False
    kwargs: Any = None
    logfile: str | None = None
    loglevel: Any = None
    origin: str | None = None
    parent_id: str | None = None
    properties: Any = None
    replaced_task_nesting = 0
    reply_to: str | None = None
    retries = 0
    root_id: str | None = None
    shadow: str | None = None
    soft_time_limit: float | None = None
    stamped_headers: Any = None
    stamps: Any = None
    taskset: str | None = None  # the group's id in protocol 1
    time_limit: float | None = None
    timelimit: Any = None
    utc: bool | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.update(*args, **kwargs)
        if self.headers is None:
            self.headers = self._custom_headers()

    def _custom_headers(self) -> dict[str, Any] | None:
        """Return the message headers that are not part of the protocol."""
        state = self.__dict__
        extra = state.keys() - _KNOWN
        return {key: state[key] for key in extra} if extra else None

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set attributes, as ``dict.update`` takes them."""
        self.__dict__.update(*args, **kwargs)

    def clear(self) -> None:
        """Forget everything that was set."""
        self.__dict__.clear()

    def get(self, key: str, default: Any = None) -> Any:
        """Return an attribute, ``default`` when there is none of that name."""
        return getattr(self, key, default)

    def __repr__(self) -> str:
        return f"<Context: {vars(self)!r}>"

    def as_execution_options(self) -> dict[str, Any]:
        """Return the options for `Task.apply_async` that make a call like this one."""
        limit_hard, limit_soft = self.timelimit or (None, None)
        return {
            "task_id": self.id,
            "root_id": self.root_id,
            "parent_id": self.parent_id,
            "group_id": self.group,
            "group_index": self.group_index,
            "shadow": self.shadow,
            "chord": self.chord,
            "chain": self.chain,
            "link": self.callbacks,
            "link_error": self.errbacks,
            "expires": self.expires,
            "soft_time_limit": limit_soft,
            "time_limit": limit_hard,
            "headers": self._headers_to_send(),
            "retries": self.retries,
            "reply_to": self.reply_to,
            "replaced_task_nesting": self.replaced_task_nesting,
            "origin": self.origin,
        }

    def _headers_to_send(self) -> dict[str, Any]:
        headers = dict(self.headers or {})
        for name in _BROKER_HEADERS:
            headers.pop(name, None)
        if self.stamped_headers:
            headers["stamped_headers"] = self.stamped_headers
            headers["stamps"] = self.stamps or {}
        return headers

    @property
    def children(self) -> list[Any]:
        """Results of the tasks that this one has sent."""
        # Made on first use: few tasks send others.
        if self._children is None:
            self._children = []
        return self._children

    @children.setter
    def children(self, children: list[Any]) -> None:
        self._children = children


#: The calls that follow a task. They come in the body, where they may be signed: whoever makes a
#: context of headers puts this over them, or a forged header would have a worker send (and sign)
#: calls of somebody else's choice.
NO_LINKS: Mapping[str, None] = MappingProxyType(
    {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
)

#: Everything in the protocol's headers and in a request that is not a custom header.
_KNOWN = frozenset(
    {name for name in vars(Context) if not name.startswith("__")}
    | {
        "lang",
        "task",
        "argsrepr",
        "kwargsrepr",
        "compression",
        "redelivered",
        "content_type",
        "content_encoding",
        "meth",
    }
)


def request_from(mapping: Mapping[str, Any]) -> Context:
    """Return a Context with these attributes, without looking for custom headers."""
    context = Context.__new__(Context)
    context.__dict__.update(mapping)
    return context
