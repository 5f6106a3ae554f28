"""``taskq graph``: the steps of a worker, a cluster of workers, or a workflow, drawn.

``taskq graph bootsteps | dot -Tpng -o steps.png``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import click

from taskq.bin.base import CeleryCommand, handle_preload_options
from taskq.bin.graph_workflow import workflow
from taskq.utils.graph import DependencyGraph, GraphFormatter

__all__ = ("graph",)

#: Above so many threads of one worker only the number is drawn.
MAX_THREADS = 10


@click.group()
@click.pass_context
@handle_preload_options
def graph(ctx: click.Context) -> None:
    """Draw boot steps, workers and workflows: in the DOT language, or as a picture."""


graph.add_command(workflow)


@graph.command(cls=CeleryCommand, context_settings={"allow_extra_args": True})
@click.pass_context
def bootsteps(ctx: click.Context) -> None:
    """Draw the steps that a worker is started in; `worker` or `consumer` behind it draws one part.

    Steps that the app adds are among them.
    """
    wanted = set(ctx.args) or {"worker", "consumer"}
    unknown = wanted - {"worker", "consumer"}
    if unknown:
        raise click.UsageError(f"{unknown.pop()!r} cannot be drawn: worker, consumer or both.")
    worker = ctx.obj.app.WorkController()
    parts = []
    if "worker" in wanted:
        parts.append(worker.blueprint.graph)
    if "consumer" in wanted:
        if parts:
            worker.blueprint.connect_with(worker.consumer.blueprint)
        else:
            parts.append(worker.consumer.blueprint.graph)
    parts[0].to_dot(sys.stdout)


@dataclass(frozen=True)
class Drawn:
    """Something to draw: its text, and whether it is a worker, thread, broker or backend."""

    text: str
    kind: str
    #: Tells apart what has the same text.
    id: str


class WorkersFormatter(GraphFormatter):
    """Draws each kind in its own form."""

    schemes: ClassVar[dict[str, Mapping[str, Any]]] = {
        "worker": GraphFormatter.node_scheme,
        "thread": {
            "fillcolor": "lightcyan4",
            "fontcolor": "yellow",
            "shape": "oval",
            "fontsize": 10,
            "width": 0.3,
            "color": "black",
        },
        "broker": {"fillcolor": "cadetblue3", "color": "cadetblue4", "shape": "circle"},
        "backend": {"fillcolor": "thistle3", "color": "thistle4", "shape": "cylinder"},
    }

    def label(self, obj: Drawn | None) -> Any:
        """Return the name under which the node is known."""
        return obj.id if obj is not None else None

    def node(self, obj: Drawn, **attrs: Any) -> Any:
        """Return a node in the form of its kind."""
        return self.draw_node(obj, self.schemes[obj.kind], {**attrs, "label": obj.text})

    terminal_node = node

    def edge(self, a: Drawn, b: Drawn, **attrs: Any) -> Any:
        """Return an edge; between a worker and its threads it is no arrow."""
        if a.kind == "thread":
            attrs.update(arrowhead="none", arrowtail="tee")
        return self.draw_edge(a, b, attrs=attrs)


@graph.command(cls=CeleryCommand, context_settings={"allow_extra_args": True})
@click.pass_context
def workers(ctx: click.Context) -> None:
    """Draw the workers that are online with their broker and result backend.

    \b
    Words behind it draw workers that are not there:
    nodes:w1,w2  threads:4,2  wmax:3 (of more, draw one)  tmax:8  broker:URL  backend:URL
    """
    words = _words(ctx.args)
    app = ctx.obj.app
    wmax = _number(words, "wmax", 0)
    tmax = _number(words, "tmax", MAX_THREADS)
    if "nodes" in words:
        threads = [int(n) for n in words.get("threads", "").split(",") if n]
        names = words["nodes"].split(",")
        found = {
            name: threads[i] if i < len(threads) else (threads[-1] if threads else 0)
            for i, name in enumerate(names)
        }
    else:
        replies = app.control.inspect().stats() or {}
        found = {name: _pool_size(reply) for name, reply in sorted(replies.items())}
    broker = words.get("broker") or app.connection_for_read().as_uri()
    backend = words.get("backend") or app.backend.as_uri()
    network = DependencyGraph(formatter=WorkersFormatter())
    services = [Drawn(broker, "broker", f"broker {broker}")]
    if "disabled" not in backend:
        services.append(Drawn(backend, "backend", f"backend {backend}"))
    for service in services:
        network.add_arc(service)
    for worker, size in _grouped(found, wmax):
        _add(network, worker, services)
        for thread in _threads(worker, size, tmax):
            _add(network, thread, [worker])
    network.to_dot(sys.stdout)


def _add(network: DependencyGraph, node: Drawn, needs: list[Drawn]) -> None:
    network.add_arc(node)
    for need in needs:
        network.add_edge(node, need)


def _grouped(found: Mapping[str, int], wmax: int) -> Iterator[tuple[Drawn, int]]:
    if wmax and len(found) > wmax:
        yield Drawn(f"{len(found)} workers", "worker", "workers"), sum(found.values())
        return
    for name, size in found.items():
        yield Drawn(name, "worker", name), size


def _threads(worker: Drawn, size: int, tmax: int) -> Iterator[Drawn]:
    if size > tmax:
        yield Drawn(f"({size})", "thread", f"{worker.id} threads")
        return
    for index in range(1, size + 1):
        yield Drawn(str(index), "thread", f"{worker.id} thread {index}")


def _pool_size(reply: Mapping[str, Any]) -> int:
    size = (reply.get("pool") or {}).get("max-concurrency") or 0
    return int(size) if str(size).isdigit() else 0


def _words(args: list[str]) -> dict[str, str]:
    words: dict[str, str] = {}
    for arg in args:
        key, colon, value = arg.partition(":")
        if not colon or key not in ("nodes", "threads", "wmax", "tmax", "broker", "backend"):
            raise click.UsageError(
                f"{arg!r} is none of nodes:… threads:… wmax:… tmax:… broker:… backend:…"
            )
        words[key] = value
    return words


def _number(words: Mapping[str, str], key: str, default: int) -> int:
    try:
        return int(words.get(key, default))
    except ValueError as exc:
        raise click.UsageError(f"{key}:{words[key]} is not a number.") from exc
