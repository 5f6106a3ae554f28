"""Entry of a spawned child: takes what the main process left for it and becomes a pool process.

Nothing of the app's world may be imported before the main module is restored.
"""

from __future__ import annotations

import pickle
import socket
from multiprocessing import spawn
from typing import Any, NoReturn

from taskq.concurrency.prefork.child import run_child
from taskq.concurrency.prefork.inherited import take_files


def main(start: dict[str, Any]) -> NoReturn:
    """Become the pool process that :func:`taskq.concurrency.prefork.launch.spawn` describes."""
    spawn.prepare(start["preparation"])
    sock = socket.socket(fileno=start["socket"])
    sock.set_inheritable(False)
    page = take_files(start["files"])
    config, app = pickle.loads(start["config"])
    run_child(config.with_app(app.resolve()), sock, page)
