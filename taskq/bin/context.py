"""What every command is given as ``ctx.obj``: the app, and how to print.

Made by the root command once the app is loaded; used by each subcommand.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import click


class Pretty(NamedTuple):
    """A reply made readable: its styled status (``OK`` or ``ERROR``) and its text."""

    status: str
    text: str


class CLIContext:
    """The app a command works on, and the printing helpers that honour the global options.

    Parameters:
        app: the app that ``--app`` named, or the default app.
        no_color: print without ANSI colours.
        workdir: the directory given with ``--workdir``, or None.
        quiet: leave out what only helps a human watching.
    """

    def __init__(self, app: Any, no_color: bool, workdir: str | None, quiet: bool = False) -> None:
        self.app = app or _current_app()
        self.no_color = no_color
        self.workdir = workdir
        self.quiet = quiet

    @cached_property
    def OK(self) -> str:  # noqa: N802 - the public name
        """The status word for success, styled."""
        return self.style("OK", fg="green", bold=True)

    @cached_property
    def ERROR(self) -> str:  # noqa: N802 - the public name
        """The status word for failure, styled."""
        return self.style("ERROR", fg="red", bold=True)

    def style(self, message: str | None = None, **kwargs: Any) -> str:
        """Return ``message`` with ANSI styles (click's names), or as it is without colours."""
        text = message or ""
        return text if self.no_color else click.style(text, **kwargs)

    def secho(self, message: str | None = None, **kwargs: Any) -> None:
        """Print ``message`` styled; ``nl``, ``err``, ``file`` and styles as in click."""
        if self.no_color:
            kwargs["color"] = False
        click.secho(message, **kwargs)

    def echo(self, message: str | None = None, **kwargs: Any) -> None:
        """Print ``message`` as it is; ``nl``, ``err`` and ``file`` as in click."""
        if self.no_color:
            kwargs["color"] = False
        click.echo(message, **kwargs)

    def error(self, message: str | None = None, **kwargs: Any) -> None:
        """Print ``message`` on stderr, in red."""
        kwargs.setdefault("fg", "red")
        self.secho(message, err=True, **kwargs)

    def pretty(self, n: Any) -> tuple[str, str]:
        """Return the status and the readable text of a reply or of any plain data."""
        if isinstance(n, list):
            return Pretty(self.OK, self.pretty_list(n))
        if isinstance(n, dict):
            if "ok" in n or "error" in n:
                return self.pretty_dict_ok_error(n)
            return Pretty(self.OK, _json(n))
        return Pretty(self.OK, n if isinstance(n, str) else repr(n))

    def pretty_list(self, n: list[Any]) -> str:
        """Return one bullet per item, or a word for an empty list."""
        if not n:
            return "- empty -"
        return "\n".join(f"{self.style('*', fg='white')} {item}" for item in n)

    def pretty_dict_ok_error(self, n: dict[str, Any]) -> tuple[str, str]:
        """Return the status and text of a worker's reply, ``{"ok": …}`` or ``{"error": …}``."""
        key, status = ("ok", self.OK) if "ok" in n else ("error", self.ERROR)
        return Pretty(status, _indent(self.pretty(n[key])[1]))

    def say_chat(self, direction: str, title: str, body: str = "", show_body: bool = False) -> None:
        """Print one line of a conversation with the workers.

        Parameters:
            direction: ``"<-"`` for what is sent (left out when quiet), ``"->"`` for a reply.
            title: who speaks and the status.
            body: the text below the title, printed with ``show_body``.
        """
        if direction == "<-" and self.quiet:
            return
        self.echo(f"{self.style(direction, fg='white', bold=True)} {title}")
        if body and show_body:
            self.echo(body)


def _current_app() -> Any:
    from taskq._state import get_current_app  # start-up: `--help` needs no app

    return get_current_app()


def _json(value: Any) -> str:
    from kombu.utils.json import dumps  # start-up: `--help` needs no kombu

    return str(dumps(value, indent=4, sort_keys=True))


def _indent(text: str, width: int = 4) -> str:
    pad = " " * width
    return "\n".join(pad + line for line in text.splitlines())
