"""The command line of one node: the program, its options, and what ``%n`` and the like stand for.

Used by `Node`; options are a dict of ``"-c"`` or ``"--concurrency"`` to text, None for a flag.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import partial
from typing import Any

from taskq.utils.nodenames import gethostname, node_format, nodename

#: Options of ``taskq`` itself; they stand before the subcommand, and name an app or a broker.
GLOBAL_OPTIONS = frozenset(
    {
        "-A",
        "--app",
        "-b",
        "--broker",
        "--result-backend",
        "--loader",
        "--config",
        "--workdir",
        "-C",
        "--no-color",
        "-q",
        "--quiet",
        "--skip-checks",
    }
)


def default_command(*args: str) -> str:
    """Return the arguments of Python that run ``taskq`` with ``args``."""
    return " ".join(("-m", "taskq", *args))


def format_option(option: str, value: str | None) -> str:
    """Return an option as one text of a command line; the value is quoted if it needs to be."""
    if not value:
        return option
    separator = "=" if option.startswith("--") else " "
    return f"{option}{separator}{shlex.quote(value)}"


def with_global_options(command: str, options: Mapping[str, str | None]) -> str:
    """Return ``command`` with the options of ``taskq`` itself in front of the subcommand."""
    texts = [format_option(name, options[name]) for name in options if name in GLOBAL_OPTIONS]
    if not texts:
        return command
    words = command.split()
    at = words.index("worker") if "worker" in words else len(words)
    return " ".join((*words[:at], *texts, *words[at:]))


def expander(name: str) -> partial[str]:
    """Return a function that puts the parts of node ``name`` in place of ``%n``, ``%d`` …

    ``%i`` and ``%I`` stay: they stand for pool processes, and the worker replaces them.
    """
    shortname, _, hostname = name.partition("@")
    return partial(node_format, name=name, N=shortname, d=hostname, h=name, i="%i", I="%I")


def build_nodename(name: str, prefix: str, suffix: str) -> tuple[str, str]:
    """Return the short and the full name of a node given as ``name`` or ``name@host``.

    ``suffix`` is the host of names without one; ``%h`` and the like in a host are replaced.
    """
    if "@" in name:
        full = node_format(name, gethostname_node())
        return full.partition("@")[0], full
    return name, nodename(f"{prefix}{name}", suffix or gethostname())


def gethostname_node() -> str:
    """Return a node name on this machine, for formats in the host part of another."""
    return nodename("celery", gethostname())


def options_from_kwargs(kwargs: Mapping[str, Any]) -> dict[str, str | None]:
    """Return options given as keywords: ``max_tasks_per_child=3`` is ``--max-tasks-per-child 3``.

    True is a flag; one letter is a short option.
    """
    return {
        f"-{key}" if len(key) == 1 else f"--{key.replace('_', '-')}": (
            None if value is True or value is None else str(value)
        )
        for key, value in kwargs.items()
    }
