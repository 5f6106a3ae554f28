"""Entry of a spawned child: reads what the main process left for it and becomes a pool process.

Nothing of the app's world may be imported before ``sys.path`` and the main module are restored.
"""

from __future__ import annotations

import os
import pickle
import socket
from typing import NoReturn

#: Tells everything that runs here (Celery's name for it) that nothing was inherited.
SPAWNED_VARIABLE = "FORKED_BY_MULTIPROCESSING"


def main(fd: int) -> NoReturn:
    """Become the pool process described in the file ``fd``."""
    from multiprocessing import spawn

    with os.fdopen(fd, "rb") as file:
        start = pickle.load(file)
    os.environ[SPAWNED_VARIABLE] = "1"
    spawn.prepare(start["preparation"])

    from taskq.concurrency.prefork.child import run_child
    from taskq.concurrency.prefork.page import Page

    sock = socket.socket(fileno=start["socket"])
    sock.set_inheritable(False)
    page = Page(start["page"])
    os.close(start["page"])
    config, app = pickle.loads(start["config"])
    run_child(config.with_app(app.resolve()), sock, page)
