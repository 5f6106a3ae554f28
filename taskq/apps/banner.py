"""What a worker prints when it starts: a drawing, its settings, its queues and its tasks.

Used by the worker program.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from datetime import datetime
from itertools import zip_longest
from typing import Any

from taskq import VERSION_BANNER
from taskq.loaders.app import AppLoader
from taskq.utils.imports import qualname

#: Queued tasks on their way to a worker; one line of it stands before each line of the text.
ART = (
    "        .----------",
    "  [ ]  /  .--------",
    "  [ ] /  /         ",
    "  [ ]/  /   ------ ",
    "  [#]  /  .------. ",
    "  [#] >--->| task |",
    "  [#]  \\  '------' ",
    "  [ ]\\  \\   ------ ",
    "  [ ] \\  \\         ",
    "  [ ]  \\  '--------",
    "        '----------",
)

BANNER = """\
{hostname} v{version}

{platform} {timestamp}

[config]
.> app:         {app}
.> transport:   {transport}
.> results:     {results}
.> concurrency: {concurrency}
.> task events: {events}

[queues]
{queues}"""

TASKS = """
[tasks]
{tasks}
"""


def startup_text(worker: Any, *, art: bool = True) -> str:
    """Return what there is to know about a worker that starts.

    - art: draw beside it.
    """
    app = worker.app
    text = BANNER.format(
        hostname=worker.hostname,
        version=VERSION_BANNER,
        platform=platform.platform(),
        timestamp=datetime.now().replace(microsecond=0),
        app=_app_line(app),
        transport=app.connection_for_read().as_uri(),
        results=worker.results_url,
        concurrency=_concurrency_line(worker),
        events="ON" if worker.task_events else "OFF (enable -E to monitor tasks in this worker)",
        queues=app.amqp.queues.format(indent=0, indent_first=False),
    )
    return _beside_art(text.splitlines()) if art else text


def tasks_text(names: Iterable[str]) -> str:
    """Return the section that lists the tasks."""
    return TASKS.format(tasks="\n".join(f"  . {name}" for name in sorted(names)))


def _app_line(app: Any) -> str:
    line = f"{app.main or '__main__'}:{id(app):#x}"
    if isinstance(app.loader, AppLoader):
        return line
    loader = qualname(app.loader).removeprefix("taskq.loaders.")
    return f"{line} ({loader})"


def _concurrency_line(worker: Any) -> str:
    pool = worker.pool_cls
    name = pool if isinstance(pool, str) else pool.__module__
    amount = str(worker.concurrency)
    autoscale = worker.options.get("autoscale")
    if autoscale:
        most, least = autoscale
        amount = f"{{min={least}, max={most}}}"
    ours = name.removeprefix("taskq.concurrency.")
    return f"{amount} ({ours.partition('.')[0] if ours != name else name.rpartition('.')[2]})"


def _beside_art(lines: list[str]) -> str:
    width = len(ART[0])
    return "\n".join(
        f"{left or ' ' * width} {right or ''}".rstrip() for left, right in zip_longest(ART, lines)
    )
