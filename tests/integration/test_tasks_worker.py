"""Tasks in a worker: custom requests, handlers, dead letters, printing, logs, secrets, limits."""

from __future__ import annotations

import time

import kombu
import pytest

from taskq import group
from tests.integration.project import wait_until

CODE = """
import sys
from taskq import Task
from taskq.exceptions import Reject, SoftTimeLimitExceeded
from taskq.utils.log import get_task_logger
from taskq.worker.request import Request

logger = get_task_logger(__name__)


class Noting(Request):
    def note(self, what):
        print(f"NOTED {what} {self.task.name} {os.getpid()}")

    def on_timeout(self, soft, timeout):
        super().on_timeout(soft, timeout)
        self.note(f"on_timeout soft={soft}")

    def on_failure(self, exc_info, send_failed_event=True, return_ok=False):
        super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)
        self.note("on_failure " + type(exc_info.exception).__name__)

    def on_success(self, failed__retval__runtime, **kwargs):
        super().on_success(failed__retval__runtime, **kwargs)
        self.note(f"on_success failed={failed__retval__runtime[0]}")

    def on_retry(self, exc_info):
        super().on_retry(exc_info)
        self.note("on_retry")


class Noted(Task):
    abstract = True
    Request = Noting

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        print(f"NOTED handler {type(exc).__name__} {args} {self.request.id == task_id}"
              f" {type(einfo).__name__} {os.getpid()}")

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        print(f"NOTED return {status} {type(retval).__name__} {os.getpid()}")


class NotedByName(Task):
    abstract = True
    Request = "proj:Noting"


class Database(Task):
    abstract = True
    _db = None
    made = 0

    @property
    def db(self):
        if self._db is None:
            type(self).made += 1
            self._db = object()
        return self._db


@app.task(base=Noted, name="noted")
def noted(how):
    if how == "fail":
        raise ValueError("f")
    if how == "hang":
        while True:
            try:
                time.sleep(10)
            except SoftTimeLimitExceeded:
                pass
    return how


@app.task(base=NotedByName, name="by_name", bind=True)
def by_name(self):
    if not self.request.retries:
        raise self.retry(countdown=0)


@app.task(base=Database)
def query():
    assert query.db is query.db
    return [query.made, os.getpid()]


@app.task(bind=True)
def speak(self):
    print("printed")
    print("to stderr", file=sys.stderr)
    logger.info("from the task")
    import logging
    logging.getLogger("elsewhere").info("outside")
    return self.request.id


@app.task(bind=True, max_retries=2)
def login(self, user, password):
    if user == "never" or (user == "late" and self.request.retries < 2):
        raise self.retry(countdown=0)
    return "welcome"


@app.task(throws=(KeyError,))
def expected():
    raise KeyError("k")


@app.task(acks_late=True)
def reject_late():
    raise Reject("dead", requeue=False)


@app.task(acks_late=True, acks_on_failure=False)
def fail_late(how):
    if how == "killed":
        os.kill(os.getpid(), 9)
    raise ValueError(how)


@app.task(bind=True, acks_late=True, acks_on_timeout=False)
def slow_at_first(self):
    if not self.request.delivery_info["redelivered"]:
        time.sleep(30)
    return "in time"


@app.task(bind=True)
def where(self):
    r = self.request
    return {"thread_safe": r.args == [] or list(r.args), "id": r.id, "expires": r.expires}


@app.task(bind=True)
def slow_id(self):
    before = self.request.id
    time.sleep(0.2)
    return [before, self.request.id]
"""


@pytest.fixture
def project(make_project, redis_url):
    return make_project(CODE, broker=redis_url, backend=redis_url)


@pytest.fixture
def proj(project):
    return project.proj


def noted(worker, what: str) -> str:
    """Wait for a note in the log; return the pid it came from."""
    worker.wait_for_log(f"NOTED {what}")
    line = next(line for line in worker.log.splitlines() if f"NOTED {what}" in line)
    return line.split()[-1]


def test_request_classes_run_in_the_main_process(project, proj):
    with project.worker("-c", "1") as worker:
        main = str(worker.pid)
        proj.noted.delay("ok")
        assert noted(worker, "on_success failed=False noted") == main
        proj.noted.delay("fail")
        assert noted(worker, "on_failure ") == main
        assert noted(worker, "on_success failed=True noted") == main
        proj.by_name.delay()
        assert noted(worker, "on_retry by_name") == main
        hanging = proj.noted.apply_async(("hang",), soft_time_limit=0.5, time_limit=1)
        assert noted(worker, "on_timeout soft=True noted") == main
        assert noted(worker, "on_timeout soft=False noted") == main
        assert noted(worker, "on_failure TimeLimitExceeded noted") == main
        # The task's own handlers too: its process is no more.
        assert noted(worker, "handler TimeLimitExceeded ['hang'] True ExceptionInfo") == main
        assert noted(worker, "return FAILURE TimeLimitExceeded") == main
        assert noted(worker, "handler ValueError") != main
        with pytest.raises(Exception, match="TimeLimitExceeded"):
            hanging.get(timeout=10)
        # The process was replaced.
        proj.noted.delay("ok").get(timeout=10)


