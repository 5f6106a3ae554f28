"""``taskq multi``: start and stop several workers on this machine.

Prints what `taskq.apps.multi` does. The arguments are words of its own, not click's.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, wraps
from typing import Any

import click

from taskq.apps.multi import Cluster as Nodes
from taskq.apps.multi import MultiParser, NamespacedOptionParser, Node
from taskq.bin.base import CeleryCommand, handle_preload_options
from taskq.bin.errors import CommandError
from taskq.bin.multi_terminal import EX_FAILURE, EX_OK, TermLogger
from taskq.platforms import SIGNAMES, signals
from taskq.utils.text import pluralize

__all__ = ("MultiTool", "multi")

HELP = """\
Start, stop and restart several workers on this machine.

\b
taskq multi start   <names or a number> [options of `taskq worker`]
taskq multi stop    <names or a number> [-SIG, default -TERM]
taskq multi stopwait, restart, kill …   stopwait waits until all have ended
taskq multi show    <names or a number> [options]   the commands, not run
taskq multi get     <node> <names or a number>      the command of one node
taskq multi names   <names or a number>             the full node names
taskq multi expand  <template> <names or a number>  '%n %h %d %p' per node

A number gives celery1, celery2 …; --range-prefix changes that name.  Behind a
colon an option names its nodes: by number, range, name or list.

\b
$ taskq multi start web mail -A proj -c 3 -c:mail 10
$ taskq multi start 10 -A proj -l INFO -Q:1-3 images,video -Q:4,5 data -Q default
$ taskq multi restart 10 -A proj --pidfile=/run/proj/%n.pid --logfile=/var/log/proj/%n%I.log
$ taskq multi stopwait 10 -A proj --pidfile=/run/proj/%n.pid

Options are not kept anywhere: give those of `start` to `restart`, and its --pidfile to `stop`.
Also: --nosplash, --quiet, --verbose, --no-color.  --cmd, --append, --prefix and --suffix change
how commands and names are made.
"""

USAGE = """\
usage: {prog_name} start <node1 node2 nodeN|range> [worker options]
       {prog_name} stop|stopwait <n1 n2 nN|range> [-SIG (default: -TERM)]
       {prog_name} restart <n1 n2 nN|range> [-SIG] [worker options]
       {prog_name} kill <n1 n2 nN|range>
       {prog_name} show|names <n1 n2 nN|range> [worker options]
       {prog_name} get <node> <n1 n2 nN|range> [worker options]
       {prog_name} expand <template> <n1 n2 nN|range>
       {prog_name} help
"""


def _using_cluster(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the cluster that its words name."""

    @wraps(fun)
    def command(self: MultiTool, *argv: str, **kwargs: Any) -> Any:
        return fun(self, self.cluster_from_argv(argv), **kwargs)

    return command


