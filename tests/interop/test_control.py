"""Remote control across fleets: every command, by either's client, to workers of both.

All of it happens while the workers' pools are full: an answer never waits for a task.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.project import Project, wait_until

CODE = """
@app.task(name="add")
def add(x, y):
    return x + y

@app.task(name="wait")
def wait(name):
    open(f"started-{name}", "w").close()
    while not os.path.exists("go"):
        time.sleep(0.05)

from importlib import import_module
panel = import_module(Celery.__module__.split(".")[0] + ".worker.control")

@panel.inspect_command(args=[("factor", int)], signature="[factor=2]")
def doubled(state, factor=2):
    "Count the tasks."
    return {"tasks": factor * len(state.app.tasks), "host": state.hostname}

@panel.control_command(args=[("words", str)], variadic="words", signature="[w1 [w2]]")
def say(state, words=()):
    "Repeat words."
    return {"ok": " ".join(words)}
"""

OURS, THEIRS = "t@h", "c@h"


class Fleet:
    """A worker of each kind, full to the brim, and a client of each."""

    def __init__(self, project: Project, apps: dict[str, Any]) -> None:
        self.project = project
        self.apps = apps

    def ask(self, client: str, command: str, **arguments: Any) -> dict[str, Any]:
        """Return both workers' answers to a command of ``client``'s."""
        replies: list[dict[str, Any]] = self.apps[client].control.broadcast(
            command, arguments=arguments, reply=True, timeout=20, limit=2
        )
        return {name: answer for reply in replies for name, answer in reply.items()}

    def run(self, client: str, *words: str) -> Any:
        """Run the command line of a package."""
        app = "proj" if client == "taskq" else "cproj"
        return self.project.run("-A", app, *words, command=client)


@pytest.fixture(scope="module")
def fleet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """Both workers, each with a task that runs, one that waits, one with an ETA, one revoked."""
    url = request.getfixturevalue("redis_server")
    conf = {
        "control_exchange": f"ct-{id(request)}",
        "event_exchange": f"ev-{id(request)}",
        "worker_pool_restarts": True,
        # In the worker's memory, as with Celery, and not at the broker.
        "worker_defer_eta": 3600,
    }
    directory: Path = tmp_path_factory.mktemp("fleet")
    project = Project(directory, CODE, broker=url, backend=url, conf=conf)
    apps = {"taskq": project.proj.app, "celery": project.as_package("celery", "cproj").app}
    options = ("-c", "1", "-E", "--prefetch-multiplier", "4", "--autoscale", "2,1")
    with ExitStack() as stack:
        stack.callback(project.close)
        for name, command, module in ((OURS, "taskq", "proj"), (THEIRS, "celery", "cproj")):
            queue = f"{project.queue}-{command}"
            stack.enter_context(
                project.worker(*options, "-n", name, "-Q", queue, command=command, app=module)
            )
            send = apps[command].send_task
            for n in range(2):
                send("wait", (f"{command}{n}",), queue=queue, task_id=f"run{n}-{command}")
            wait_until(lambda c=command: (directory / f"started-{c}0").exists())
            wait_until(lambda c=command: (directory / f"started-{c}1").exists())
            send("add", (1, 2), queue=queue, task_id=f"held-{command}")
            send("add", (1, 2), queue=queue, task_id=f"eta-{command}", countdown=900)
            # Before the worker is told to stop, which would wait for the tasks.
            stack.callback((directory / "go").touch)
        made = Fleet(project, apps)
        wait_until(lambda: all(made.ask("taskq", "reserved").values()))
        wait_until(lambda: all(made.ask("taskq", "scheduled").values()))
        yield made


def shape(value: Any) -> Any:
    """Return the keys and types of a reply."""
    if isinstance(value, dict):
        return {key.partition("-")[0]: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return type(value).__name__


#: Command, its arguments. Those that end or change too much are tried alone, below.
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("active", {}),
    ("active", {"safe": True}),
    ("active_queues", {}),
    ("clock", {}),
    ("hello", {"from_node": "x@y", "revoked": ["gone"]}),
    ("memdump", {}),
    ("memsample", {}),
    ("ping", {}),
    ("query_task", {"ids": ["run0-taskq", "run0-celery", "held-taskq", "held-celery"]}),
    ("registered", {}),
    ("registered", {"taskinfoitems": ["rate_limit", "max_retries"]}),
    ("report", {}),
    ("reserved", {}),
    ("revoked", {}),
    ("scheduled", {}),
    ("doubled", {"factor": 3}),
    ("say", {"words": ["a", "b"]}),
    ("add_consumer", {"queue": "further"}),
    ("cancel_consumer", {"queue": "further"}),
    ("autoscale", {"max": 2, "min": 1}),
    ("disable_events", {}),
    ("disable_events", {}),
    ("enable_events", {}),
    ("enable_events", {}),
    ("rate_limit", {"task_name": "add", "rate_limit": "10/m"}),
    ("rate_limit", {"task_name": "add", "rate_limit": 0}),
    ("rate_limit", {"task_name": "nobody", "rate_limit": "10/m"}),
    ("rate_limit", {"task_name": "add", "rate_limit": "much"}),
    ("time_limit", {"task_name": "add", "hard": 20.0, "soft": 10.0}),
    ("time_limit", {"task_name": "nobody", "hard": 20.0}),
    ("revoke", {"task_id": ["a", "b"]}),
    ("revoke", {"task_id": "nobody", "terminate": True}),
    ("terminate", {"task_id": "nobody", "signal": "KILL"}),
    ("revoke_by_stamped_headers", {"headers": {"who": ["x"]}}),
    ("revoke_by_stamped_headers", {"headers": {"who": "x"}, "terminate": True}),
    ("pool_grow", {"n": 1}),
    ("pool_shrink", {"n": 1}),
    ("pool_shrink", {"n": "many"}),
    ("pool_grow", {"n": -1}),
    ("ping", {"unknown": 1}),
]


@pytest.mark.parametrize("client", ["celery", "taskq"])
def test_answers_have_the_same_shape(fleet: Fleet, client: str) -> None:
    different = []
    for command, arguments in ASKED:
        answers = fleet.ask(client, command, **arguments)
        assert set(answers) == {OURS, THEIRS}, (command, answers)
        ours, theirs = answers[OURS], answers[THEIRS]
        if shape(ours) != shape(theirs):
            different.append((command, arguments, ours, theirs))
    assert not different, "\n".join(map(repr, different))


@pytest.mark.parametrize("client", ["celery", "taskq"])
def test_stats_and_settings_have_the_same_keys(fleet: Fleet, client: str) -> None:
    stats = fleet.ask(client, "stats")
    assert set(stats[OURS]) >= set(stats[THEIRS])
    assert set(stats[OURS]["pool"]) >= set(stats[THEIRS]["pool"]) - {"writes"}
    assert set(stats[OURS]["broker"]) == set(stats[THEIRS]["broker"])
    conf = fleet.ask(client, "conf", with_defaults=True)
    assert set(conf[OURS]) >= set(conf[THEIRS]) - {"deprecated_settings"}


@pytest.mark.parametrize("client", ["celery", "taskq"])
def test_who_is_asked(fleet: Fleet, client: str) -> None:
    control = fleet.apps[client].control
    for choice, expected in (
        ({"destination": [OURS]}, {OURS}),
        ({"pattern": "[tx]@*", "matcher": "glob"}, {OURS}),
        ({"pattern": "^c@h$", "matcher": "pcre"}, {THEIRS}),
    ):
        replies = control.broadcast("ping", reply=True, timeout=20, limit=1, **choice)
        assert {name for reply in replies for name in reply} == expected
    assert len(control.broadcast("ping", reply=True, timeout=20, limit=1)) == 1
    assert control.broadcast("ping") is None


COMMANDS = [
    ("inspect", "query_task", "run0-taskq", "run0-celery"),
    ("inspect", "doubled", "4"),
    ("status",),
]


def answered(stdout: str) -> set[str]:
    """Return who is in the JSON of a command: a dict, a list of them, or text around one."""
    start = min(stdout.find(bracket) % len(stdout) for bracket in "[{")
    found, _ = json.JSONDecoder().raw_decode(stdout[start:])
    return {name for reply in (found if isinstance(found, list) else [found]) for name in reply}


@pytest.mark.parametrize("client", ["celery", "taskq"])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_command_lines(fleet: Fleet, client: str, words: tuple[str, ...]) -> None:
    def asked() -> bool:
        done = fleet.run(client, *words, "-t", "1.5", "--json")
        return done.returncode == 0 and answered(done.stdout) == {OURS, THEIRS}

    wait_until(asked)  # again, if a second was too short for an answer


@pytest.fixture
def pair(make_project: Callable[..., Project], redis_server: str) -> Any:
    """A project of both packages whose workers a test may end."""
    conf = {"control_exchange": "ct-pair", "worker_pool_restarts": True}
    project = make_project(CODE, broker=redis_server, backend=redis_server, conf=conf)
    project.celery = project.as_package("celery", "cproj")
    return project


@pytest.mark.parametrize("worker", ["taskq", "celery"])
def test_pool_and_shutdown_in_the_hands_of_the_other(pair: Any, worker: str) -> None:
    client, app = ("celery", "cproj") if worker == "taskq" else ("taskq", "proj")
    module = "proj" if worker == "taskq" else "cproj"
    with pair.worker("-c", "1", "-n", "w@h", command=worker, app=module) as running:
        control = (pair.celery if client == "celery" else pair.proj).app.control
        # What is published before a worker has subscribed is lost.
        wait_until(lambda: control.ping(timeout=2, limit=1), timeout=60)
        assert control.pool_grow(1, reply=True, timeout=20, limit=1)
        wait_until(lambda: len(running.children()) == 2, timeout=60)
        assert control.pool_shrink(1, reply=True, timeout=20, limit=1)
        wait_until(lambda: len(running.children()) == 1, timeout=60)
        before = running.children()
        done = pair.run("-A", app, "control", "pool_restart", "-t", "8", command=client)
        assert "reload started" in done.stdout, done.stderr
        wait_until(
            lambda: running.children() and not set(before) & set(running.children()), timeout=60
        )
        pair.run("-A", app, "control", "shutdown", "-t", "1", command=client)
        assert running.process.wait(60) == 0
