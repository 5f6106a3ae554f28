"""The queues an app knows, and those its worker consumes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kombu import Exchange, Queue
from kombu.utils.functional import maybe_list

from taskq.utils.text import indent as textindent

__all__ = ("Queues",)

#: One line of the worker's banner.
_QUEUE_FORMAT = ".> {0.name:<16} exchange={0.exchange.name}({0.exchange.type}) key={0.routing_key}"


class Queues(dict[str, Queue]):
    """Mapping of queue name to Queue; a missing one is made up when that is allowed.

    - queues: Queue objects, or a mapping of name to their options.
    - default_exchange: exchange of queues that name none.
    - create_missing: whether asking for an unknown name makes a queue of that name.
    - create_missing_queue_type: ``x-queue-type`` of such queues, e.g. ``"quorum"``.
    - create_missing_queue_exchange_type: exchange type of such queues.
    - autoexchange: function of a name that returns the exchange of such queues.
    - max_priority: ``x-max-priority`` of every queue that sets none.
    - default_routing_key: routing key of queues that name none.
    """

    #: Set when the worker was told which queues to consume from.
    _consume_from: dict[str, Queue] | None = None

    def __init__(
        self,
        queues: Any = None,
        default_exchange: Exchange | None = None,
        create_missing: bool = True,
        create_missing_queue_type: str | None = None,
        create_missing_queue_exchange_type: str | None = None,
        autoexchange: Any = None,
        max_priority: int | None = None,
        default_routing_key: str | None = None,
    ) -> None:
        super().__init__()
        self.aliases: dict[str, Queue] = {}
        #: Names of queues that were made up: messages go there, nobody asked to consume from them.
        self._made_up: set[str] = set()
        self.default_exchange = default_exchange
        self.default_routing_key = default_routing_key
        self.create_missing = create_missing
        self.create_missing_queue_type = create_missing_queue_type
        self.create_missing_queue_exchange_type = create_missing_queue_exchange_type
        self.autoexchange = Exchange if autoexchange is None else autoexchange
        self.max_priority = max_priority
        if isinstance(queues, Mapping):
            for name, options in sorted(queues.items()):
                if isinstance(options, Queue):
                    self.add(options)
                else:
                    self.add(name, **options)
        else:
            for queue in maybe_list(queues) or ():
                self.add(queue)

    def __getitem__(self, name: str) -> Queue:
        try:
            return self.aliases[name]
        except KeyError:
            return dict.__getitem__(self, name)

    def __setitem__(self, name: str, queue: Queue) -> None:
        if self.default_exchange is not None and not queue.exchange:
            queue.exchange = self.default_exchange
        dict.__setitem__(self, name, queue)
        if queue.alias:
            self.aliases[queue.alias] = queue

    def __missing__(self, name: str) -> Queue:
        if not self.create_missing:
            raise KeyError(name)
        queue = self.add(self.new_missing(name))
        self._made_up.add(queue.name)
        return queue

    def add(self, queue: Any, **kwargs: Any) -> Queue:
        """Add a queue, given as a Queue or as a name and its options, and return it."""
        if isinstance(queue, Queue):
            return self._add(queue)
        return self.add_compat(queue, **kwargs)

    def add_compat(self, name: str, **options: Any) -> Queue:
        """Add a queue from options in the form of the ``task_queues`` dict."""
        # ``binding_key`` is the older spelling.
        options.setdefault("routing_key", options.get("binding_key"))
        if options["routing_key"] is None:
            options["routing_key"] = name
        return self._add(Queue.from_dict(name, **options))

    def _add(self, queue: Queue) -> Queue:
        if queue.exchange is None or queue.exchange.name == "":
            queue.exchange = self.default_exchange
        if not queue.routing_key:
            queue.routing_key = self.default_routing_key
        if self.max_priority is not None:
            self._set_max_priority(queue)
        self[queue.name] = queue
        self._made_up.discard(queue.name)
        return queue

    def _set_max_priority(self, queue: Queue) -> None:
        arguments = dict(queue.queue_arguments or {})
        if "x-max-priority" not in arguments and queue.max_priority is None:
            arguments["x-max-priority"] = self.max_priority
            queue.queue_arguments = arguments

    def format(self, indent: int = 0, indent_first: bool = True) -> str:
        """Return the list of consumed queues as lines for the banner."""
        active = self.consume_from
        if not active:
            return ""
        lines = [_QUEUE_FORMAT.format(queue) for _, queue in sorted(active.items())]
        if indent_first:
            return textindent("\n".join(lines), indent)
        return "\n".join([lines[0], textindent("\n".join(lines[1:]), indent)]).rstrip("\n")

    def select_add(self, queue: Any, **kwargs: Any) -> Queue:
        """Add a queue and consume from it too, whatever was selected before."""
        added = self.add(queue, **kwargs)
        if self._consume_from is not None:
            self._consume_from[added.name] = added
        return added

    def select(self, include: str | Iterable[str] | None) -> None:
        """Consume from these queues only. Raises KeyError for one that is not known."""
        if include:
            self._consume_from = {name: self[name] for name in maybe_list(include) or ()}

    def deselect(self, exclude: str | Iterable[str] | None) -> None:
        """Don't consume from these queues."""
        if not exclude:
            return
        excluded = list(maybe_list(exclude) or ())
        if self._consume_from is None:
            # Everything is consumed from so far: select all others.
            self.select([name for name in self.consume_from if name not in excluded])
            return
        for name in excluded:
            self._consume_from.pop(name, None)

    def new_missing(self, name: str) -> Queue:
        """Return a Queue for a name that was asked for but never configured."""
        arguments = (
            {"x-queue-type": self.create_missing_queue_type}
            if self.create_missing_queue_type and self.create_missing_queue_type != "classic"
            else None
        )
        exchange_type = self.create_missing_queue_exchange_type
        exchange = Exchange(name, type=exchange_type) if exchange_type else self.autoexchange(name)
        return Queue(name, exchange, name, queue_arguments=arguments)

    @property
    def consume_from(self) -> dict[str, Queue]:
        """The queues to consume from, by name: those selected, else all that are configured."""
        if self._consume_from is not None:
            return self._consume_from
        if self._made_up:
            return {name: queue for name, queue in self.items() if name not in self._made_up}
        return self
