"""Blueprints and steps: programs as parts that are started in the order of their needs.

The worker and its consumer are blueprints; users add steps of their own to them.
"""

from __future__ import annotations

from collections import deque
from operator import itemgetter
from threading import Event
from typing import TYPE_CHECKING, Any, ClassVar

from taskq.utils.graph import DependencyGraph, GraphFormatter
from taskq.utils.imports import instantiate, qualname, symbol_by_name
from taskq.utils.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ("Blueprint", "ConsumerStep", "StartStopStep", "Step")

#: States of a blueprint.
RUN = 0x1
CLOSE = 0x2
TERMINATE = 0x3

logger = get_logger(__name__)


def _label(step: Any) -> str:
    return str(step.name).rpartition(".")[2]


class StepFormatter(GraphFormatter):
    """Draws the graph of a blueprint."""

    blueprint_prefix = "⧉"
    conditional_prefix = "∘"
    blueprint_scheme: ClassVar[dict[str, str]] = {
        "shape": "parallelogram",
        "color": "slategray4",
        "fillcolor": "slategray3",
    }

    def label(self, step: Any) -> Any:
        """Return what a step is shown as."""
        if not step:
            return step
        name = step.label or _label(step)
        return f"{self._get_prefix(step)}{name}"

    def _get_prefix(self, step: Any) -> str:
        if step.last:
            return self.blueprint_prefix
        if step.conditional:
            return self.conditional_prefix
        return ""

    def node(self, obj: Any, **attrs: Any) -> Any:
        """Return a step; the last one stands for the blueprint."""
        scheme = self.blueprint_scheme if obj.last else self.node_scheme
        return self.draw_node(obj, scheme, attrs)

    def edge(self, a: Any, b: Any, **attrs: Any) -> Any:
        """Return an edge; those of the last step are no needs."""
        if a.last:
            attrs.update(arrowhead="none", color="darkseagreen3")
        return self.draw_edge(a, b, self.edge_scheme, attrs)


