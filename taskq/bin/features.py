"""Options whose feature this version does not have, and the reason given when one is used.

Used by ``taskq worker``: an option is carried out or refused, never ignored.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import NamedTuple

import click


class Feature(NamedTuple):
    """The module that an option needs (None: there is none yet), and what to do without it."""

    module: str | None
    instead: str


#: Parameter of ``taskq worker`` -> what it needs.
WORKER_FEATURES = {
    "autoscale": Feature("taskq.worker.autoscale", "choose the number with --concurrency"),
    "beat": Feature("taskq.beat", "send periodic tasks from cron or from a Celery beat beside it"),
}


def refuse_unbuilt(ctx: click.Context) -> None:
    """End the command if its options ask for what this version cannot do.

    Raises click.UsageError that names the option and what to do instead.
    """
    for name, feature in WORKER_FEATURES.items():
        if not ctx.params.get(name) or _exists(feature.module):
            continue
        option = next(p for p in ctx.command.params if p.name == name)
        raise click.UsageError(
            f"{max(option.opts, key=len)} is not available in this version of taskq: "
            f"{feature.instead}."
        )


def _exists(module: str | None) -> bool:
    if module is None:
        return False
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its package is missing too
        return False