def test_what_a_task_keeps_lives_between_calls(project, proj):
    with project.worker("-c", "1"):
        made = [proj.query.delay().get(timeout=10) for _ in range(3)]
    assert [count for count, _ in made] == [1, 1, 1]
    assert len({pid for _, pid in made}) == 1


@pytest.mark.parametrize("pool", ["threads", "solo", "prefork"])
def test_requests_are_each_thread_s_own(project, proj, pool):
    with project.worker("-c", "4", "-P", pool):
        results = [proj.slow_id.delay() for _ in range(8)]
        for result in results:
            assert result.get(timeout=20) == [result.id, result.id]


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_printing_and_logging(project, proj, pool):
    with project.worker("-c", "2", "-P", pool) as worker:
        task_id = proj.speak.delay().get(timeout=10)
        worker.wait_for_log(f"{task_id}] succeeded")
    log = worker.log
    lines = {name: next(x for x in log.splitlines() if name in x)
             for name in ("printed", "to stderr", "from the task", "outside")}  # fmt: skip
    assert ": WARNING/" in lines["printed"]
    assert ": WARNING/" in lines["to stderr"]
    assert f"proj.speak[{task_id}]: from the task" in lines["from the task"]
    assert ": INFO/" in lines["outside"]


def test_redirection_can_be_turned_off(make_project, redis_url):
    project = make_project(
        CODE,
        broker=redis_url,
        backend=redis_url,
        conf={
            "worker_redirect_stdouts": False,
            "worker_task_log_format": "TASK %(task_id)s %(task_name)s %(message)s",
        },
    )
    with project.worker("-c", "1") as worker:
        task_id = project.proj.speak.delay().get(timeout=10)
        worker.wait_for_log(f"{task_id}] succeeded")
    assert "\nprinted\n" in worker.log
    assert f"TASK {task_id} proj.speak from the task" in worker.log


def test_levels_of_redirected_output(make_project, redis_url):
    project = make_project(
        CODE, broker=redis_url, backend=redis_url, conf={"worker_redirect_stdouts_level": "ERROR"}
    )
    with project.worker("-c", "1") as worker:
        project.proj.speak.delay().get(timeout=10)
        worker.wait_for_log("printed")
    assert any(": ERROR/" in line and "printed" in line for line in worker.log.splitlines())


def test_secrets_are_hidden_from_logs_events_and_results(make_project, redis_url):
    project = make_project(
        CODE,
        broker=redis_url,
        backend=redis_url,
        conf={"result_extended": True, "task_send_sent_event": True},
    )
    proj = project.proj
    options = {"argsrepr": "('ann', '***')", "kwargsrepr": "{'password': '***'}"}
    log = project.directory / "events.log"
    with project.worker("-c", "1", "-E", "-l", "DEBUG") as worker, log.open("wb") as out:
        monitor = project.start("events", "--dump", stdout=out)
        wait_until(lambda: worker_is_seen(proj, log))
        for args, kwargs in (
            (("ann", "swordfish"), {}),
            (("ann",), {"password": "swordfish"}),
            (("late", "swordfish"), {}),
            (("never", "swordfish"), {}),
        ):
            result = proj.login.apply_async(args, kwargs, **options)
            result.get(timeout=20, propagate=False)
            assert (result.args, result.kwargs) == (options["argsrepr"], options["kwargsrepr"])
            assert "swordfish" not in str(result.result)
        plain = proj.login.delay("bob", "seen")
        assert plain.get(timeout=20) == "welcome"
        assert (plain.args, plain.kwargs) == (["bob", "seen"], {})
        wait_until(lambda: f"succeeded: proj.login({plain.id})" in log.read_text())
        monitor.terminate()
        monitor.wait(20)
    assert "swordfish" not in worker.log
    assert "swordfish" not in log.read_text()
    assert log.read_text().count("retried: proj.login") == 4


def worker_is_seen(proj, log) -> bool:
    """Send an event until the monitor has written it down."""
    with proj.app.events.default_dispatcher() as dispatcher:
        dispatcher.send("worker-custom")
    return "custom" in log.read_text()


