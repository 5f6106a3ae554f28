"""How jobs were spread over the children, in the form that ``inspect stats`` has always had.

The pool puts it into its ``info``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from taskq.concurrency.prefork.children import Child


def write_stats(writes: Mapping[int, int], children: Collection[Child]) -> dict[str, Any]:
    """Return what ``info["writes"]`` shows.

    Parameters:
        writes: number of jobs written, per slot.
        children: the living ones.
    """
    counts = [writes[index] for index in sorted(writes)]
    total = sum(counts)
    shares = [count / total for count in counts] if total else []
    return {
        "total": total,
        "avg": _percent(sum(shares) / len(shares) if shares else 0.0),
        "all": ", ".join(map(_percent, shares)),
        "raw": ", ".join(map(str, counts)),
        "strategy": "fair",
        "inqueues": {
            "total": len(children),
            "active": sum(bool(child.queue) for child in children),
        },
    }


def _percent(share: float) -> str:
    return f"{share * 100:.2f}%"
