"""Several beats of a project: who of them leads, and whether they sent each due time once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from taskq.beat.leases import Run, open_lease
from tests.integration.beat_support import start_beat, take_messages
from tests.integration.project import Project, Worker, wait_until


def beats(project: Project) -> Callable[[], Worker]:
    """Return a function that starts one more beat."""
    count = iter(range(1000))

    def start() -> Worker:
        name = f"beat{next(count)}"
        return start_beat(project, "-s", name, name=name)

    return start


def leader(*candidates: Worker) -> Worker:
    """Wait until one of them leads, and return it."""

    def leading() -> Worker | None:
        for beat in candidates:
            if beat.process.poll() is None and leads(beat):
                return beat
        return None

    return wait_until(leading, 30)


def leads(beat: Worker) -> bool:
    """Return whether a beat's log says that it leads."""
    return beat.log.rfind("beat: leading as") > beat.log.rfind("standing by")


def assert_each_time_was_sent_once(
    project: Project, since: Mapping[str, Run], *, repeats: int = 0
) -> int:
    """Each entry was sent as often as it was counted, and once for each second.

    - since: last runs at some time; the seconds count from then on.
    - repeats: so many messages at most came twice, with the same id.

    Returns how many did.
    """
    messages = {}
    repeated = 0
    for message in take_messages(project):
        repeated += message.headers["id"] in messages
        messages[message.headers["id"]] = message
    assert repeated <= repeats
    sent = Counter(message.payload[0][0] for message in messages.values())
    runs = last_runs(project)
    assert len(runs) == len(sent)
    for name, run in runs.items():
        assert sent[int(name[1:])] == run.total_run_count, (name, sent, runs, _errors(project))
    for name, run in since.items():
        seconds = (runs[name].last_run_at - run.last_run_at).total_seconds()
        assert runs[name].total_run_count - run.total_run_count == seconds, (name, since, runs)
    return repeated


def _errors(project: Project) -> list[str]:
    """Return what the beats complained about."""
    lines = [line for log in project.directory.glob("beat*.log") for line in log.open()]
    return [line for line in lines if "ERROR" in line or "WARNING" in line]


def last_runs(project: Project) -> dict[str, Run]:
    """Return the last runs that beats share."""
    lease = open_lease(project.proj.app)
    try:
        return lease.runs()
    finally:
        lease.close()
