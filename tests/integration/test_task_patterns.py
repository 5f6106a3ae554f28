"""Patterns that guides and tutorials teach, as small programs of their own, in one real worker."""

from __future__ import annotations

import datetime as dt
import time

import pytest

from taskq import chain, group
from taskq.result import AsyncResult
from tests.integration.project import Project, wait_until

CODE = """
import errno, logging, sys
from taskq import Task, signals, states
from taskq.result import AsyncResult
from taskq.app import task as task_module
from taskq.exceptions import Ignore, Reject
from taskq.utils.log import get_task_logger

logger = get_task_logger("patterns")
app.conf.accept_content = ["json", "pickle", "yaml", "spaced"]

# A serializer of one's own is registered by everybody who sends or reads it.
from kombu.serialization import register
import json
register("spaced", lambda value: " " * 3 + json.dumps(value), lambda text: json.loads(text),
         content_type="application/x-spaced", content_encoding="utf-8")


class Gatekeeper(Task):
    def __init__(self):
        self.visits = 0
        self.known = {"ann": "swordfish"}

    def run(self, user, password):
        self.visits += 1
        return [self.visits, os.getpid(), self.known.get(user) == password]

gatekeeper = app.register_task(Gatekeeper())


class Announcing(Task):
    abstract = True

    def __call__(self, *args, **kwargs):
        print(f"BEGINS {self.name} {self.request.id}")
        return self.run(*args, **kwargs)

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        print(f"FAILED {task_id} {exc!r}")


@app.task(base=Announcing, bind=True)
def announced(self: task_module, fail=False):
    if fail:
        raise KeyError("announced")
    return self.request.id


class Gone(Exception):
    pass


@app.task(throws=(KeyError, Gone))
def look_up(name):
    raise Gone(name)


@app.task(bind=True)
def store_by_hand(self, value):
    if not self.request.called_directly:
        self.update_state(state=states.SUCCESS, meta={"value": value})
    raise Ignore()


@app.task(bind=True)
def call_off(self, listed):
    if self.request.id in listed:
        raise Ignore()
    return "ran"


@app.task(bind=True, acks_late=True, max_retries=1)
def render(self, how):
    try:
        if how == "memory":
            raise OSError(errno.ENOMEM, "too large")
        if self.request.retries:
            return "rendered"
        raise ValueError(how)
    except OSError as exc:
        if exc.errno == errno.ENOMEM:
            raise Reject(exc, requeue=False)
    except ValueError as exc:
        # The exception stands where arguments would.
        raise self.retry(exc, countdown=0.1)


@app.task(bind=True)
def speak_as(self, text):
    before = sys.stdout, sys.stderr
    level = self.app.conf.worker_redirect_stdouts_level
    try:
        self.app.log.redirect_stdouts_to_logger(logger, level)
        print(text)
    finally:
        sys.stdout, sys.stderr = before


@app.task
def add(x, y):
    return x + y


@app.task
def fail(text):
    raise ValueError(text)


@app.task
def post_mortem(task_id):
    result = AsyncResult(task_id)
    exc = result.get(propagate=False)
    print(f"POST MORTEM {task_id} {exc!r} {'Traceback' in result.traceback}")


@app.task
def plus(x, y):
    print(f"PLUS {x} {y}")
    return x + y


@app.task(bind=True)
def upload(self, names, begin_when_there=None):
    while begin_when_there and not os.path.exists(begin_when_there):
        time.sleep(0.01)
    for number, name in enumerate(names):
        if not self.request.called_directly:
            self.update_state(state="PROGRESS", meta={"done": number, "of": len(names)})
    return len(names)


@app.task
def comment(text):
    logger = comment.get_logger()
    logger.info("checking %s", text)
    return "spam" in text


class BySignature(Exception):
    def __init__(self, code, headers=None, body=None):
        self.code, self.headers, self.body = code, headers, body
        super().__init__(code, headers, body)


@app.task
def request_page(code):
    raise BySignature(code, {"h": 1}, "gone")


# The first generation of the API.
import warnings
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from taskq import registry
    from taskq.decorators import task
    from taskq.task import Task as ClassicTask


class Total(ClassicTask):
    default_retry_delay = 30 * 60

    def run(self, x, y, **kwargs):
        self.get_logger(**kwargs).info("Adding %s and %s", x, y)
        if not kwargs["task_retries"]:
            self.retry([x, y], kwargs, exc=ValueError("once more"), countdown=0.1)
        return [x + y, kwargs["task_retries"], kwargs["task_id"], kwargs["task_is_eager"]]


@task(serializer="json", max_retries=1, default_retry_delay=0.1)
def post(text, **kwargs):
    try:
        raise ConnectionError(text)
    except ConnectionError as exc:
        post.retry(args=[text], kwargs=kwargs, exc=exc)


@task
def named(task_name, delivery_info):
    return [task_name in registry.tasks, delivery_info["routing_key"]]


@app.task
def waits_badly():
    return add.delay(1, 1).get(timeout=5)


@app.task
def waits_anyway():
    return add.delay(1, 1).get(timeout=5, disable_sync_subtasks=False)
"""


