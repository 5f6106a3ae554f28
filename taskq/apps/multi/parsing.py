"""The command line of ``taskq multi``: names or a number of nodes, and options of some of them.

``-c 3 -c:1-2 8 --logfile:web=web.log`` gives all nodes an option, then the first two, then one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from taskq.apps.multi.commandline import build_nodename, default_command
from taskq.apps.multi.node import Node
from taskq.utils.nodenames import gethostname, host_format

#: Short options without a value.
SHORT_FLAGS = frozenset({"-B", "-C", "-D", "-E", "-q"})

#: Long options whose value may be the next word; others need ``--name=value``.
LONG_WITH_VALUE = frozenset(
    {
        "--app",
        "--append",
        "--autoscale",
        "--broker",
        "--cmd",
        "--concurrency",
        "--config",
        "--exclude-queues",
        "--executable",
        "--gid",
        "--heartbeat-interval",
        "--hostname",
        "--include",
        "--loader",
        "--logfile",
        "--loglevel",
        "--max-memory-per-child",
        "--max-tasks-per-child",
        "--optimization",
        "--pidfile",
        "--pool",
        "--pool-start-method",
        "--prefetch-multiplier",
        "--prefix",
        "--queues",
        "--range-prefix",
        "--result-backend",
        "--schedule",
        "--schedule-filename",
        "--scheduler",
        "--soft-time-limit",
        "--statedb",
        "--suffix",
        "--time-limit",
        "--uid",
        "--umask",
        "--workdir",
    }
)

Options = dict[str, str | None]


class NamespacedOptionParser:
    """Sorts words into values, options for all, and options for some (namespaces).

    After `parse`: ``values`` (the words that are no options), ``options``, ``namespaces`` (text
    behind the colon -> options) and ``passthrough`` (what stood behind ``--``, with it).
    """

    def __init__(self, args: Sequence[str]) -> None:
        self.args = list(args)
        self.options: Options = {}
        self.values: list[str] = []
        self.passthrough = ""
        self.namespaces: dict[str, Options] = {}

    def parse(self) -> None:
        """Sort the words."""
        words = list(self.args)
        while words:
            word = words.pop(0)
            if word == "--":
                self.passthrough = " ".join(("--", *words))
                return
            if word.startswith("--"):
                follows = word.partition(":")[0] in LONG_WITH_VALUE and "=" not in word
                self.process_long_opt(word[2:], words.pop(0) if follows and words else None)
            elif word.startswith("-") and len(word) > 1:
                # -c 3, -c:1-2 3, but -c3 and the flags have no value behind them.
                name = word.partition(":")[0]
                follows = len(name) == 2 and name not in SHORT_FLAGS
                value = words.pop(0) if follows and words and words[0][:1] != "-" else None
                self.process_short_opt(word[1:], value)
            else:
                self.values.append(word)

    def process_long_opt(self, arg: str, value: str | None = None) -> None:
        """Keep ``name``, ``name=value`` or ``name:namespace=value``."""
        name, equals, given = arg.partition("=")
        self.add_option(name, given if equals else value, short=False)

    def process_short_opt(self, arg: str, value: str | None = None) -> None:
        """Keep a short option: ``c``, ``c:namespace``."""
        self.add_option(arg, value, short=True)

    def add_option(
        self, name: str, value: str | None, short: bool = False, ns: str | None = None
    ) -> None:
        """Keep an option, for all or for namespace ``ns``, which may also stand in its name."""
        name, colon, namespace = name.partition(":")
        target = namespace if colon else ns
        options = self.options if not target else self.namespaces.setdefault(target, {})
        options[f"{'-' if short else '--'}{name}"] = value

    def optmerge(
        self, ns: str | Sequence[str], defaults: Mapping[str, str | None] | None = None
    ) -> Options:
        """Return the options of namespace ``ns`` over ``defaults`` (those for all)."""
        base = self.options if defaults is None else defaults
        return {**base, **self.namespaces.get(str(ns), {})}


class MultiParser:
    """Makes nodes of parsed words.

    Parameters:
        cmd, append: as in `Node`, unless ``--cmd`` or ``--append`` is given.
        prefix, suffix: put before names, and the host of names without one.
        range_prefix: name of the nodes that are given as a number.
    """

    Node: type[Any] = Node

    def __init__(
        self,
        cmd: str | None = None,
        append: str = "",
        prefix: str = "",
        suffix: str = "",
        range_prefix: str = "celery",
    ) -> None:
        self.cmd = cmd or default_command("worker", "--detach")
        self.append = append
        self.prefix = prefix
        self.suffix = suffix
        self.range_prefix = range_prefix

    def parse(self, p: NamespacedOptionParser) -> Iterator[Any]:
        """Yield the nodes that ``p`` names; it loses the options that are not for workers.

        Raises KeyError for the options of a node number that there is not.
        """
        options = p.options
        ranged = len(p.values) == 1 and p.values[0].isdigit()
        prefix = options.pop("--prefix", None) or self.prefix
        range_prefix = options.pop("--range-prefix", None) or self.range_prefix
        suffix = options.pop("--suffix", None) or self.suffix
        hostname = options.pop("--hostname", None) or options.pop("-n", None) or gethostname()
        suffix = {"": hostname, '""': "", "''": ""}.get(suffix, suffix)
        cmd = options.pop("--cmd", None) or self.cmd
        append = options.pop("--append", None) or self.append
        names = (
            [f"{range_prefix}{n}" for n in range(1, int(p.values[0]) + 1)]
            if ranged
            else list(p.values)
        )
        built = [build_nodename(name, "" if ranged else prefix, suffix)[1] for name in names]
        full_names = {name: host_format(full) for name, full in zip(names, built, strict=True)}
        per_node = self._per_node(p, full_names)
        for name, full in full_names.items():
            merged = {**options, **per_node[name]}
            yield self.Node(full, cmd, append, merged, p.passthrough)

    def _per_node(
        self, p: NamespacedOptionParser, full_names: dict[str, str]
    ) -> dict[str, Options]:
        """Return what each node has of its own, by the name it was given.

        Names that are not among the nodes are left out: one writes the options of all nodes
        behind the command for one.
        """
        found: dict[str, Options] = {name: {} for name in full_names}
        given = {full: name for name, full in full_names.items()}
        for namespace, options in p.namespaces.items():
            for member in _members(namespace, list(full_names)):
                name = given.get(member, member)
                if name in found:
                    found[name].update(options)
        return found


def _members(namespace: str, names: list[str]) -> Iterator[str]:
    """Yield the nodes of ``1-3``, ``1,4``, ``web`` or ``web,mail``."""
    for part in namespace.split(","):
        first, dash, last = part.partition("-")
        if part in names:
            yield part
        elif part.isdigit():
            yield _numbered(int(part), names)
        elif dash and first.isdigit() and last.isdigit():
            for number in range(int(first), int(last) + 1):
                yield _numbered(number, names)
        else:
            yield part


def _numbered(number: int, names: list[str]) -> str:
    if not 1 <= number <= len(names):
        raise KeyError(f"No node at index {number}: there are {len(names)}, the first is 1")
    return names[number - 1]
