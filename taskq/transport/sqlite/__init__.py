"""``sqlite://``: a broker in one database file, for all processes of one machine, no server.

`Transport` is what kombu's connection uses; the result backend shares `Database`, `Listener` and
the errors. Where to look:

- `options`, `schema`, `database`, `forking`, `errors`: the file and one connection to it;
- `routing`, `publishing`: exchanges, queues, bindings, and getting messages in;
- `subscriptions`, `claiming`, `inbox`, `settling`: getting messages out, acknowledging them;
- `owner`, `process`, `keeper`, `reaper`: leases, and giving back what dead consumers held;
- `bell`, `inotify`, `wakeup`: waiting without polling;
- `channel`, `transport`: kombu's interface to all of it.
"""

from __future__ import annotations

from taskq.transport.sqlite.channel import Channel
from taskq.transport.sqlite.transport import Transport

__all__ = ("Channel", "Transport")