@pytest.fixture(scope="module")
def patterns(tmp_path_factory, redis_server):
    project = Project(
        tmp_path_factory.mktemp("patterns"), CODE, broker=redis_server, backend=redis_server
    )
    try:
        with project.worker("-c", "2") as worker:
            yield project.proj, worker
    finally:
        project.close()


@pytest.fixture
def proj(patterns):
    return patterns[0]


@pytest.fixture
def worker(patterns):
    return patterns[1]


def test_what_a_class_sets_up_is_kept_in_each_process(proj):
    seen = [proj.gatekeeper.delay("ann", "swordfish").get(timeout=20) for _ in range(6)]
    visits: dict[int, list[int]] = {}
    for count, pid, known in seen:
        assert known
        visits.setdefault(pid, []).append(count)
    assert len(visits) <= 2, "two processes"
    assert all(counts == list(range(1, len(counts) + 1)) for counts in visits.values())


def test_a_class_may_wrap_its_calls_and_tell_of_failures(proj, worker):
    result = proj.announced.delay()
    assert result.get(timeout=20) == result.id
    worker.wait_for_log(f"BEGINS proj.announced {result.id}")
    failed = proj.announced.delay(fail=True)
    with pytest.raises(KeyError):
        failed.get(timeout=20)
    worker.wait_for_log(f"FAILED {failed.id} KeyError('announced')")


def test_expected_exceptions_of_ones_own(proj, worker):
    result = proj.look_up.delay("x")
    with pytest.raises(proj.Gone):
        result.get(timeout=20)
    worker.wait_for_log(f"[{result.id}] raised expected: Gone('x')")


def test_a_state_stored_by_hand_is_left_alone(proj, worker):
    result = proj.store_by_hand.delay(7)
    assert result.get(timeout=20) == {"value": 7}
    called_off = proj.call_off.apply_async((["the-id", "x"],), task_id="the-id")
    worker.wait_for_log("[the-id] ignored")
    assert called_off.state == "PENDING"
    assert proj.call_off.delay([]).get(timeout=20) == "ran"


def test_rejected_when_too_large_and_retried_otherwise(proj):
    assert proj.render.delay("first").get(timeout=20) == "rendered"
    too_large = proj.render.delay("memory")
    with pytest.raises(Exception, match="too large"):
        too_large.get(timeout=20)


def test_output_of_one_task_goes_to_a_logger_of_its_choice(proj, worker):
    result = proj.speak_as.delay("spoken")
    result.get(timeout=20)
    worker.wait_for_log(f"proj.speak_as[{result.id}]: spoken")


def test_error_callbacks_that_take_an_id(proj, worker):
    result = proj.fail.apply_async(("dead",), link_error=proj.post_mortem.s())
    with pytest.raises(ValueError, match="dead"):
        result.get(timeout=20)
    worker.wait_for_log(f"POST MORTEM {result.id} ValueError('dead') True")


def test_several_callbacks_get_the_result(proj, worker):
    result = proj.add.apply_async((2, 2), link=[proj.plus.s(16), proj.plus.s(100)])
    assert result.get(timeout=20) == 4
    assert sorted(child.get(timeout=20) for child in result.children) == [20, 104]


