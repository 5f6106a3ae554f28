"""Several nodes: start, stop, restart and signal them all, and tell what happens.

Used by ``taskq multi``, which prints what its callbacks hear.
"""

from __future__ import annotations

import signal
import time
from collections import UserList
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from taskq.apps.multi.commandline import default_command
from taskq.apps.multi.node import Node, runs
from taskq.platforms import signal_name

#: Seconds between two looks at whether processes that were told to stop still run.
POLL_INTERVAL = 0.05

Callback = Callable[..., Any] | None


class Cluster(UserList[Node]):
    """A list of nodes that are handled together.

    Parameters:
        nodes: the nodes.
        cmd: arguments of Python that run a worker in the foreground, for callers that ask.
        env: environment variables for the workers, beside those of this process.
        on_…: called with what the name says: ``on_node_start(node)``,
            ``on_node_status(node, status)``, ``on_stopping_preamble(nodes)``, …
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        cmd: str | None = None,
        env: Mapping[str, str] | None = None,
        on_stopping_preamble: Callback = None,
        on_send_signal: Callback = None,
        on_still_waiting_for: Callback = None,
        on_still_waiting_progress: Callback = None,
        on_still_waiting_end: Callback = None,
        on_node_start: Callback = None,
        on_node_restart: Callback = None,
        on_node_shutdown_ok: Callback = None,
        on_node_status: Callback = None,
        on_node_signal: Callback = None,
        on_node_signal_dead: Callback = None,
        on_node_down: Callback = None,
        on_child_spawn: Callback = None,
        on_child_signalled: Callback = None,
        on_child_failure: Callback = None,
    ) -> None:
        self.nodes = list(nodes)
        self.cmd = cmd or default_command("worker")
        self.env = env
        self.on_stopping_preamble = on_stopping_preamble
        self.on_send_signal = on_send_signal
        self.on_still_waiting_for = on_still_waiting_for
        self.on_still_waiting_progress = on_still_waiting_progress
        self.on_still_waiting_end = on_still_waiting_end
        self.on_node_start = on_node_start
        self.on_node_restart = on_node_restart
        self.on_node_shutdown_ok = on_node_shutdown_ok
        self.on_node_status = on_node_status
        self.on_node_signal = on_node_signal
        self.on_node_signal_dead = on_node_signal_dead
        self.on_node_down = on_node_down
        self.on_child_spawn = on_child_spawn
        self.on_child_signalled = on_child_signalled
        self.on_child_failure = on_child_failure

    @property
    def data(self) -> list[Node]:  # type: ignore[override]  # UserList sets it, we compute it
        """The nodes."""
        return self.nodes

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({len(self)}): {[node.name for node in self]!r}>"

    def find(self, name: str) -> Node:
        """Return the node with a name, full or short.

        Raises KeyError if there is none.
        """
        for node in self:
            if name in (node.name, node.name.partition("@")[0]):
                return node
        raise KeyError(name)

    def start(self) -> list[int]:
        """Start all nodes, one after the other; return the exit status of each (0: it runs)."""
        return [self.start_node(node) for node in self]

    def start_node(self, node: Node) -> int:
        """Start one node; return 0, or the exit status of what failed."""
        _call(self.on_node_start, node)
        status = self._start_node(node)
        _call(self.on_node_status, node, status)
        return status

    def _start_node(self, node: Node) -> int:
        return node.start(
            self.env,
            on_spawn=self.on_child_spawn,
            on_signalled=self.on_child_signalled,
            on_failure=self.on_child_failure,
        )

    def send_all(self, sig: int) -> None:
        """Send a signal to every node that runs."""
        for node in self.getpids(on_down=self.on_node_down):
            _call(self.on_node_signal, node, _name(sig))
            node.send(sig, self.on_node_signal_dead)

    def kill(self) -> None:
        """Kill every node at once; what their tasks did so far is lost."""
        self.send_all(signal.SIGKILL)

    def getpids(self, on_down: Callback = None) -> list[Node]:
        """Return the nodes that have a process id; calls ``on_down(node)`` for the others."""
        found = []
        for node in self:
            if node.pid:
                found.append(node)
            else:
                _call(on_down, node)
        return found

    def stop(
        self, retry: float | None = None, callback: Callback = None, sig: int = signal.SIGTERM
    ) -> None:
        """Send ``sig`` to all nodes.

        - retry: seconds between two reports while we wait for their end; None does not wait.
        - callback: called with each node that has ended (or did not run).
        """
        self._stop_nodes(retry=retry, on_down=callback, sig=sig)

    def stopwait(
        self, retry: float | None = 2, callback: Callback = None, sig: int = signal.SIGTERM
    ) -> None:
        """As `stop`, and wait until all have ended."""
        self._stop_nodes(retry=retry, on_down=callback, sig=sig)

    def restart(self, sig: int = signal.SIGTERM) -> list[int]:
        """Stop all nodes, start each once it has ended; return the exit status of each start."""
        statuses: list[int] = []

        def start_again(node: Node) -> None:
            _call(self.on_node_restart, node)
            status = self._start_node(node)
            _call(self.on_node_status, node, status)
            statuses.append(status)

        self._stop_nodes(retry=2, on_down=start_again, sig=sig)
        return statuses

    def _stop_nodes(
        self, retry: float | None = None, on_down: Callback = None, sig: int = signal.SIGTERM
    ) -> None:
        on_down = on_down if on_down is not None else self.on_node_down
        nodes = self.getpids(on_down=on_down)
        if nodes:
            for node in self.shutdown_nodes(nodes, sig=sig, retry=retry):
                _call(on_down, node)

    def shutdown_nodes(
        self, nodes: Sequence[Node], sig: int = signal.SIGTERM, retry: float | None = None
    ) -> Iterable[Node]:
        """Send ``sig`` to nodes; yield each when it has ended, as long as we wait for that.

        - retry: seconds between two reports; None only sends.
        """
        _call(self.on_stopping_preamble, nodes)
        waiting: dict[Node, int] = {}
        for node in nodes:
            pid = node.pid
            _call(self.on_send_signal, node, _name(sig))
            if node.send(sig, self.on_node_signal_dead) and pid:
                waiting[node] = pid
            else:
                yield node
        if retry is None or not waiting:
            return
        yield from self._ends(waiting, retry)

    def _ends(self, waiting: dict[Node, int], retry: float) -> Iterable[Node]:
        _call(self.on_still_waiting_for, list(waiting))
        reported = time.monotonic()
        while waiting:
            # By pid: the pidfile goes a moment before its process does.
            ended = [node for node, pid in waiting.items() if not runs(pid)]
            for node in ended:
                del waiting[node]
                _call(self.on_node_shutdown_ok, node)
                yield node
                if waiting:
                    _call(self.on_still_waiting_for, list(waiting))
            if not waiting:
                break
            if time.monotonic() - reported >= retry:
                _call(self.on_still_waiting_progress, list(waiting))
                reported = time.monotonic()
            time.sleep(POLL_INTERVAL)
        _call(self.on_still_waiting_end)


def _name(sig: int) -> str:
    try:
        return signal_name(sig)
    except KeyError:
        return str(sig)


def _call(callback: Callback, *args: Any) -> Any:
    return callback(*args) if callback is not None else None
