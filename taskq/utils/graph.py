"""Dependency graphs: what must come before what, and drawings of that for Graphviz.

Used to order boot steps and to draw graphs of results and workers.
"""

from __future__ import annotations

from collections import Counter
from textwrap import dedent
from typing import TYPE_CHECKING, Any

from taskq.utils.encoding import bytes_to_str, safe_str

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ("DOT", "CycleError", "DependencyGraph", "GraphFormatter")


class DOT:
    """Templates of the DOT language."""

    HEAD = dedent("""
        {IN}{type} {id} {{
        {INp}graph [{attrs}]
    """)
    ATTR = "{name}={value}"
    NODE = '{INp}"{0}" [{attrs}]'
    EDGE = '{INp}"{0}" {dir} "{1}" [{attrs}]'
    ATTRSEP = ", "
    DIRS = {"graph": "--", "digraph": "->"}
    TAIL = "{IN}}}"


class CycleError(Exception):
    """The graph has a cycle, so nothing in it can come first."""


class DependencyGraph:
    """A graph of objects and what each depends on.

    Parameters:
        it: pairs of an object and a list of what it depends on.
        formatter: draws the graph (default: a :class:`GraphFormatter`).
    """

    def __init__(
        self,
        it: Iterable[tuple[Any, Iterable[Any]]] | None = None,
        formatter: GraphFormatter | None = None,
    ) -> None:
        self.formatter = formatter or GraphFormatter()
        self.adjacent: dict[Any, list[Any]] = {}
        if it is not None:
            self.update(it)

    def add_arc(self, obj: Any) -> None:
        """Add an object."""
        self.adjacent.setdefault(obj, [])

    def add_edge(self, A: Any, B: Any) -> None:
        """Say that ``A`` depends on ``B``; both must have been added."""
        self[A].append(B)

    def connect(self, graph: DependencyGraph) -> None:
        """Add everything in another graph."""
        self.adjacent.update(graph.adjacent)

    def topsort(self) -> list[Any]:
        """Return the objects in an order in which each comes after what it depends on.

        Raises CycleError if there is no such order.
        """
        graph = DependencyGraph()
        components = self._tarjan72()
        component_of = {node: component for component in components for node in component}
        for component in components:
            graph.add_arc(component)
        for node in self:
            component = component_of[node]
            for successor in self[node]:
                successor_component = component_of[successor]
                if component != successor_component:
                    graph.add_edge(component, successor_component)
        cyclic = [component for component in components if len(component) > 1]
        if cyclic:
            names = "; ".join(" <-> ".join(map(str, component)) for component in cyclic)
            raise CycleError(f"these depend on each other: {names}")
        return [component[0] for component in graph._khan62()]

    def valency_of(self, obj: Any) -> int:
        """Return how many objects ``obj`` depends on, counting theirs as well."""
        try:
            valencies = [len(self[obj])]
        except KeyError:
            return 0
        return sum(valencies + [self.valency_of(node) for node in self[obj]])

    def update(self, it: Iterable[tuple[Any, Iterable[Any]]]) -> None:
        """Add pairs of an object and a list of what it depends on."""
        pairs = [(obj, list(dependencies)) for obj, dependencies in it]
        for obj, _ in pairs:
            self.add_arc(obj)
        for obj, dependencies in pairs:
            for dependency in dependencies:
                self.add_edge(obj, dependency)

    def edges(self) -> Iterator[Any]:
        """Iterate over the objects that depend on something."""
        return (obj for obj, adjacent in self.items() if adjacent)

    def _khan62(self) -> list[Any]:
        """Order by taking away, again and again, what nothing depends on (Kahn, 1962)."""
        dependents: Counter[Any] = Counter()
        for node in self:
            for successor in self[node]:
                dependents[successor] += 1
        ready = [node for node in self if not dependents[node]]
        result = []
        while ready:
            node = ready.pop()
            result.append(node)
            for successor in self[node]:
                dependents[successor] -= 1
                if dependents[successor] == 0:
                    ready.append(successor)
        result.reverse()
        return result

    def _tarjan72(self) -> list[tuple[Any, ...]]:
        """Return the strongly connected components (Tarjan, 1972)."""
        result: list[tuple[Any, ...]] = []
        stack: list[Any] = []
        low: dict[Any, int] = {}

        def visit(node: Any) -> None:
            if node in low:
                return
            number = low[node] = len(low)
            position = len(stack)
            stack.append(node)
            for successor in self[node]:
                visit(successor)
                low[node] = min(low[node], low[successor])
            if number == low[node]:
                component = tuple(stack[position:])
                stack[position:] = []
                result.append(component)
                for member in component:
                    low[member] = len(self)

        for node in self:
            visit(node)
        return result

    def to_dot(self, fh: Any, formatter: GraphFormatter | None = None) -> None:
        """Write the graph to file ``fh`` in the DOT language."""
        seen = set()
        draw = formatter or self.formatter

        def write(line: Any) -> None:
            print(bytes_to_str(line), file=fh)

        def write_node(template: Callable[..., Any], obj: Any) -> None:
            if draw.label(obj) not in seen:
                seen.add(draw.label(obj))
                write(template(obj))

        write(draw.head())
        for obj, adjacent in self.items():
            if not adjacent:
                write_node(draw.terminal_node, obj)
            for requirement in adjacent:
                write_node(draw.node, obj)
                write(draw.edge(obj, requirement))
        write(draw.tail())

    def format(self, obj: Any) -> Any:
        """Return how the formatter labels ``obj``."""
        return self.formatter.label(obj) if self.formatter else obj

    def __iter__(self) -> Iterator[Any]:
        return iter(self.adjacent)

    def __getitem__(self, node: Any) -> list[Any]:
        return self.adjacent[node]

    def __len__(self) -> int:
        return len(self.adjacent)

    def __contains__(self, obj: Any) -> bool:
        return obj in self.adjacent

    def items(self) -> Iterable[tuple[Any, list[Any]]]:
        """Iterate over the objects and what each depends on."""
        return self.adjacent.items()

    _iterate_items = iteritems = items

    def __repr__(self) -> str:
        return "\n".join(self.repr_node(node) for node in self)

    def repr_node(self, obj: Any, level: int = 1, fmt: str = "{0}({1})") -> str:
        """Return ``obj`` and below it, indented, what it depends on."""
        lines = [fmt.format(obj, self.valency_of(obj))]
        for dependency in self.adjacent.get(obj, ()):
            lines.append("     " * level + self.repr_node(dependency, level + 1, fmt))
        return "\n".join(lines)