def test_expected_errors_are_told_without_traceback(project, proj):
    with project.worker("-c", "1") as worker:
        result = proj.expected.delay()
        with pytest.raises(KeyError):
            result.get(timeout=10)
        worker.wait_for_log("raised expected: KeyError('k')")
    line = next(x for x in worker.log.splitlines() if "raised expected" in x)
    assert ": INFO/" in line
    assert "Traceback" not in worker.log


def test_dead_letters_reach_their_exchange(make_project, amqp_url, unique):
    project = make_project(
        CODE
        + f"""
from kombu import Exchange, Queue
app.conf.task_queues = [
    Queue("{unique}", Exchange("{unique}"), "{unique}", queue_arguments={{
        "x-dead-letter-exchange": "{unique}-dlx", "x-dead-letter-routing-key": "dead"}}),
]
app.conf.task_default_queue = "{unique}"
app.conf.task_default_exchange = "{unique}"
app.conf.task_default_routing_key = "{unique}"
""",
        broker=amqp_url,
        backend="rpc://",
    )
    proj = project.proj
    dead = kombu.Queue(f"{unique}-dead", kombu.Exchange(f"{unique}-dlx"), "dead")
    with kombu.Connection(amqp_url) as connection, connection.channel() as channel:
        dead(channel).declare()
        try:
            with project.worker("-c", "1") as worker:
                result = proj.reject_late.delay()
                failed, killed = proj.fail_late.delay("failed"), proj.fail_late.delay("killed")
                letters = [
                    wait_until(lambda: dead(channel).get(no_ack=True), timeout=15) for _ in range(3)
                ]
                again = proj.slow_at_first.apply_async(time_limit=1)
                worker.wait_for_log(f"[{again.id}] succeeded")
            assert {letter.headers["id"] for letter in letters} == {
                result.id, failed.id, killed.id,
            }  # fmt: skip
            assert letters[0].headers["x-death"][0]["reason"] == "rejected"
        finally:
            dead(channel).delete()
            channel.queue_delete(unique)


@pytest.mark.parametrize(("limit", "count"), [(0, 30), (None, 30), (1, 30), (3, 30)])
def test_connection_pools_of_any_size(make_project, redis_url, limit, count):
    project = make_project(
        CODE, broker=redis_url, backend=redis_url, conf={"broker_pool_limit": limit}
    )
    proj = project.proj
    with project.worker("-c", "1"):
        results = [proj.noted.delay(number) for number in range(count)]
        with proj.app.connection_for_write() as connection:
            results.append(proj.noted.apply_async((99,), connection=connection))
            with proj.noted.get_publisher(connection) as producer:
                results.append(proj.noted.apply_async((100,), producer=producer))
                results.append(proj.noted.apply_async((101,), publisher=producer))
        assert [r.get(timeout=20) for r in results] == [*range(count), 99, 100, 101]


@pytest.mark.parametrize("broker", ["redis://127.0.0.1:1/0", "amqp://127.0.0.1:1//"])
def test_a_broker_that_is_not_there_is_reported_in_time(make_project, redis_url, broker):
    project = make_project(CODE, broker=broker, backend=redis_url)
    task = project.proj.noted
    for options, seconds in (
        ({"retry": False}, 1),
        ({"retry_policy": {"max_retries": 1, "interval_start": 0.1}}, 1),
        ({}, 2),
    ):
        started = time.monotonic()
        with pytest.raises(task.OperationalError):
            task.apply_async(("x",), **options)
        assert time.monotonic() - started < seconds
    started = time.monotonic()
    with pytest.raises(task.OperationalError):
        group(task.s(1), task.s(2)).apply_async()
    assert time.monotonic() - started < 2


def test_logging_is_the_app_s_own_business_if_it_says_so(make_project, redis_url):
    project = make_project(
        CODE
        + """
import logging
from taskq import signals

@signals.setup_logging.connect
def configure(**kwargs):
    logging.basicConfig(filename="own.log", level=logging.INFO, format="OWN %(name)s %(message)s")

if __name__ == "__main__":
    app.start()
""",
        broker=redis_url,
        backend=redis_url,
    )
    own = project.directory / "own.log"
    with project.worker("-c", "1", ready=False) as worker:
        wait_until(lambda: own.exists() and " ready." in own.read_text())
        result = project.proj.speak.delay()
        result.get(timeout=20)
        wait_until(lambda: f"OWN celery.app.trace Task proj.speak[{result.id}]" in own.read_text())
    assert "OWN elsewhere outside" in own.read_text()
    assert "OWN proj from the task" in own.read_text()
    # What is printed is not redirected either, and nothing else has a handler.
    assert "\nprinted\n" in worker.log
    assert "INFO" not in worker.log
