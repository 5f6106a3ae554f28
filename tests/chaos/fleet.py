"""A few workers under load that are killed, stopped and replaced, and the count of what became of
every task. Used by ``test_kills.py`` and by ``compare.py``, which does it to Celery as well.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.project import Project, Worker, wait_until

#: Each task says when it starts and ends: one ``write`` to a file opened for appending, so that
#: neither a kill nor another process can cut a line in two.
CODE = """
import asyncio

def note(what, number):
    line = f"{what} {number} {time.time():.3f} {os.getpid()}\\n".encode()
    ledger = os.open("ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(ledger, line)
    os.close(ledger)

@app.task(acks_late=True, reject_on_worker_lost=True)
def late(number, seconds):
    note("start", number)
    time.sleep(seconds)
    note("end", number)
    return number

@app.task
def early(number, seconds):
    note("start", number)
    time.sleep(seconds)
    note("end", number)
    return number

@app.task(acks_late=True, reject_on_worker_lost=True)
async def late_coroutine(number, seconds):
    note("start", number)
    await asyncio.sleep(seconds)
    note("end", number)
    return number

@app.task
async def early_coroutine(number, seconds):
    note("start", number)
    await asyncio.sleep(seconds)
    note("end", number)
    return number
"""

#: Workers that run at a time, and pool processes or threads of each.
WORKERS = 2
SLOTS = 2
#: A task takes a random time up to this, in seconds.
TASK_SECONDS = 0.1
#: Longest time between two blows, in seconds.
PAUSE_SECONDS = 0.5
#: Seconds that a worker may take to start, on a machine that is busy with others.
START_TIMEOUT = 60.0
#: States that end a task.
FINAL = frozenset({"SUCCESS", "FAILURE", "REVOKED"})


@dataclass(frozen=True, slots=True)
class Blow:
    """A signal, and whom it hits: ``child``, ``main``, or ``group`` (main and all children)."""

    signal: str
    target: str

    def __str__(self) -> str:
        return f"{self.signal} {self.target}"


BLOWS = tuple(
    Blow(name, target)
    for name in ("KILL", "TERM", "QUIT", "STOP")
    for target in ("child", "main", "group")
)
#: What happens in every run, however short.
ALWAYS = (Blow("KILL", "main"), Blow("KILL", "group"))


@dataclass(slots=True)
class Count:
    """What became of the tasks of one run."""

    seed: int
    blows: list[Blow] = field(default_factory=list)
    sent: int = 0
    starts: Counter[int] = field(default_factory=Counter)
    ends: Counter[int] = field(default_factory=Counter)
    #: Number of the task to its state in the result store, of those that did not end.
    unfinished: dict[int, str] = field(default_factory=dict)
    #: Of the unfinished ones, those whose message the broker still has.
    stranded: set[int] = field(default_factory=set)
    #: Seconds from the last blow to the end of the last task that ended.
    recovery: float = 0.0

    @property
    def doubled(self) -> list[int]:
        """Tasks that were started more than once."""
        return sorted(number for number, times in self.starts.items() if times > 1)

    @property
    def lost(self) -> list[int]:
        """Tasks that did not end, that no message is left of, and whose result says nothing."""
        return sorted(
            number
            for number, state in self.unfinished.items()
            if state not in FINAL and number not in self.stranded
        )

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {', '.join(map(str, self.blows))}\n"
            f"sent {self.sent}, started {len(self.starts)}, finished {len(self.ends)}, "
            f"doubled {len(self.doubled)}, lost {self.lost}, stranded {sorted(self.stranded)}, "
            f"unfinished {self.unfinished}, recovered in {self.recovery:.1f} s"
        )


def new_seed() -> int:
    """Seed of a run: ``TASKQ_CHAOS_SEED`` to repeat one, else a new one."""
    return int(os.environ.get("TASKQ_CHAOS_SEED") or random.randrange(2**32))


class Fleet:
    """Workers of one project, replaced as they die, as a supervisor would.

    - project: made of ``CODE``.
    - seed: of everything that is random here.
    - pool: ``prefork``, ``threads`` or ``asyncio``.
    - stop_seconds: how long a stopped process stays stopped; longer than a lease.
    - command, app: the program and the module it is given.
    - slots: pool processes or threads of each worker.
    """

    def __init__(
        self,
        project: Project,
        seed: int,
        *,
        pool: str = "prefork",
        stop_seconds: float = 3.5,
        command: str = "taskq",
        app: str = "proj",
        slots: int = SLOTS,
    ) -> None:
        self.project = project
        self.pool = pool
        self.chance = random.Random(seed)
        self.count = Count(seed)
        self.stop_seconds = stop_seconds
        self._command, self._app, self._slots = command, app, slots
        self._timers: list[threading.Timer] = []
        self._last_blow = time.time()
        self.workers: list[Worker] = []

    def __enter__(self) -> Fleet:
        for _ in range(WORKERS):
            self._start()
        for worker in self.workers:
            worker.wait_for_log(" ready.", START_TIMEOUT)
        return self

    def __exit__(self, *exc: object) -> None:
        for timer in self._timers:
            timer.join()
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _start(self) -> None:
        self.workers.append(
            self.project.start_worker(
                "-c",
                str(self._slots),
                "-P",
                self.pool,
                command=self._command,
                app=self._app,
                ready=False,
            )
        )

    def takes_main(self, blow: Blow) -> bool:
        """True if nobody is left who knows what the pool ran: only prefork has children."""
        hits_main = blow.target != "child" or self.pool != "prefork"
        return hits_main and blow.signal in {"KILL", "QUIT"}

    def replace_dead(self) -> None:
        """Start a worker for each one that ended."""
        for worker in [one for one in self.workers if one.process.poll() is not None]:
            self.workers.remove(worker)
            self._start()

    def processes(self) -> Iterator[int]:
        """Pids of all processes of the project, also of those that lost their parent."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with suppress(OSError):
                    if Path(os.readlink(entry / "cwd")) == self.project.directory:
                        yield int(entry.name)

    def send(self, task: Any, amount: int) -> None:
        """Send the next tasks."""
        for number in range(self.count.sent, self.count.sent + amount):
            seconds = self.chance.random() * TASK_SECONDS
            task.apply_async((number, seconds), task_id=self.task_id(number))
        self.count.sent += amount

    def task_id(self, number: int) -> str:
        """Id of the task with that number."""
        return f"chaos-{self.project.queue}-{number}"

    def strike(self, blow: Blow) -> None:
        """Hit a worker that is ready."""
        self.replace_dead()
        worker = wait_until(self._victim, 30)
        children = worker.children()
        pids = {
            "child": [self.chance.choice(children)] if children else [worker.pid],
            "main": [worker.pid],
            "group": [worker.pid, *children],
        }[blow.target]
        self._signal(pids, signal.Signals[f"SIG{blow.signal}"])
        if blow.signal == "STOP":
            self._resume_later(pids)
        self.count.blows.append(blow)
        self._last_blow = time.time()

    def _victim(self) -> Worker | None:
        self.replace_dead()
        ready = [worker for worker in self.workers if " ready." in worker.log]
        return self.chance.choice(ready) if ready else None

    def _signal(self, pids: list[int], signum: int) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signum)

    def _resume_later(self, pids: list[int]) -> None:
        timer = threading.Timer(self.stop_seconds, self._signal, (pids, signal.SIGCONT))
        timer.start()
        self._timers.append(timer)

    def run(self, task: Any, amount: int, blows: list[Blow]) -> None:
        """Send the tasks in slices, with a blow after each."""
        for blow in blows:
            self.send(task, amount // (len(blows) + 1))
            pause = time.monotonic() + self.chance.random() * PAUSE_SECONDS
            while time.monotonic() < pause:
                self.replace_dead()
                time.sleep(0.02)
            self.strike(blow)
        self.send(task, amount - self.count.sent)

    def settle(self, *, quiet: float, timeout: float, task_restarts: bool = True) -> Count:
        """Wait until every task ended, or nothing happens any more; then count.

        - quiet: seconds without a line after which what has not ended will not end.
        - task_restarts: a task that began and did not end begins again.
        - timeout: seconds until what has not ended counts as lost or stranded in any case.
        """
        for timer in self._timers:
            timer.join()
        deadline = time.monotonic() + timeout
        seen, since = -1, time.monotonic()
        while time.monotonic() < deadline:
            self.replace_dead()
            lines = self._read_ledger()
            if len(self.count.ends) == self.count.sent:
                break
            if lines != seen:
                seen, since = lines, time.monotonic()
            elif time.monotonic() - since > (quiet if self._may_go_on(task_restarts) else 1):
                break
            time.sleep(0.1)
        return self._account()

    def _may_go_on(self, task_restarts: bool) -> bool:
        return task_restarts or len(self.count.starts) < self.count.sent

    def terminate(self, timeout: float = 20.0) -> None:
        """End the workers as one should."""
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.process.wait(timeout)

    def stop(self, timeout: float = 20.0) -> None:
        """End the workers as one should, and see that no process is left."""
        self.terminate(timeout)
        wait_until(lambda: not list(self.processes()), 10, "processes are left")

    def started(self) -> int:
        """How many tasks began so far."""
        self._read_ledger()
        return len(self.count.starts)

    def _read_ledger(self) -> int:
        path = self.project.directory / "ledger"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        self.count.starts = Counter(int(line[1]) for line in lines if line[0] == "start")
        self.count.ends = Counter(int(line[1]) for line in lines if line[0] == "end")
        ends = [float(line[2]) for line in lines if line[0] == "end"]
        self.count.recovery = max([0.0, *(end - self._last_blow for end in ends)])
        return len(lines)

    def _account(self) -> Count:
        count, app = self.count, self.project.proj.app
        missing = sorted(set(range(count.sent)) - set(count.ends))
        count.unfinished = {one: app.AsyncResult(self.task_id(one)).state for one in missing}
        return count

    def wait_for_states(self, states: set[str], *, timeout: float) -> Counter[str]:
        """Wait until the result of every task is in one of the states; return how many in which."""
        app = self.project.proj.app
        ids = [self.task_id(number) for number in range(self.count.sent)]
        deadline = time.monotonic() + timeout
        while True:
            self.replace_dead()
            other = [one for one in ids if app.AsyncResult(one).state not in states]
            if not other:
                return Counter(app.AsyncResult(one).state for one in ids)
            if time.monotonic() > deadline:
                found = {one: app.AsyncResult(one).state for one in other}
                raise AssertionError(f"not in {states}: {found}\n{self.count}")
            time.sleep(0.1)