class GraphFormatter:
    """Draws nodes and edges in the DOT language.

    Parameters:
        root: the graph's root, noted in its head.
        type: ``digraph`` or ``graph``.
        id: the graph's name.
        indent: how many times to indent everything.
        inw: what is put in once for each indentation.
        scheme: attributes of everything drawn.
    """

    _attr = DOT.ATTR.strip()
    _node = DOT.NODE.strip()
    _edge = DOT.EDGE.strip()
    _head = DOT.HEAD.strip()
    _tail = DOT.TAIL.strip()
    _attrsep = DOT.ATTRSEP
    _dirs: Mapping[str, str] = dict(DOT.DIRS)

    scheme: Mapping[str, Any] = {
        "shape": "box",
        "arrowhead": "vee",
        "style": "filled",
        "fontname": "HelveticaNeue",
    }
    edge_scheme: Mapping[str, Any] = {
        "color": "darkseagreen4",
        "arrowcolor": "black",
        "arrowsize": 0.7,
    }
    node_scheme: Mapping[str, Any] = {"fillcolor": "palegreen3", "color": "palegreen4"}
    term_scheme: Mapping[str, Any] = {"fillcolor": "palegreen1", "color": "palegreen2"}
    graph_scheme: Mapping[str, Any] = {"bgcolor": "mintcream"}

    def __init__(
        self,
        root: Any = None,
        type: str | None = None,
        id: str | None = None,
        indent: int = 0,
        inw: str = " " * 4,
        **scheme: Any,
    ) -> None:
        self.id = id or "dependencies"
        self.root = root
        self.type = type or "digraph"
        self.direction = self._dirs[self.type]
        self.IN = inw * (indent or 0)
        self.INp = self.IN + inw
        self.scheme = dict(self.scheme, **scheme)
        self.graph_scheme = dict(self.graph_scheme, root=self.label(self.root))

    def attr(self, name: str, value: Any) -> Any:
        """Return one attribute."""
        return self.FMT(self._attr, name=name, value=f'"{value}"')

    def attrs(self, d: Mapping[str, Any] | None, scheme: Mapping[str, Any] | None = None) -> str:
        """Return attributes ``d`` over those of ``scheme`` over those of everything."""
        merged = dict(self.scheme, **(scheme or {}))
        merged.update(d or {})
        return self._attrsep.join(safe_str(self.attr(key, merged[key])) for key in merged)

    def head(self, **attrs: Any) -> Any:
        """Return the beginning of the graph."""
        return self.FMT(
            self._head, id=self.id, type=self.type, attrs=self.attrs(attrs, self.graph_scheme)
        )

    def tail(self) -> Any:
        """Return the end of the graph."""
        return self.FMT(self._tail)

    def label(self, obj: Any) -> Any:
        """Return what ``obj`` is shown as."""
        return obj

    def node(self, obj: Any, **attrs: Any) -> Any:
        """Return a node."""
        return self.draw_node(obj, self.node_scheme, attrs)

    def terminal_node(self, obj: Any, **attrs: Any) -> Any:
        """Return a node that depends on nothing."""
        return self.draw_node(obj, self.term_scheme, attrs)

    def edge(self, a: Any, b: Any, **attrs: Any) -> Any:
        """Return an edge."""
        return self.draw_edge(a, b, attrs=attrs)

    def _enc(self, s: str) -> bytes:
        return s.encode("utf-8", "ignore")

    def FMT(self, fmt: str, *args: Any, **kwargs: Any) -> Any:
        """Fill in a template."""
        return self._enc(fmt.format(*args, **dict(kwargs, IN=self.IN, INp=self.INp)))

    def draw_edge(
        self,
        a: Any,
        b: Any,
        scheme: Mapping[str, Any] | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return an edge with attributes ``attrs`` over those of ``scheme``."""
        return self.FMT(
            self._edge,
            self.label(a),
            self.label(b),
            dir=self.direction,
            attrs=self.attrs(attrs, self.edge_scheme if scheme is None else scheme),
        )

    def draw_node(
        self,
        obj: Any,
        scheme: Mapping[str, Any] | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return a node with attributes ``attrs`` over those of ``scheme``."""
        return self.FMT(self._node, self.label(obj), attrs=self.attrs(attrs, scheme))
