"""What tasks can do besides returning, in one real worker: events, strategies, models, aborts."""

from __future__ import annotations

import threading

import pytest

from taskq.contrib.abortable import ABORTED
from tests.integration.project import Project, wait_until

pytest.importorskip("pydantic")

CODE = """
import logging
from typing import Optional
from pydantic import BaseModel
from taskq import Task, signals
from taskq.contrib.abortable import AbortableTask
from taskq.exceptions import Ignore
from taskq.utils.log import get_task_logger
from taskq.worker.strategy import default

app.conf.result_extended = True
app.conf.worker_hijack_root_logger = False
app.conf.worker_log_format = "MAIN %(levelname)s %(message)s"
app.conf.worker_task_log_format = "TASK %(levelname)s %(task_name)s %(task_id)s %(message)s"
app.conf.worker_log_color = True
if os.path.exists("proj.py"):  # in the worker; the tests import this too
    logging.getLogger().addHandler(logging.FileHandler("mine.log"))
logger = get_task_logger(__name__)


@signals.after_setup_logger.connect
def on_setup(logger, loglevel, **kwargs):
    logging.getLogger("noisy").setLevel(logging.ERROR)
    print(f"SETUP {logger.name} {loglevel}")


@signals.after_setup_task_logger.connect
def on_task_setup(logger, **kwargs):
    print(f"TASK SETUP {logger.name} {logger.propagate}")


@app.task
def add(x, y):
    return x + y


@app.task(bind=True)
def announce(self, text):
    self.send_event("task-announced", text=text)
    return self.request.id


class Shadowed(Task):
    abstract = True

    def shadow_name(self, args, kwargs, options):
        return f"{self.name}-{args[0]}"


@app.task(base=Shadowed)
def shadowed(x):
    return x


def picky(task, app, consumer, **kwargs):
    handle = default(task, app, consumer, **kwargs)

    def strategy(message, *rest):
        print(f"STRATEGY {message.headers['id']}")
        return handle(message, *rest)

    return strategy


@app.task(Strategy=picky)
def chosen():
    return "chosen"


@app.task(bind=True)
def again_elsewhere(self, hops):
    if hops:
        sig = self.subtask_from_request(args=(hops - 1,), task_id=None)
        return sig.apply_async().id
    return [self.request.delivery_info["routing_key"], self.request.headers]


@app.task(bind=True)
def family(self, ids):
    for task_id in ids:
        self.add_trail(app.AsyncResult(task_id))
    return len(self.request.children)


@app.task(bind=True, trail=False)
def childless(self):
    add.delay(1, 1)
    return len(self.request.children)


@app.task(bind=True, base=AbortableTask)
def patient(self):
    while not self.is_aborted():
        time.sleep(0.02)
    return "stopped"


class Cargo(BaseModel):
    weight: int
    note: Optional["Note"] = None


class Note(BaseModel):
    text: str


@app.task(pydantic=True)
def load(cargo: Cargo, extra: Cargo | None = None) -> Cargo:
    assert isinstance(cargo, Cargo)
    assert extra is None or isinstance(extra, Cargo)
    return Cargo(weight=cargo.weight + (extra.weight if extra else 0), note=cargo.note)


@app.task(pydantic=True, pydantic_strict=True)
def load_strictly(cargo: Cargo) -> Optional[Cargo]:
    return None


@app.task
def huge(value):
    return value


@app.task
def cyclic():
    value = {"a": [1, 2]}
    value["a"].append(value)
    print("CYCLIC", len(repr(value)))
    raise Ignore()


@app.task
def log_levels():
    logger.info("from the task")
    logging.getLogger("noisy").warning("not seen")
    logging.getLogger("elsewhere").warning("from elsewhere")
    print("printed")
"""


@pytest.fixture(scope="module", params=["prefork", "threads", "solo"])
def features(request, tmp_path_factory, redis_server):
    project = Project(
        tmp_path_factory.mktemp("features"), CODE, broker=redis_server, backend=redis_server
    )
    try:
        # What the main process has to say goes where the app wants it.
        with project.worker("-c", "2", "-E", "-P", request.param, ready=False) as worker:
            log = project.directory / "mine.log"
            wait_until(lambda: log.exists() and " ready." in log.read_text())
            yield project, worker
    finally:
        project.close()


