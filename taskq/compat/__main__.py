"""``python -m taskq.compat COMMAND [ARGS]``: a program written for Celery, run with taskq.

The command is a script that some package installed (``flower``, ``celery``, ``django-admin``), a
file (``manage.py``), or ``-m`` and a module.
"""

from __future__ import annotations

import os
import runpy
import sys
from importlib.metadata import entry_points
from typing import Any

from taskq.compat import ENVIRONMENT, install

USAGE = """\
Usage: python -m taskq.compat COMMAND [ARGS]...

Runs COMMAND with taskq in place of celery. COMMAND is the name of an installed script (celery,
flower, django-admin), a Python file (manage.py), or -m MODULE.
"""

#: Exit status of a command line that can't be carried out.
EX_USAGE = 2


def main(argv: list[str]) -> Any:
    """Run a command, given with its arguments, and return its status."""
    if not argv or argv[0] in {"-h", "--help"} or argv == ["-m"]:
        print(USAGE, end="", file=sys.stdout if argv else sys.stderr)
        return 0 if argv and argv != ["-m"] else EX_USAGE
    install()
    # Processes that it starts are to have the alias as well.
    os.environ[ENVIRONMENT] = "1"
    command = argv[0]
    if command == "-m":
        sys.argv = argv[1:]
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
        return 0
    sys.argv = argv
    if os.path.isfile(command):
        sys.path[0] = os.path.dirname(os.path.abspath(command))
        runpy.run_path(command, run_name="__main__")
        return 0
    for script in entry_points(group="console_scripts", name=command):
        return script.load()()
    print(
        f"Error: {command!r} is no script of an installed package and no file here. "
        "For a module write: python -m taskq.compat -m MODULE",
        file=sys.stderr,
    )
    return EX_USAGE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
