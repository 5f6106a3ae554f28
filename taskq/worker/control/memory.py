"""Commands that look for what uses a worker's memory."""

from __future__ import annotations

import io
import tempfile
from importlib import import_module
from typing import Any

from taskq.utils.debug import memdump as print_memory_samples
from taskq.utils.debug import sample_mem
from taskq.utils.log import get_logger
from taskq.worker.control.panel import inspect_command, nok

logger = get_logger("celery.worker.control")


@inspect_command()
def memsample(state: Any, **kwargs: Any) -> Any:
    """Measure how much memory the worker uses, and remember it for memdump."""
    return sample_mem()


@inspect_command(args=[("samples", int)], signature="[n_samples=10]")
def memdump(state: Any, samples: int = 10, **kwargs: Any) -> Any:
    """How much memory the worker used when memsample was called."""
    out = io.StringIO()
    print_memory_samples(samples, file=out)
    return out.getvalue()


@inspect_command(
    default_timeout=60.0,
    signature="[object_type=Request] [num=200 [max_depth=10]]",
    args=[("type", str), ("num", int), ("max_depth", int)],
)
def objgraph(state: Any, num: int = 200, max_depth: int = 10, type: str = "Request") -> Any:
    """Draw what keeps objects of a class in memory, into a file on the worker's machine."""
    try:
        drawing: Any = import_module("objgraph")
    except ImportError:
        return nok("objgraph is not installed: pip install objgraph")
    logger.info("Dumping graph for type %r", type)
    with tempfile.NamedTemporaryFile(prefix="cobjg", suffix=".png", delete=False) as file:
        objects = drawing.by_type(type)[: int(num)]
        drawing.show_backrefs(
            objects,
            max_depth=int(max_depth),
            highlight=lambda found: found in objects,
            filename=file.name,
        )
        return {"filename": file.name}
