"""What ``taskq multi`` prints with: quiet, verbose, colours, and the exit status of an error.

Base of `MultiTool`.
"""

from __future__ import annotations

import sys
from functools import cached_property
from typing import Any

from taskq import __version__
from taskq.platforms import EX_FAILURE, EX_OK, isatty
from taskq.utils.term import colored

__all__ = ("EX_FAILURE", "EX_OK", "TermLogger")


class TermLogger:
    """Prints to a terminal or a file, as the options ``quiet``, ``verbose``, ``no_color`` say."""

    #: Exit status, changed by `error`.
    retcode = EX_OK
    prog_name = ""

    def setup_terminal(
        self,
        stdout: Any,
        stderr: Any,
        nosplash: bool = False,
        quiet: bool = False,
        verbose: bool = False,
        no_color: bool = False,
        **kwargs: Any,
    ) -> None:
        """Set where to print and what; None is this process's output."""
        self.stdout = self.fh = stdout or sys.stdout
        self.stderr = stderr or sys.stderr
        self.nosplash = nosplash
        self.quiet = quiet
        self.verbose = verbose
        self.no_color = no_color

    def ok(self, m: object, newline: bool = True, file: Any = None) -> int:
        """Print and return the status for success."""
        self.say(m, newline=newline, file=file)
        return EX_OK

    def say(self, m: object, newline: bool = True, file: Any = None) -> None:
        """Print, whatever the options."""
        print(m, file=file or self.stdout, end="\n" if newline else "", flush=True)

    def carp(self, m: object, newline: bool = True, file: Any = None) -> None:
        """Print where errors go."""
        self.say(m, newline=newline, file=file or self.stderr)

    def error(self, msg: object = None) -> int:
        """Print an error, or the usage; return the status for failure."""
        if msg:
            self.carp(msg)
        else:
            self.usage()
        self.retcode = EX_FAILURE
        return EX_FAILURE

    def info(self, msg: object, newline: bool = True) -> None:
        """Print if verbose."""
        if self.verbose:
            self.note(msg, newline=newline)

    def note(self, msg: object, newline: bool = True) -> None:
        """Print unless quiet."""
        if not self.quiet:
            self.say(msg, newline=newline)

    def usage(self) -> None:
        """Print how the program is called."""
        self.say(f"usage: {self.prog_name}")

    def splash(self) -> None:
        """Print name and version, unless told not to."""
        if not self.nosplash:
            self.note(self.colored.cyan(f"taskq multi v{__version__}"))

    @cached_property
    def colored(self) -> colored:
        """Text with colours, or plain where they are not wanted or this is no terminal."""
        return colored(enabled=not self.no_color and isatty(self.stdout))
