"""The error a command ends with; in a file of its own because it needs click.

Found as ``taskq.exceptions.CeleryCommandException``; raised by the command line.
"""

from __future__ import annotations

from click.exceptions import ClickException


class CeleryCommandException(ClickException):
    """Ends the command with ``message`` on stderr and ``exit_code`` as status."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message=message)
        vars(self)["exit_code"] = exit_code  # click types it as an attribute of the class only


CeleryCommandException.__module__ = "taskq.exceptions"