def _using_cluster_and_signal(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the cluster, and the signal among its words, TERM if there is none."""

    @wraps(fun)
    def command(self: MultiTool, *argv: str, **kwargs: Any) -> Any:
        words, sig = _take_signal(argv)
        return fun(self, self.cluster_from_argv(words), sig, **kwargs)

    return command


class MultiTool(TermLogger):
    """The command ``taskq multi`` as an object; its methods are the subcommands.

    Parameters:
        env: environment variables for the workers, beside those of this process.
        cmd: arguments of Python that run a worker.
        fh, stdout: where it prints.
        stderr: where errors go.
    """

    MultiParser = MultiParser
    OptionParser = NamespacedOptionParser

    #: Options of `multi` itself, and the attributes that they set.
    reserved_options = [
        ("--nosplash", "nosplash"),
        ("--quiet", "quiet"),
        ("-q", "quiet"),
        ("--verbose", "verbose"),
        ("--no-color", "no_color"),
    ]

    def __init__(
        self,
        env: Mapping[str, str] | None = None,
        cmd: str | None = None,
        fh: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        **kwargs: Any,
    ) -> None:
        self.env = env
        self.cmd = cmd
        self.prog_name = "taskq multi"
        self.setup_terminal(stdout or fh, stderr, **kwargs)
        self.commands: dict[str, Callable[..., Any]] = {
            "start": self.start,
            "show": self.show,
            "stop": self.stop,
            "stopwait": self.stopwait,
            "stop_verify": self.stopwait,
            "restart": self.restart,
            "kill": self.kill,
            "names": self.names,
            "expand": self.expand,
            "get": self.get,
            "help": self.help,
        }

    def execute_from_commandline(self, argv: Sequence[str], cmd: str | None = None) -> int:
        """Run a command line, program's name first; return the exit status."""
        self.cmd = cmd if cmd is not None else self.cmd
        words = self._without_reserved(argv)
        self.prog_name = os.path.basename(words.pop(0)) or self.prog_name
        if not self.validate_arguments(words):
            return EX_FAILURE
        return self.call_command(words[0], words[1:])

    def validate_arguments(self, argv: Sequence[str]) -> bool:
        """Return whether the words start with a command; print the usage if not."""
        if argv and argv[0][:1] != "-":
            return True
        self.splash()
        self.usage()
        return False

    def call_command(self, command: str, argv: Sequence[str]) -> int:
        """Run one subcommand; return the exit status."""
        try:
            run = self.commands[command]
        except KeyError:
            return self.error(f"Invalid command: {command}. One of: {', '.join(self.commands)}")
        try:
            return run(*argv) or EX_OK
        except (KeyError, ValueError, OSError) as exc:
            return self.error(_explained(exc))

    def _without_reserved(self, argv: Sequence[str]) -> list[str]:
        reserved = dict(self.reserved_options)
        words = list(argv)
        end = words.index("--") if "--" in words else len(words)
        for word in words[:end]:
            if word in reserved:
                setattr(self, reserved[word], True)
        # Workers print without colours too, and in peace.
        return [w for i, w in enumerate(words) if i >= end or w not in reserved]

    def cluster_from_argv(self, argv: Sequence[str], cmd: str | None = None) -> Nodes:
        """Return the cluster that words name."""
        parsed = self.OptionParser(argv)
        parsed.parse()
        if not parsed.values:
            raise ValueError("no nodes given: name them, or say how many, such as `start 3`")
        command = cmd if cmd is not None else self.cmd
        return self.Cluster(list(self.MultiParser(cmd=command).parse(parsed)), cmd=command)

    def Cluster(self, nodes: Sequence[Node], cmd: str | None = None) -> Nodes:  # noqa: N802 - public
        """Return a cluster whose doings are printed."""
        return Nodes(
            nodes,
            cmd=cmd,
            env=self.env,
            on_stopping_preamble=self.on_stopping_preamble,
            on_send_signal=self.on_send_signal,
            on_still_waiting_for=self.on_still_waiting_for,
            on_still_waiting_progress=self.on_still_waiting_progress,
            on_still_waiting_end=self.on_still_waiting_end,
            on_node_start=self.on_node_start,
            on_node_restart=self.on_node_restart,
            on_node_shutdown_ok=self.on_node_shutdown_ok,
            on_node_status=self.on_node_status,
            on_node_signal=self.on_node_signal,
            on_node_signal_dead=self.on_node_signal_dead,
            on_node_down=self.on_node_down,
            on_child_spawn=self.on_child_spawn,
            on_child_signalled=self.on_child_signalled,
            on_child_failure=self.on_child_failure,
        )

    @_using_cluster
    def start(self, cluster: Nodes) -> int:
        """Start all nodes; 1 if one could not be started."""
        self.splash()
        self.note("> Starting nodes...")
        return int(any(cluster.start()))

    @_using_cluster_and_signal
    def stop(self, cluster: Nodes, sig: int, **kwargs: Any) -> int:
        """Send the signal to all nodes."""
        self.splash()
        cluster.stop(sig=sig, **kwargs)
        return EX_OK

    @_using_cluster_and_signal
    def stopwait(self, cluster: Nodes, sig: int, **kwargs: Any) -> int:
        """Send the signal to all nodes and wait until they have ended."""
        self.splash()
        cluster.stopwait(sig=sig, **kwargs)
        return EX_OK

    stop_verify = stopwait

    @_using_cluster_and_signal
    def restart(self, cluster: Nodes, sig: int, **kwargs: Any) -> int:
        """Stop all nodes, starting each again once it has ended; 1 if one could not be."""
        self.splash()
        return int(any(cluster.restart(sig=sig, **kwargs)))

    @_using_cluster
    def kill(self, cluster: Nodes) -> int:
        """Kill all nodes at once."""
        self.splash()
        cluster.kill()
        return EX_OK

    @_using_cluster
    def names(self, cluster: Nodes) -> int:
        """Print the node names."""
        self.say("\n".join(node.name for node in cluster))
        return EX_OK

    @_using_cluster
    def show(self, cluster: Nodes) -> int:
        """Print the command lines."""
        self.say("\n".join(_command_line(node) for node in cluster))
        return EX_OK

    def get(self, wanted: str | None = None, *argv: str) -> int:
        """Print the command line of one node; 1 if there is no such node."""
        if wanted is None:
            return self.error("no node given: name it, then all nodes, such as `get w1@host w1 w2`")
        cluster = self.cluster_from_argv(argv)
        try:
            node = cluster.find(wanted)
        except KeyError:
            names = ", ".join(node.name for node in cluster)
            return self.error(f"There is no node {wanted!r} among {names}")
        self.say(_command_line(node))
        return EX_OK

    def expand(self, template: str | None = None, *argv: str) -> int:
        """Print a text once for each node, with the node's parts in it."""
        if template is None:
            return self.error("no text given: write it first, such as `expand %n.pid w1 w2`")
        self.say("\n".join(node.expander(template) for node in self.cluster_from_argv(argv)))
        return EX_OK

    def help(self, *argv: str) -> int:
        """Print the help."""
        self.say(HELP.replace("\b\n", ""))
        return EX_OK

    def usage(self) -> None:
        """Print how it is called."""
        self.say(USAGE.format(prog_name=self.prog_name))

    def on_stopping_preamble(self, nodes: Sequence[Node]) -> None:
        """Say that nodes are about to be stopped."""
        self.note(self.colored.blue("> Stopping nodes..."))

    def on_send_signal(self, node: Node, sig: str) -> None:
        """Say which signal goes to a node that is to stop."""
        self.note(f"\t> {node.name}: {sig} -> {node.pid}")

    def on_still_waiting_for(self, nodes: Sequence[Node]) -> None:
        """Say for which nodes we wait."""
        count = len(nodes)
        pids = ", ".join(str(node.pid) for node in nodes)
        self.note(f"> Waiting for {count} {pluralize(count, 'node')} -> {pids}...", newline=False)

    def on_still_waiting_progress(self, nodes: Sequence[Node]) -> None:
        """Show that we still wait."""
        self.note(".", newline=False)

    def on_still_waiting_end(self) -> None:
        """End the line of a wait."""
        self.note("")

    def on_node_signal_dead(self, node: Node) -> None:
        """Say that a node to be signalled does not run."""
        self.note(f"Could not signal {node.name} ({node.pid}): No such process")

    def on_node_start(self, node: Node) -> None:
        """Say that a node is started."""
        self.note(f"\t> {node.name}: ", newline=False)

    def on_node_restart(self, node: Node) -> None:
        """Say that a node is started again."""
        self.note(self.colored.blue(f"> Restarting node {node.name}: "), newline=False)

    def on_node_down(self, node: Node) -> None:
        """Say that a node does not run."""
        self.note(f"> {node.name}: {self.DOWN}")

    def on_node_shutdown_ok(self, node: Node) -> None:
        """Say that a node has ended."""
        self.note(f"\n\t> {node.name}: {self.OK}")

    def on_node_status(self, node: Node, retval: int) -> None:
        """Say whether a start worked."""
        self.note(str(self.FAILED if retval else self.OK))

    def on_node_signal(self, node: Node, sig: str) -> None:
        """Say which signal goes to a node."""
        self.note(f"Sending {sig} to node {node.name} ({node.pid})")

    def on_child_spawn(self, node: Node, argstr: str, env: Mapping[str, str]) -> None:
        """Show the command that is run, if asked to be verbose."""
        self.info(f"  {argstr}")

    def on_child_signalled(self, node: Node, signum: int) -> None:
        """Say that starting a node was ended by a signal."""
        self.note(f"* Child was terminated by signal {signum}")

    def on_child_failure(self, node: Node, retcode: int) -> None:
        """Say that starting a node failed."""
        self.note(f"* Child terminated with exit code {retcode}")

    @cached_property
    def OK(self) -> str:  # noqa: N802 - the public name
        """The word for success, coloured."""
        return str(self.colored.green("OK"))

    @cached_property
    def FAILED(self) -> str:  # noqa: N802 - the public name
        """The word for failure, coloured."""
        return str(self.colored.red("FAILED"))

    @cached_property
    def DOWN(self) -> str:  # noqa: N802 - the public name
        """The word for a node that does not run, coloured."""
        return str(self.colored.magenta("DOWN"))


def _command_line(node: Node) -> str:
    return " ".join(part for part in node.argv_with_executable if part)


def _take_signal(argv: Sequence[str]) -> tuple[list[str], int]:
    """Return the words without the signal among them (``-HUP``, ``-SIGHUP``, ``-1``), and it."""
    end = list(argv).index("--") if "--" in argv else len(argv)
    for index in reversed(range(end)):
        sig = _signal_number(argv[index])
        if sig is not None:
            return [*argv[:index], *argv[index + 1 :]], sig
    return list(argv), signal.SIGTERM


def _signal_number(word: str) -> int | None:
    name = word[1:]
    if word[:1] != "-" or not name:
        return None
    if name.isdigit():
        return int(name) if int(name) in signal.valid_signals() else None
    if name in SIGNAMES or f"SIG{name}" in SIGNAMES:
        return signals.signum(name)
    return None


def _explained(exc: Exception) -> str:
    if isinstance(exc, PermissionError) and exc.filename:
        return (
            f"Cannot write to {exc.filename}: {exc.strerror}. Say where the nodes' files should "
            "be, such as --pidfile=%n.pid --logfile=%n%I.log"
        )
    return str(exc.args[0]) if isinstance(exc, KeyError) and exc.args else str(exc)


class MultiCommand(CeleryCommand):
    """A command that hands its words on as they are, but for ``--help``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the words in ``ctx.args``; click would take ``-c:1-3`` and ``--`` for its own."""
        own = args[: args.index("--")] if "--" in args else args
        if "--help" in own:
            return super().parse_args(ctx, ["--help"])
        ctx.args = list(args)
        return ctx.args

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write how the command is called."""
        formatter.write_usage(ctx.command_path, "COMMAND NODES... [WORKER OPTIONS]")


@click.command(cls=MultiCommand, help=HELP)
@click.pass_context
@handle_preload_options
def multi(ctx: click.Context, **kwargs: Any) -> None:
    tool = MultiTool(no_color=ctx.obj.no_color, quiet=ctx.obj.quiet)
    status = tool.execute_from_commandline(["taskq multi", *ctx.args, *_app_option(ctx)])
    ctx.exit(status)


def _app_option(ctx: click.Context) -> list[str]:
    """Return the app given in front of the subcommand, for the workers, unless they have one."""
    given = ctx.parent.params.get("app") if ctx.parent is not None else None
    source = ctx.parent.get_parameter_source("app") if ctx.parent is not None else None
    named = any(word.split("=")[0].split(":")[0] in ("-A", "--app") for word in ctx.args)
    if not isinstance(given, str) or named or source is not click.core.ParameterSource.COMMANDLINE:
        return []
    if "--" in ctx.args:
        raise CommandError("Put -A behind the nodes where there is a -- : start w1 -A proj -- …")
    return [f"--app={given}"]


def main() -> int:
    """Run it as a program of its own."""
    return MultiTool().execute_from_commandline(sys.argv)