class Blueprint:
    """Starts and stops steps, each after those that it requires.

    Parameters:
        steps: steps (classes or dotted names) beside those in ``default_steps``.
        name: shown in the log (default: the name of the class).
        on_start: called before the steps start.
        on_close: called before they are closed.
        on_stopped: called after they stopped.

    Life of a blueprint: :meth:`apply` makes the steps, :meth:`start` starts them in order,
    :meth:`stop` stops them in reverse order, :meth:`join` waits until that is done.
    """

    GraphFormatter = StepFormatter

    name: str | None = None
    state: int | None = None
    #: How many steps have been started.
    started = 0
    #: Steps that every blueprint of this class has.
    default_steps: Iterable[Any] = set()
    state_to_name: ClassVar[dict[int, str]] = {
        0: "initializing",
        RUN: "running",
        CLOSE: "closing",
        TERMINATE: "terminating",
    }

    def __init__(
        self,
        steps: Iterable[Any] | None = None,
        name: str | None = None,
        on_start: Callable[[], Any] | None = None,
        on_close: Callable[[], Any] | None = None,
        on_stopped: Callable[[], Any] | None = None,
    ) -> None:
        self.name = name or self.name or qualname(type(self))
        self.types: set[Any] = set(steps or ()) | set(self.default_steps)
        self.on_start = on_start
        self.on_close = on_close
        self.on_stopped = on_stopped
        self.shutdown_complete = Event()
        self.steps: dict[str, Step] = {}
        self.order: list[Any] = []

    # -- life

    def start(self, parent: Any) -> None:
        """Start the steps of ``parent``."""
        self.state = RUN
        if self.on_start:
            self.on_start()
        for position, step in enumerate(parent.steps, start=1):
            if step is None:
                continue
            self._debug("Starting %s", step.alias)
            self.started = position
            step.start(parent)
            logger.debug("^-- substep ok")

    def human_state(self) -> str:
        """Return the state as a word."""
        return self.state_to_name[self.state or 0]

    def info(self, parent: Any) -> dict[str, Any]:
        """Return what all steps tell about themselves."""
        info: dict[str, Any] = {}
        for step in parent.steps:
            info.update((step and step.info(parent)) or {})
        return info

    def close(self, parent: Any) -> None:
        """Tell the steps that they will be stopped."""
        if self.on_close:
            self.on_close()
        self.send_all(parent, "close", "closing", reverse=False)

    def restart(
        self,
        parent: Any,
        method: str = "stop",
        description: str = "restarting",
        propagate: bool = False,
    ) -> None:
        """Stop the steps, so that they can be started again.

        Parameters:
            parent: whose steps.
            method: what to call: ``stop`` or ``terminate``.
            description: for the log.
            propagate: raise errors of steps, in place of logging them.
        """
        self.send_all(parent, method, description, propagate=propagate)

    def send_all(
        self,
        parent: Any,
        method: str,
        description: str | None = None,
        reverse: bool = True,
        propagate: bool = True,
        args: Sequence[Any] = (),
    ) -> None:
        """Call ``method`` of each step that has it.

        Parameters:
            parent: whose steps; it is the first argument of each call.
            method: name of the method.
            description: for the log (default: the method's name).
            reverse: begin with the last step.
            propagate: raise the error of a step, in place of logging it and going on.
            args: the other arguments.
        """
        description = description or method.replace("_", " ")
        steps = reversed(parent.steps) if reverse else parent.steps
        for step in list(steps):
            handler = getattr(step, method, None) if step else None
            if handler is None:
                continue
            self._debug("%s %s...", description.capitalize(), step.alias)
            try:
                handler(parent, *args)
            except Exception as exc:
                if propagate:
                    raise
                logger.exception("Error on %s %s: %r", description, step.alias, exc)

    def stop(self, parent: Any, close: bool = True, terminate: bool = False) -> None:
        """Stop the steps; a second call does nothing.

        Parameters:
            parent: whose steps.
            close: not used; the steps are always closed first.
            terminate: terminate steps that can be, so that they do not finish what they do.
        """
        if self.state in (CLOSE, TERMINATE):
            return
        if self.state != RUN or self.started != len(parent.steps):
            # It never started wholly: whoever starts it handles what is left.
            self.state = TERMINATE
            self.shutdown_complete.set()
            return
        self.close(parent)
        self.state = CLOSE
        self.restart(
            parent,
            "terminate" if terminate else "stop",
            description="terminating" if terminate else "stopping",
            propagate=False,
        )
        if self.on_stopped:
            self.on_stopped()
        self.state = TERMINATE
        self.shutdown_complete.set()

    def join(self, timeout: float | None = None) -> None:
        """Wait up to ``timeout`` seconds until the steps have stopped."""
        # Signal handlers may stop the thread that waits: a wait without end could not be ended.
        try:
            self.shutdown_complete.wait(timeout=timeout)
        except (KeyboardInterrupt, SystemExit):
            return

    # -- construction

    def apply(self, parent: Any, **kwargs: Any) -> Blueprint:
        """Make the steps, in order, and add those that want it to ``parent.steps``.

        Keyword arguments are given to each step. Returns the blueprint.

        Raises CycleError if steps require each other.
        """
        self._debug("Preparing bootsteps.")
        order = self.order = []
        steps = self.steps = self.claim_steps()
        self._debug("Building graph...")
        for step_type in self._finalize_steps(steps):
            step = step_type(parent, **kwargs)
            steps[step.name] = step
            order.append(step)
        self._debug("New boot order: {%s}", ", ".join(step.alias for step in order))
        for step in order:
            step.include(parent)
        return self

    def connect_with(self, other: Blueprint) -> None:
        """Add the graph of another blueprint to ours, before its last step and after ours."""
        self.graph.adjacent.update(other.graph.adjacent)
        self.graph.add_edge(type(other.order[0]), type(self.order[-1]))

    def __getitem__(self, name: str) -> Any:
        return self.steps[name]

    def _find_last(self) -> Any:
        return next((step for step in self.steps.values() if step.last), None)

    def _firstpass(self, steps: dict[str, Any]) -> None:
        """Resolve names in ``requires``, and add the steps that are required but not listed."""
        for step in steps.values():
            step.requires = [symbol_by_name(required) for required in step.requires]
        stream = deque(required for step in steps.values() for required in step.requires)
        while stream:
            node = stream.popleft()
            if node.name in steps:
                continue
            node.requires = [symbol_by_name(required) for required in node.requires]
            steps[node.name] = node
            stream.extend(node.requires)

    def _finalize_steps(self, steps: dict[str, Any]) -> list[Any]:
        last = self._find_last()
        self._firstpass(steps)
        # By name, so that a step listed under the name of a required one takes its place.
        pairs = (
            (step, [steps[required.name] for required in step.requires]) for step in steps.values()
        )
        graph = self.graph = DependencyGraph(pairs, formatter=self.GraphFormatter(root=last))
        if last:
            for step in graph:
                if step != last:
                    graph.add_edge(last, step)
        return graph.topsort()

    def claim_steps(self) -> dict[str, Any]:
        """Return the step classes by name, importing those given as names."""
        # Sorted, so that steps that do not need each other start in the same order every time.
        return dict(sorted((self.load_step(step) for step in self.types), key=itemgetter(0)))

    def load_step(self, step: Any) -> tuple[str, Any]:
        """Return name and class of a step given as class or dotted name."""
        step = symbol_by_name(step)
        return step.name, step

    def _debug(self, msg: str, *args: Any) -> None:
        logger.debug("| %s: " + msg, self.alias, *args)

    @property
    def alias(self) -> str:
        """The last part of the name."""
        return _label(self)


