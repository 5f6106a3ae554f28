"""The step in which workers listen to each other: who is there, and who is elected for a task.

`state` is the cluster as this worker sees it; ``c.gossip.on.node_join`` and its siblings are sets
that extensions add callbacks to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from heapq import heappush
from operator import itemgetter
from typing import Any

from kombu import Consumer
from kombu.exceptions import ContentDisallowed, DecodeError

from taskq import bootsteps
from taskq.events.checking import check_event
from taskq.utils.functional import LRUCache
from taskq.utils.log import get_logger
from taskq.worker.consumer.mingle import Mingle

__all__ = ("Gossip",)

logger = get_logger("celery.worker.consumer.gossip")

#: Elections under way or answered late that are remembered; the oldest go first.
ELECTIONS_MAX = 1000
#: Seconds to wait for requests of all known workers before those that came are answered.
ANSWER_AFTER = 0.5
#: Version of the election's messages.
CONSENSUS_VERSION = 1

Handler = Callable[[Any], Any]


@dataclass(slots=True)
class Listeners:
    """Callbacks, each called with the `taskq.events.state.Worker` that it is about."""

    #: A worker came.
    node_join: set[Handler] = field(default_factory=set)
    #: A worker said good-bye.
    node_leave: set[Handler] = field(default_factory=set)
    #: Nothing was heard of a worker for too long.
    node_lost: set[Handler] = field(default_factory=set)


class Gossip(bootsteps.ConsumerStep):
    """Listens to the events of other workers.

    - without_gossip: don't.
    - interval: seconds between looks for workers that were lost.
    - heartbeat_interval: seconds after which events not read are worth nothing.

    An election, in order: somebody broadcasts the control command; each worker sends an
    ``elect`` event with its logical clock; each answers each of those with an ``elect-ack``; when
    enough answers are in, all know the same winner, the lowest clock, and the winner acts.
    """

    label = "Gossip"
    requires = (Mingle,)  # type: ignore[assignment] # classes as well as their names
    #: Transports whose events reach all workers.
    compatible_transports = {"amqp", "redis", "sqlite"}

    _cons_stamp_fields = itemgetter("id", "clock", "hostname", "pid", "topic", "action", "cver")

    def __init__(
        self,
        c: Any,
        without_gossip: bool = False,
        interval: float = 5.0,
        heartbeat_interval: float = 2.0,
        **kwargs: Any,
    ) -> None:
        self.enabled = not without_gossip and self.compatible_transport(c.app)
        self.app = c.app
        c.gossip = self
        self.Receiver = c.app.events.Receiver
        self.hostname = c.hostname
        self.full_hostname = f"{c.hostname}.{c.pid}"
        self.on = Listeners()
        self.timer = c.timer
        self.interval = interval
        self.heartbeat_interval = heartbeat_interval
        self.clock = c.app.clock
        self.dispatcher: Any = None
        self._tref: Any = None
        self.state: Any = None
        if self.enabled:
            # Only workers matter; their task events do not come here.
            self.state = c.app.events.State(
                on_node_join=self.on_node_join,
                on_node_leave=self.on_node_leave,
                max_tasks_in_memory=1,
            )
            self.update_state = self.state.event
        #: Id of an election -> heap of (clock, node, topic, action); id -> who has answered.
        self.consensus_requests = LRUCache(ELECTIONS_MAX)
        self.consensus_replies = LRUCache(ELECTIONS_MAX)
        #: Id of an election -> requests not answered yet.
        self._unanswered = LRUCache(ELECTIONS_MAX)
        #: Routing key of an event -> its handler; topic of an election -> what the winner does.
        self.event_handlers: dict[str, Handler] = {
            "worker.elect": self.on_elect,
            "worker.elect.ack": self.on_elect_ack,
        }
        self.election_handlers: dict[str, Handler] = {"task": self.call_task}
        super().__init__(c, **kwargs)

    def compatible_transport(self, app: Any) -> bool:
        """Return whether the broker can do it."""
        with app.connection_for_read() as conn:
            return conn.transport.driver_type in self.compatible_transports

    # -- elections

    def election(self, id: str, topic: str, action: Any = None) -> None:
        """Stand for election.

        - id: of the election; topic: key of ``election_handlers``; action: its argument.
        """
        self.consensus_replies[id] = []
        self.dispatcher.send(
            "worker-elect", id=id, topic=topic, action=action, cver=CONSENSUS_VERSION
        )

    def on_elect(self, event: dict[str, Any]) -> None:
        """A worker stands for election: remember and answer."""
        try:
            id_, clock, hostname, pid, topic, action, _ = self._cons_stamp_fields(event)
        except KeyError as exc:
            logger.error("election request missing field %s: %r", exc, event)
            return
        requests = self.consensus_requests.setdefault(id_, [])
        # The last item never decides the order: two requests of one node may be alike.
        heappush(requests, (clock, f"{hostname}.{pid}", topic, _Action(action)))
        self._unanswered[id_] = self._unanswered.get(id_, 0) + 1
        if len(requests) > self._others():
            self._answer(id_)
        else:
            # An early answer has Celery's workers decide before they know of their own request.
            self.timer.call_after(ANSWER_AFTER, self._answer, (id_,))

    def _answer(self, id_: str) -> None:
        for _ in range(self._unanswered.pop(id_, 0)):
            self.dispatcher.send("worker-elect-ack", id=id_)

    def _others(self) -> int:
        """Return how many other workers are known to be alive."""
        return sum(1 for _ in self.state.alive_workers())

    def on_elect_ack(self, event: dict[str, Any]) -> None:
        """A worker has answered a request; when enough have, the winner is known."""
        id_ = event["id"]
        replies = self.consensus_replies.get(id_)
        if replies is None:
            return  # decided already, or not ours
        replies.append(event["hostname"])
        others = self._others()
        requests = self.consensus_requests.get(id_, ())
        # The number of answers is the one that Celery's workers wait for: they must decide alike.
        if len(replies) < others or len(requests) < min(others + 1, 2):
            return
        self.consensus_requests.pop(id_, None)
        self.consensus_replies.pop(id_, None)
        _, leader, topic, action = requests[0]
        if leader != self.full_hostname:
            logger.info("node %s elected for %r", leader, id_)
            return
        logger.info("I won the election %r", id_)
        handler = self.election_handlers.get(topic)
        if handler is None:
            logger.error("Unknown election topic %r", topic)
        else:
            handler(action.value)

    def call_task(self, task: Any) -> None:
        """Send the task that this worker was elected for.

        - task: its signature, as a dict.
        """
        try:
            self.app.signature(task).apply_async()
        except Exception as exc:
            logger.exception("Could not call task: %r", exc)

    # -- members

    def on_node_join(self, worker: Any) -> None:
        """A worker came."""
        logger.debug("%s joined the party", worker.hostname)
        self._call_handlers(self.on.node_join, worker)

    def on_node_leave(self, worker: Any) -> None:
        """A worker said good-bye."""
        logger.debug("%s left", worker.hostname)
        self._call_handlers(self.on.node_leave, worker)

    def on_node_lost(self, worker: Any) -> None:
        """Nothing was heard of a worker for too long."""
        logger.info("missed heartbeat from %s", worker.hostname)
        self._call_handlers(self.on.node_lost, worker)

    def _call_handlers(self, handlers: Iterable[Handler], *args: Any, **kwargs: Any) -> None:
        for handler in list(handlers):
            try:
                handler(*args, **kwargs)
            except Exception as exc:
                logger.exception("Ignored error from handler %r: %r", handler, exc)

    def periodic(self) -> None:
        """Look for workers that were lost."""
        for hostname, worker in self.state.workers.items():
            if not worker.alive:
                self.state.workers.pop(hostname, None)
                self.on_node_lost(worker)
        if not self.state.workers:
            self._cancel_timer()  # nobody to lose: an idle worker alone is to be left asleep

    # -- the step

    def register_timer(self) -> None:
        """Look for lost workers every ``interval`` seconds."""
        self._cancel_timer()
        self._tref = self.timer.call_repeatedly(self.interval, self.periodic)

    def _cancel_timer(self) -> None:
        if self._tref is not None:
            self._tref.cancel()
            self._tref = None

    def start(self, c: Any) -> None:
        """Begin to listen."""
        super().start(c)
        self.dispatcher = c.event_dispatcher

    def stop(self, c: Any) -> None:
        """Stop listening."""
        self._cancel_timer()
        super().stop(c)

    def shutdown(self, c: Any) -> None:
        """Stop for good."""
        self._cancel_timer()
        super().shutdown(c)

    def get_consumers(self, channel: Any) -> list[Any]:
        """Return the consumer of the workers' events."""
        if self.state.workers:
            self.register_timer()
        receiver = self.Receiver(channel, routing_key="worker.#", queue_ttl=self.heartbeat_interval)
        return [
            Consumer(
                channel,
                queues=[receiver.queue],
                on_message=partial(self.on_message, receiver.event_from_message),
                accept=receiver.accept,
                no_ack=True,
            )
        ]

    def on_message(self, prepare: Callable[[Any], Any], message: Any) -> None:
        """Take over an event.

        - prepare: returns type and event of a message body.
        """
        routing_key = message.delivery_info["routing_key"]
        if not routing_key.startswith("worker."):
            return  # the transport's fanout can't tell them apart
        try:
            handler = self.event_handlers.get(routing_key)
            if handler is not None:
                check_event(message.payload)
                handler(message.payload)
            elif self._sender(message) == self.hostname:
                self.clock.forward()
            else:
                _, event = prepare(message.payload)
                self.update_state(event)
                if self._tref is None:
                    self.register_timer()
        except (DecodeError, ContentDisallowed, TypeError, ValueError, LookupError) as exc:
            # Whatever others send, this worker's tasks go on.
            logger.error("Could not decode event: %r", exc)

    def _sender(self, message: Any) -> str:
        # In a header too, so that our own events needn't be decoded.
        return message.headers.get("hostname") or message.payload["hostname"]  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class _Action:
    """An election's action: of any type, and of no order."""

    value: Any

    def __lt__(self, other: object) -> bool:
        return False
