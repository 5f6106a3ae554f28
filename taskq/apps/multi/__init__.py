"""Several workers on one machine, started in the background and found again by their pidfiles.

Used by ``taskq multi``; `Cluster` is also an API for programs that manage workers.
"""

from __future__ import annotations

from taskq.apps.multi.cluster import Cluster
from taskq.apps.multi.node import Node
from taskq.apps.multi.parsing import MultiParser, NamespacedOptionParser

__all__ = ("Cluster", "MultiParser", "NamespacedOptionParser", "Node")
