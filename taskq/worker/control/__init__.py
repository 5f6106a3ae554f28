"""The commands that a worker understands.

``@inspect_command`` and ``@control_command`` add commands; each is called with the mailbox's state
(app, hostname, consumer) and the command's arguments, and returns the answer.
"""

from __future__ import annotations

from taskq.worker.control.memory import (
    memdump,
    memsample,
    objgraph,
)
from taskq.worker.control.panel import (
    Panel,
    control_command,
    controller_info_t,
    inspect_command,
    nok,
    ok,
)
from taskq.worker.control.questions import (
    DEFAULT_TASK_INFO_ITEMS,
    active,
    active_queues,
    clock,
    conf,
    hello,
    ping,
    query_task,
    registered,
    report,
    reserved,
    revoked,
    scheduled,
    stats,
)
from taskq.worker.control.revoking import (
    revoke,
    revoke_by_stamped_headers,
    terminate,
)
from taskq.worker.control.tasks import (
    disable_events,
    election,
    enable_events,
    heartbeat,
    rate_limit,
    time_limit,
)
from taskq.worker.control.worker import (
    add_consumer,
    autoscale,
    cancel_consumer,
    pool_grow,
    pool_restart,
    pool_shrink,
    shutdown,
)

__all__ = (
    "DEFAULT_TASK_INFO_ITEMS",
    "Panel",
    "active",
    "active_queues",
    "add_consumer",
    "autoscale",
    "cancel_consumer",
    "clock",
    "conf",
    "control_command",
    "controller_info_t",
    "disable_events",
    "election",
    "enable_events",
    "heartbeat",
    "hello",
    "inspect_command",
    "memdump",
    "memsample",
    "nok",
    "objgraph",
    "ok",
    "ping",
    "pool_grow",
    "pool_restart",
    "pool_shrink",
    "query_task",
    "rate_limit",
    "registered",
    "report",
    "reserved",
    "revoke",
    "revoke_by_stamped_headers",
    "revoked",
    "scheduled",
    "shutdown",
    "stats",
    "terminate",
    "time_limit",
)
