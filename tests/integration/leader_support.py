"""Several beats of a project: who of them leads, and whether they sent each due time once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

from taskq.beat.leases import Run, open_lease
from taskq.beat.stored import open_store
from tests.integration.beat_support import start_beat, take_messages
from tests.integration.project import Project, Worker, wait_until


def beats(project: Project) -> Callable[[], Worker]:
    """Return a function that starts one more beat. They have one schedule file."""
    count = iter(range(1000))

    def start() -> Worker:
        name = f"beat{next(count)}"
        return start_beat(project, name=name)

    return start


def leader(*candidates: Worker) -> Worker:
    """Wait until one of them leads, and return it."""

    def leading() -> Worker | None:
        for beat in candidates:
            if beat.process.poll() is None and leads(beat):
                return beat
        return None

    return wait_until(leading, 60)


def leads(beat: Worker) -> bool:
    """Return whether a beat's log says that it leads."""
    return beat.log.rfind("beat: leading as") > beat.log.rfind("standing by")


#: To be added to a project whose entries send ``t``: what a worker runs is written to a file.
RECORDING = """
@app.task(name="t", bind=True, ignore_result=True)
def t(self, *args):
    with open("ran", "a") as out:
        out.write(f"{args[0]} {self.request.id}\\n")
"""


def assert_each_time_was_sent_once(
    project: Project, since: Mapping[str, Run], *, by_worker: bool = False
) -> None:
    """Each entry was sent as often as it was counted, and once for each second.

    To be called when no beat is left.

    - since: last runs at some time; the seconds count from then on.
    - by_worker: the broker may have messages twice: a worker runs them, each once.
    """
    runs = last_runs(project)
    counted = {int(name[1:]): run.total_run_count for name, run in runs.items()}
    if by_worker:
        sent = run_by_a_worker(project, sum(counted.values()))
    else:
        messages = take_messages(project)
        sent = [(message.payload[0][0], message.headers["id"]) for message in messages]
    ids = Counter(task_id for _, task_id in sent)
    assert [task_id for task_id, count in ids.items() if count > 1] == []
    assert Counter(number for number, _ in sent) == counted, _complaints(project)
    for name, run in since.items():
        seconds = (runs[name].last_run_at - run.last_run_at).total_seconds()
        assert runs[name].total_run_count - run.total_run_count == seconds, (name, since, runs)


def run_by_a_worker(project: Project, count: int) -> list[tuple[int, str]]:
    """Return what a worker runs of the queue, once that is as much as this, and nothing is left."""
    with project.worker("-c", "2", "--without-mingle", "--without-gossip"):
        # However many there are: as long as it goes on.
        while (ran := len(what_ran(project))) < count:
            wait_until(partial(_more_ran, project, ran), 60)
        # Its copies, if there are any, are behind it in the queue.
        last = project.proj.app.send_task("t", (-1,)).id
        wait_until(lambda: any(task_id == last for _, task_id in what_ran(project)), 60)
    return [ran for ran in what_ran(project) if ran[0] != -1]


def _more_ran(project: Project, before: int) -> bool:
    return len(what_ran(project)) > before


def what_ran(project: Project) -> list[tuple[int, str]]:
    """Return argument and id of each run of ``t``."""
    path = project.directory / "ran"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(number), task_id) for number, task_id in map(str.split, lines)]


def _complaints(project: Project) -> list[str]:
    """Return what the beats complained about."""
    lines = [line for log in project.directory.glob("beat*.log") for line in log.open()]
    return [line for line in lines if "ERROR" in line or "WARNING" in line]


def forget_stored_schedules(project: Project) -> None:
    """Remove what other tests have left in the database of the schedules."""
    store = open_store(project.proj.app)
    try:
        for entry in store.entries():
            store.remove(entry.name)
    finally:
        store.close()


def last_runs(project: Project) -> dict[str, Run]:
    """Return the last runs that beats share."""
    lease = open_lease(project.proj.app)
    try:
        return lease.runs()
    finally:
        lease.close()
