"""What processes have used, from /proc: needs no library, so that workers can import it too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path


def group_pids(group: int) -> Iterator[int]:
    """Yield the ids of the processes of a process group."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_text()
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[2]) == group:
            yield int(folder.name)


def group_cpu(group: int) -> float:
    """Return the processor seconds that all threads of a process group have used."""
    return sum(_cpu(task) for pid in group_pids(group) for task in _threads(pid)) / 1e9


def group_wakeups(group: int) -> int:
    """Return how often the threads of a process group have gone to sleep and been woken."""
    return wakeups(group_pids(group))


def wakeups(pids: Iterable[int]) -> int:
    """Return how often the threads of some processes have gone to sleep and been woken."""
    return sum(_switches(task) for pid in pids for task in _threads(pid))


def group_pss(group: int) -> float:
    """Return the memory of a process group in MB; shared pages count once."""
    return sum(map(_pss, group_pids(group))) / 1024


def _threads(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def _cpu(task: Path) -> int:
    try:
        return int((task / "schedstat").read_text().split()[0])
    except OSError:
        return 0


def _switches(task: Path) -> int:
    try:
        text = (task / "status").read_text()
    except OSError:
        return 0
    return int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def _pss(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return int(text.partition("\nPss:")[2].split()[0])
