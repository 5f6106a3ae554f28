"""One worker of a cluster: its command line, its pidfile, starting it and sending it signals.

Made by `MultiParser` from a command line, or with `Node.from_kwargs`.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from taskq.apps.multi.commandline import (
    GLOBAL_OPTIONS,
    default_command,
    expander,
    format_option,
    options_from_kwargs,
    with_global_options,
)
from taskq.platforms import Pidfile

#: Where a node's files are unless it is told otherwise, as Celery's users have them.
DEFAULT_PIDFILE = "/var/run/celery/%n.pid"
DEFAULT_LOGFILE = "/var/log/celery/%n%I.log"


class Node:
    """A worker that runs in the background.

    Parameters:
        name: its node name, ``name@host``.
        cmd: arguments of Python that start it; ``-m taskq worker --detach`` if not given.
        append: text behind the options, in which formats such as ``%n`` are replaced.
        options: its options, ``{"-c": "4", "--logfile": "%n.log", "-E": None}``.
        extra_args: text at the very end.

    ``argv`` are the parts of its command line, each quoted for a shell.
    """

    def __init__(
        self,
        name: str,
        cmd: str | None = None,
        append: str | None = None,
        options: Mapping[str, str | None] | None = None,
        extra_args: str | None = None,
    ) -> None:
        self.name = name
        self.cmd = cmd or default_command("worker", "--detach")
        self.append = append
        self.extra_args = extra_args or ""
        self.options = self._with_defaults(options or {})
        self.expander = expander(name)
        self.argv = self._argv()
        self._pid: int | None = None

    @classmethod
    def from_kwargs(cls, name: str, **kwargs: Any) -> Node:
        """Return a node whose options are keywords: ``Node.from_kwargs("w1@host", c=4)``."""
        return cls(name, options=options_from_kwargs(kwargs))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.name}>"

    def _with_defaults(self, options: Mapping[str, str | None]) -> dict[str, str | None]:
        options = dict(options)
        for names, value in (
            (("-n", "--hostname"), self.name),
            (("--pidfile",), DEFAULT_PIDFILE),
            (("--logfile", "-f"), DEFAULT_LOGFILE),
            (("--executable",), sys.executable),
        ):
            given = next((name for name in names if options.get(name)), names[0])
            options[given] = os.path.expanduser(options.get(given) or value)
        return options

    def _argv(self) -> tuple[str, ...]:
        parts = [with_global_options(self.cmd, self.options)]
        parts += [
            format_option(name, self.expander(value) if value else None)
            for name, value in self.options.items()
            if name not in GLOBAL_OPTIONS
        ]
        if self.append:
            parts.append(self.expander(self.append))
        return (*parts, self.extra_args)

    def getopt(self, *alt: str) -> str | None:
        """Return the value of an option that has several names.

        Raises KeyError with the first name if it was not given.
        """
        for name in alt:
            if name in self.options:
                return self.options[name]
        raise KeyError(alt[0])

    @cached_property
    def pidfile(self) -> str:
        """Path of the file with the worker's process id."""
        return self.expander(self.getopt("--pidfile") or DEFAULT_PIDFILE)

    @cached_property
    def logfile(self) -> str:
        """Path of the worker's log; ``%I`` in it stands for a pool process."""
        return self.expander(self.getopt("--logfile", "-f") or DEFAULT_LOGFILE)

    @cached_property
    def executable(self) -> str:
        """The Python that runs it."""
        return self.options["--executable"] or sys.executable

    @cached_property
    def argv_with_executable(self) -> tuple[str, ...]:
        """The whole command line, quoted."""
        return (shlex.quote(self.executable), *self.argv)

    @property
    def pid(self) -> int | None:
        """Process id, from the pidfile; None if there is none.

        Raises ValueError if there is a file with something else in it.
        """
        if self._pid is not None:
            return self._pid
        try:
            return Pidfile(self.pidfile).read_pid()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def alive(self) -> bool:
        """Return whether its process runs."""
        return self.send(0)

    def send(self, sig: int, on_error: Callable[[Node], Any] | None = None) -> bool:
        """Send a signal to the worker; return whether it runs.

        Calls ``on_error(node)`` if it does not. Raises PermissionError for another user's.
        """
        pid = self.pid
        if pid and runs(pid):
            try:
                os.kill(pid, sig)
            except ProcessLookupError:
                pass  # it has just ended: told below
            else:
                return True
        if on_error is not None:
            on_error(self)
        return False

    def start(self, env: Mapping[str, str] | None = None, **kwargs: Any) -> int:
        """Start the worker in the background; return 0, or the exit status of what failed.

        - env: environment variables beside those of this process.

        Keywords are those of `handle_process_exit`, and ``on_spawn(node, argstr=, env=)``.
        """
        for path in (self.pidfile, self.logfile):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        on_spawn = kwargs.pop("on_spawn", None)
        environment = {**os.environ, **(env or {})}
        argv = self.prepare_argv(self.argv, self.executable)
        if on_spawn is not None:
            on_spawn(self, argstr=shlex.join(argv), env=environment)
        status = subprocess.run(argv, env=environment, check=False).returncode
        return self.handle_process_exit(status, **kwargs)

    def handle_process_exit(
        self,
        retcode: int,
        on_signalled: Callable[[Node, int], Any] | None = None,
        on_failure: Callable[[Node, int], Any] | None = None,
    ) -> int:
        """Tell what became of the process that puts the worker in the background.

        Returns the status; of one killed by a signal, the signal's number. Calls
        ``on_signalled(node, signum)`` or ``on_failure(node, status)``.
        """
        if retcode < 0:
            if on_signalled is not None:
                on_signalled(self, -retcode)
            return -retcode
        if retcode > 0 and on_failure is not None:
            on_failure(self, retcode)
        return retcode

    def prepare_argv(self, argv: Sequence[str], path: str) -> list[str]:
        """Return the words of a command line given as quoted texts, behind the program."""
        return [path, *shlex.split(" ".join(argv))]

    def kill(self) -> bool:
        """Kill the worker at once; return whether it ran."""
        return self.send(signal.SIGKILL)


def runs(pid: int) -> bool:
    """Return whether there is a process; one that only waits for its parent has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # of another user
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True  # no /proc: it exists, that is all there is to know
    return stat.rpartition(")")[2].split()[:1] != ["Z"]