def test_progress_as_it_is_made(proj, tmp_path):
    seen = []
    waited = tmp_path / "waited"
    result = proj.upload.delay(["a", "b"], begin_when_there=str(waited))
    # States are told to those who wait already, so the task begins when this one does.
    value = result.get(
        timeout=20,
        interval=0.05,
        on_interval=waited.touch,
        on_message=seen.append,
        propagate=False,
    )
    assert value == 2
    mine = [message for message in seen if message["task_id"] == result.id]
    assert {"task_id", "status", "result", "traceback", "children"} <= mine[-1].keys()
    assert [message["result"] for message in mine] == [
        {"done": 0, "of": 2},
        {"done": 1, "of": 2},
        2,
    ]
    assert proj.upload(["a"]) == 1


def test_a_task_s_own_logger(proj, worker):
    result = proj.comment.delay("spam")
    assert result.get(timeout=20) is True
    worker.wait_for_log(f"proj.comment[{result.id}]: checking spam")


def test_tasks_written_for_the_first_releases(proj, worker):
    result = proj.Total.delay(1, y=2)
    assert result.get(timeout=20) == [3, 1, result.id, False]
    worker.wait_for_log(f"proj.Total[{result.id}]: Adding 1 and 2")
    failed = proj.post.delay("gone")
    with pytest.raises(ConnectionError, match="gone"):
        failed.get(timeout=20)
    worker.wait_for_log(f"proj.post[{failed.id}] retry: Retry in 0.1s")
    assert proj.named.delay().get(timeout=20) == [True, proj.app.conf.task_default_queue]


def test_exceptions_with_arguments_come_back_whole(proj):
    with pytest.raises(proj.BySignature) as caught:
        proj.request_page.delay(410).get(timeout=20)
    assert (caught.value.code, caught.value.headers, caught.value.body) == (410, {"h": 1}, "gone")


def test_waiting_inside_a_task(proj):
    with pytest.raises(RuntimeError, match=r"[Nn]ever call"):
        proj.waits_badly.delay().get(timeout=20)
    assert proj.waits_anyway.delay().get(timeout=20) == 2
    assert chain(proj.add.s(1, 1), proj.add.s(5), proj.plus.s(1))().get(timeout=20) == 8


def test_times_without_a_zone_and_relative_ones(proj):
    utcnow = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    soon = utcnow + dt.timedelta(seconds=0.3)
    tomorrow = dt.datetime.now() + dt.timedelta(days=1)
    assert proj.add.apply_async((1, 1), eta=soon, expires=tomorrow).get(timeout=20) == 2
    started = time.monotonic()
    assert proj.add.apply_async((1, 1), countdown=0.5, expires=120).get(timeout=20) == 2
    assert time.monotonic() - started >= 0.5


def test_compression_and_serializers_of_a_call(proj):
    for options in (
        {"compression": "zlib"},
        {"compression": "bzip2", "serializer": "yaml"},
        {"serializer": "spaced"},
        {"serializer": "spaced", "compression": "gzip"},
        {"retry": True, "retry_policy": {"max_retries": 3, "interval_start": 0}},
        {"retry": False, "priority": 3},
    ):
        assert proj.add.apply_async((2, 2), **options).get(timeout=20) == 4, options


def test_a_connection_and_a_publisher_for_many_calls(proj):
    numbers = [(2, 2), (4, 4), (8, 8)]
    results = []
    with proj.app.pool.acquire(block=True) as connection:
        with proj.add.get_publisher(connection) as publisher:
            for args in numbers:
                results.append(proj.add.apply_async(args, publisher=publisher))
    assert [result.get(timeout=20) for result in results] == [4, 8, 16]
    assert group(proj.add.s(i, j) for i, j in numbers)().get(timeout=20) == [4, 8, 16]


def test_chunks_map_and_starmap(proj):
    pairs = [(number, number) for number in range(10)]
    chunks = proj.add.chunks(pairs, 4)()
    assert chunks.get(timeout=20) == [[0, 2, 4, 6], [8, 10, 12, 14], [16, 18]]
    assert proj.add.starmap(pairs[:3]).delay().get(timeout=20) == [0, 2, 4]
    assert proj.upload.map([["a"], ["b", "c"]]).delay().get(timeout=20) == [1, 2]


def test_results_are_found_by_id_alone(proj):
    result = proj.add.delay(20, 22)
    found = AsyncResult(result.id, app=proj.app)
    wait_until(found.ready)
    assert (found.state, found.get()) == ("SUCCESS", 42)