class StepType(type):
    """Names steps after their module and class."""

    name: Any = None
    requires: Any = None

    def __new__(cls, name: str, bases: tuple[type, ...], attrs: dict[str, Any]) -> StepType:
        module = attrs.get("__module__")
        qualified = f"{module}.{name}" if module else name
        attrs.update(
            __qualname__=attrs.get("__qualname__", name),
            name=attrs.get("name") or qualified,
        )
        return super().__new__(cls, name, bases, attrs)

    def __str__(cls) -> str:
        return str(cls.name)

    def __repr__(cls) -> str:
        requires = ", ".join(str(required) for required in cls.requires)
        return f"step:{cls.name}{{{requires}}}"


class Step(metaclass=StepType):
    """A part of a program.

    ``__init__`` is called for every step when the blueprint is applied, and may set up the parent;
    then :meth:`create` is called if the step is included.

    Parameters:
        parent: what the blueprint belongs to, such as the worker.
        kwargs: the arguments that the blueprint was applied with.
    """

    #: Name of the step, by which it can be replaced (default: module and class).
    name: str
    #: Short name for graphs.
    label: str | None = None
    #: Say in graphs that the step is not always included.
    conditional = False
    #: Steps (classes or dotted names) that are started before this one.
    requires: Any = ()
    #: Start after all other steps; one step of a blueprint may be the last.
    last = False
    #: Include the step.
    enabled = True

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        pass

    def include_if(self, parent: Any) -> Any:
        """Return true if the step is to be included."""
        return self.enabled

    def instantiate(self, name: Any, *args: Any, **kwargs: Any) -> Any:
        """Import the class ``name`` and call it with the other arguments."""
        return instantiate(name, *args, **kwargs)

    def _should_include(self, parent: Any) -> tuple[bool, Any]:
        if self.include_if(parent):
            return True, self.create(parent)
        return False, None

    def include(self, parent: Any) -> Any:
        """Create the step if it is to be included; return true if it is."""
        return self._should_include(parent)[0]

    def create(self, parent: Any) -> Any:
        """Do what the step is for, or make the object that it starts and stops."""

    def __repr__(self) -> str:
        return f"<step: {self.alias}>"

    @property
    def alias(self) -> str:
        """The step's label, or the last part of its name."""
        return self.label or _label(self)

    def info(self, obj: Any) -> Any:
        """Return a dict of what there is to tell about the step."""


class StartStopStep(Step):
    """Step that is started and stopped, or that makes an object that is."""

    #: What :meth:`create` returned: has ``start``, ``stop`` and maybe ``terminate``.
    obj: Any = None

    def start(self, parent: Any) -> Any:
        """Start the object."""
        if self.obj:
            return self.obj.start()
        return None

    def stop(self, parent: Any) -> Any:
        """Stop the object."""
        if self.obj:
            return self.obj.stop()
        return None

    def close(self, parent: Any) -> Any:
        """Get ready to be stopped."""

    def terminate(self, parent: Any) -> Any:
        """Stop the object without letting it finish, if it can do that."""
        if self.obj:
            return getattr(self.obj, "terminate", self.obj.stop)()
        return None

    def include(self, parent: Any) -> Any:
        """Create the step, and add it to ``parent.steps``, if it is to be included."""
        included, obj = self._should_include(parent)
        if included:
            self.obj = obj
            parent.steps.append(self)
        return included


class ConsumerStep(StartStopStep):
    """Step of the worker's consumer that consumes messages of its own."""

    requires = ("taskq.worker.consumer:Connection",)
    #: The consumers while they run.
    consumers: Any = None

    def get_consumers(self, channel: Any) -> Any:
        """Return the kombu consumers of this step, made for ``channel``."""
        raise NotImplementedError(f"{type(self).__name__} needs a method get_consumers(channel)")

    def start(self, c: Any) -> None:
        """Begin to consume."""
        channel = c.connection.channel()
        self.consumers = self.get_consumers(channel)
        for consumer in self.consumers or ():
            consumer.consume()

    def stop(self, c: Any) -> None:
        """Cancel the consumers and close their channels."""
        self._close(c, True)

    def shutdown(self, c: Any) -> None:
        """Close the channels; the connection may be gone already."""
        self._close(c, False)

    def _close(self, c: Any, cancel_consumers: bool = True) -> None:
        channels = []
        for consumer in self.consumers or ():
            if cancel_consumers:
                _ignoring_errors(c, consumer.cancel)
            if consumer.channel not in channels and consumer.channel is not None:
                channels.append(consumer.channel)
        for channel in channels:
            _ignoring_errors(c, channel.close)


def _ignoring_errors(consumer: Any, call: Callable[[], Any]) -> None:
    """Call, and ignore that the broker's connection is lost."""
    connection = consumer.connection
    errors = getattr(connection, "connection_errors", ()) + getattr(
        connection, "channel_errors", ()
    )
    try:
        call()
    except (*errors, OSError) as exc:
        logger.debug("Ignored while closing a consumer: %r", exc)
