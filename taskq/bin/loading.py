"""Finding the app that ``-A`` names, and telling what was tried when there is none.

Called by the root command before a subcommand runs.
"""

from __future__ import annotations

import os
import sys
import traceback
from types import TracebackType
from typing import Any

from taskq.bin.errors import CommandError

#: Exit status for a command line that cannot be carried out, as click's own usage errors.
EX_USAGE = 2

NOT_FOUND = """\
Unable to load the app {name!r}: there is no module {missing!r}.
Looked in {cwd} and on sys.path.{hint}
Run the command in the directory that holds the module, or name that directory with --workdir;
-A takes a module ('proj', 'proj.tasks') or a module and an attribute ('proj.tasks:app')."""

NO_APP = "Unable to load the app {name!r}: {reason}."

NO_ATTRIBUTE = """\
Unable to load the app {name!r}: the module {module!r} has no attribute {attribute!r}.
It has: {has}."""

NOT_AN_APP = """\
Unable to load the app {name!r}: what has that name is no app of taskq, but of type {type}.{hint}"""

OTHER_PACKAGE = """
Import the class from taskq where the app is made ('from taskq import Celery'), or put
'python -m taskq.compat celery' in place of 'taskq', so that 'import celery' gives taskq."""

BROKEN = """\
Unable to load the app {name!r}: the module was found, but importing it failed:

{trace}"""


def load_app(name: str) -> Any:
    """Return the app that ``name`` stands for, by Celery's rules for ``-A``.

    - name: a module, or ``module:attribute``.

    Raises CommandError, with what was tried, when there is none.
    """
    from taskq.app.utils import find_app  # start-up: `--help` loads no app

    try:
        return _checked(name, find_app(name))
    except ModuleNotFoundError as exc:
        if exc.name == name and ":" in name:
            raise CommandError(_no_attribute(name), EX_USAGE) from exc
        if exc.name and _is_part_of(exc.name, name):
            raise CommandError(_not_found(name, exc.name), EX_USAGE) from exc
        raise CommandError(_broken(name, exc), EX_USAGE) from exc
    except AttributeError as exc:
        if _raised_by_user_code(exc):
            raise CommandError(_broken(name, exc), EX_USAGE) from exc
        raise CommandError(NO_APP.format(name=name, reason=exc), EX_USAGE) from exc
    except (CommandError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as exc:  # whatever the user's module raises while it is imported
        raise CommandError(_broken(name, exc), EX_USAGE) from exc


def _checked(name: str, found: Any) -> Any:
    """Return what was found. Raises CommandError when it is no app."""
    from taskq.app.base import TaskQ  # start-up: `--help` loads no app

    if isinstance(found, TaskQ):
        return found
    cls = type(found)
    hint = OTHER_PACKAGE if any(base.__name__ == "Celery" for base in cls.__mro__) else ""
    raise CommandError(
        NOT_AN_APP.format(name=name, type=f"{cls.__module__}.{cls.__qualname__}", hint=hint),
        EX_USAGE,
    )


def _module_of(name: str) -> str:
    return name.partition(":")[0]


def _is_part_of(missing: str, name: str) -> bool:
    """Return whether the module that was not found is ``name`` itself or one of its parents."""
    return f"{_module_of(name)}.".startswith(f"{missing}.")


def _not_found(name: str, missing: str) -> str:
    return NOT_FOUND.format(name=name, missing=missing, cwd=os.getcwd(), hint=_similar(missing))


def _similar(missing: str) -> str:
    """Return a hint naming modules here whose names are nearly ``missing``."""
    from difflib import get_close_matches  # only for a mistake

    here = [
        entry.name.removesuffix(".py")
        for entry in os.scandir(".")
        if entry.name.endswith(".py") or (entry.is_dir() and entry.name.isidentifier())
    ]
    found = get_close_matches(missing, here)
    return f" Did you mean {' or '.join(map(repr, found))}?" if found else ""


def _no_attribute(name: str) -> str:
    module, _, attribute = name.partition(":")
    names = [n for n in vars(sys.modules[module]) if not n.startswith("_")]
    return NO_ATTRIBUTE.format(
        name=name, module=module, attribute=attribute, has=", ".join(names) or "nothing"
    )


def _raised_by_user_code(exc: BaseException) -> bool:
    return bool(_user_frames(exc.__traceback__))


def _broken(name: str, exc: BaseException) -> str:
    frames = _user_frames(exc.__traceback__)
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames)]
    lines += traceback.format_exception_only(type(exc), exc)
    return BROKEN.format(name=name, trace="".join(lines).rstrip())


def _user_frames(tb: TracebackType | None) -> list[traceback.FrameSummary]:
    """Return the frames of ``tb`` from the first that is the user's own module on."""
    frames = list(traceback.extract_tb(tb))
    for index, frame in enumerate(frames):
        if not _is_machinery(frame.filename):
            return [f for f in frames[index:] if not _is_import_system(f.filename)]
    return []


def _is_import_system(filename: str) -> bool:
    return filename.startswith("<frozen importlib") or filename.endswith("importlib/__init__.py")


def _is_machinery(filename: str) -> bool:
    if _is_import_system(filename):
        return True
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if filename.startswith(package + os.sep):
        return True
    parts = filename.replace("\\", "/").split("/")
    return "site-packages" in parts and "kombu" in parts
