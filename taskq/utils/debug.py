"""Looking into a process: where it is blocked, what its memory does, what its threads do.

Used by remote control (``memsample``, ``memdump``), by the worker on SIGUSR1, and by hand.
"""

from __future__ import annotations

import os
import signal as _signal
import sys
import traceback
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any

from taskq.local import try_import

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

#: psutil's class, None if it is not installed.
Process: Any = getattr(try_import("psutil"), "Process", None)

__all__ = (
    "blockdetection",
    "cry",
    "humanbytes",
    "mem_rss",
    "memdump",
    "ps",
    "sample",
    "sample_mem",
)

#: Bytes of each unit, largest first.
UNITS = (
    (2**40.0, "TB"),
    (2**30.0, "GB"),
    (2**20.0, "MB"),
    (2**10.0, "KB"),
    (0.0, "b"),
)

_process: Any = None
_mem_sample: list[str | None] = []


def _on_blocking(signum: int, frame: FrameType | None) -> None:
    import inspect

    where = inspect.getframeinfo(frame) if frame is not None else "an unknown place"
    raise RuntimeError(f"Blocking detection timed-out at: {where}")


@contextmanager
def blockdetection(timeout: float | None) -> Iterator[None]:
    """Raise RuntimeError if the ``with`` block takes longer than ``timeout`` seconds.

    Uses SIGALRM, so it works in the main thread only. None or 0: no limit.
    """
    if not timeout:
        yield
        return
    previous = _signal.getsignal(_signal.SIGALRM)
    _signal.signal(_signal.SIGALRM, _on_blocking)
    _signal.setitimer(_signal.ITIMER_REAL, timeout)
    try:
        yield
    finally:
        _signal.setitimer(_signal.ITIMER_REAL, 0)
        _signal.signal(_signal.SIGALRM, _signal.SIG_DFL if previous is None else previous)


def sample_mem() -> str | None:
    """Note how much memory this process uses, for :func:`memdump`, and return it.

    Returns None if psutil is not installed.
    """
    current = mem_rss()
    _mem_sample.append(current)
    return current


def _memdump(samples: int = 10) -> tuple[list[str | None], str | None]:
    chosen = list(sample(_mem_sample, samples))
    # The objects that the samples kept should not count in the next one.
    import gc

    gc.collect()
    return chosen, sample_mem()


def memdump(samples: int = 10, file: Any = None) -> None:
    """Print how memory use changed.

    Parameters:
        samples: how many of the notes to print, evenly spread.
        file: where to print (default: stdout).
    """
    file = sys.stdout if file is None else file
    if ps() is None:
        print("- rss: (psutil not installed).", file=file)
        return
    previous, after = _memdump(samples)
    print("- rss (sample):", file=file)
    for memory in previous:
        print(f"-    > {memory},", file=file)
    print(f"- rss (end): {after}.", file=file)


def sample(x: Sequence[Any], n: int, k: int = 0) -> Iterator[Any]:
    """Yield ``n`` items of ``x``, evenly spread, beginning at index ``k``."""
    step = len(x) // n
    for _ in range(n):
        try:
            yield x[k]
        except IndexError:
            return
        k += step


def hfloat(f: float, p: int = 5) -> str:
    """Return a number with ``p`` significant digits, without useless zeros."""
    whole = int(f)
    return str(whole) if whole == f else f"{f:.{p}g}"


def humanbytes(s: float) -> str:
    """Return a number of bytes in the largest unit that it has one of."""
    return next(f"{hfloat(s / div if div else s)}{unit}" for div, unit in UNITS if s >= div)


def mem_rss() -> str | None:
    """Return the memory that this process uses, for people; None without psutil."""
    process = ps()
    return None if process is None else humanbytes(_process_memory_info(process).rss)


def ps() -> Any:
    """Return psutil's object for this process, or None if psutil is not installed."""
    global _process
    if Process is not None and (_process is None or _process.pid != os.getpid()):
        _process = Process(os.getpid())
    return _process


def _process_memory_info(process: Any) -> Any:
    try:
        return process.memory_info()
    except AttributeError:  # psutil before 2.0
        return process.get_memory_info()


def cry(out: Any = None, sepchr: str = "=", seplen: int = 49) -> str | None:
    """Return the stack and local variables of every thread.

    Parameters:
        out: file to write to, in which case None is returned.
        sepchr: what separators are made of.
        seplen: how long they are.
    """
    import threading
    from pprint import pprint

    file = StringIO() if out is None else out
    threads = {thread.ident: thread for thread in threading.enumerate()}
    separator = sepchr * seplen
    for ident, frame in sys._current_frames().items():
        thread = threads.get(ident)
        if thread is None:
            continue  # Ended meanwhile.
        print(f"{thread.name}\n{separator}", file=file)
        traceback.print_stack(frame, file=file)
        print(f"{separator}\nLOCAL VARIABLES\n{separator}", file=file)
        pprint(frame.f_locals, stream=file)
        print("\n", file=file)
    return file.getvalue() if out is None else None