@pytest.fixture
def proj(features):
    return features[0].proj


@pytest.fixture
def worker(features):
    return features[1]


@pytest.fixture
def log(features):
    """Return a function that reads the log file of the app's own handler."""
    return (features[0].directory / "mine.log").read_text


def test_events_of_ones_own(proj):
    seen = []
    ready, found = threading.Event(), threading.Event()

    def watch():
        with proj.app.connection_for_read() as connection:
            receiver = proj.app.events.Receiver(connection)

            def note(event):
                ready.set()
                if event["type"] == "task-announced":
                    seen.append(event)
                    found.set()
                    receiver.should_stop = True

            receiver.handlers["*"] = note
            receiver.capture(limit=None, timeout=20, wakeup=True)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    wait_until(lambda: proj.add.delay(1, 1).get(timeout=20) == 2 and ready.wait(0.2))
    task_id = proj.announce.delay("hello").get(timeout=20)
    assert found.wait(20)
    watcher.join(20)
    assert (seen[0]["uuid"], seen[0]["text"]) == (task_id, "hello")


def test_shadows_and_strategies(proj, worker, log):
    result = proj.shadowed.delay(7)
    assert result.get(timeout=20) == 7
    wait_until(lambda: f"Task proj.shadowed-7[{result.id}] succeeded" in log())
    result = proj.chosen.delay()
    assert result.get(timeout=20) == "chosen"
    wait_until(lambda: f"STRATEGY {result.id}" in log())


def test_a_call_like_the_one_that_runs(features, proj):
    first = proj.again_elsewhere.apply_async((1,), headers={"mine": 1})
    second = proj.app.AsyncResult(first.get(timeout=20))
    assert second.get(timeout=20) == [features[0].queue, {"mine": 1}]


def test_children(proj):
    others = [proj.add.delay(1, n) for n in range(2)]
    parent = proj.family.delay([other.id for other in others])
    assert parent.get(timeout=20) == 2
    assert [child.id for child in parent.children] == [other.id for other in others]
    parent = proj.childless.delay()
    assert (parent.get(timeout=20), parent.children) == (0, [])


def test_aborting(proj):
    result = proj.patient.delay()
    result.abort()
    assert result.state in (ABORTED, "SUCCESS")
    assert result.get(timeout=20) == "stopped"


def test_models(proj):
    note = proj.Note(text="fragile")
    cargo = proj.Cargo(weight=2, note=note)
    plain = {"weight": 3, "note": None}
    assert proj.load.delay(cargo).get(timeout=20) == {"weight": 2, "note": {"text": "fragile"}}
    assert proj.load.delay(plain, extra=cargo).get(timeout=20) == {"weight": 5, "note": None}
    assert proj.load_strictly.delay(cargo).get(timeout=20) is None
    with pytest.raises(Exception, match="weight"):
        proj.load_strictly.delay({"weight": "3"}).get(timeout=20)
    with pytest.raises(Exception, match="weight") as caught:
        proj.load.delay({"weight": "much"}).get(timeout=20)
    assert type(caught.value).__name__ == "ValidationError"


def test_huge_and_cyclic_values_are_shown_briefly(proj, log):
    big = {"text": "x" * 200_000, "list": list(range(50_000)), "deep": [[[[[["bottom"]]]]]]}
    result = proj.huge.delay(big)
    assert result.get(timeout=20) == big
    proj.cyclic.delay()
    wait_until(lambda: "CYCLIC" in log())
    wait_until(lambda: f"{result.id}] succeeded" in log())
    line = next(line for line in log().splitlines() if f"{result.id}] succeeded" in line)
    assert len(line) < 1500


def test_logging_as_the_app_wants_it(proj, worker, log):
    result = proj.log_levels.delay()
    result.get(timeout=20)
    worker.wait_for_log(f"TASK INFO proj.log_levels {result.id} from the task")
    worker.wait_for_log("TASK SETUP celery.task False")
    assert "SETUP root 20" in worker.log
    # The root logger kept its handler, and got no other.
    wait_until(lambda: "printed" in log())
    assert "from elsewhere" in log()
    assert "MAIN" not in worker.log
    assert "not seen" not in worker.log + log()
    assert "from the task" not in log(), "task loggers don't propagate"
