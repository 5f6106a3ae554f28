"""What a worker makes of calls, written once and asked of a worker of each of the two packages.

``CODE`` is the project; each case gets its module and returns what it saw.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

CODE = """
import json, sys
import logging

EXC = __import__(type(app).__module__.partition(".")[0] + ".exceptions", fromlist=["x"])
SIG = __import__(type(app).__module__.partition(".")[0] + ".signals", fromlist=["x"])
LOG = __import__(type(app).__module__.partition(".")[0] + ".utils.log", fromlist=["x"])
PKG = __import__(type(app).__module__.partition(".")[0])
app.conf.accept_content = ["json", "pickle", "yaml", "spaced"]
app.conf.result_extended = True

from kombu.serialization import register
register("spaced", lambda value: "  " + json.dumps(value), json.loads,
         content_type="application/x-spaced", content_encoding="utf-8")
logger = LOG.get_task_logger("mine")


def say(*what):
    print(" ".join(map(str, what)))


class Custom(Exception):
    def __init__(self, code, text):
        super().__init__(code, text)
        self.code = code


class BadInit(Exception):
    def __init__(self, code, text):
        super().__init__("only one")


class Base(PKG.Task):
    abstract = True

    def note(self, name, *what):
        print("HANDLER " + " ".join([name, *[repr(x) for x in what]]))

    def before_start(self, task_id, args, kwargs):
        self.note("before_start", args, kwargs)

    def on_success(self, retval, task_id, args, kwargs):
        self.note("on_success", retval, args, kwargs)

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        self.note("on_failure", exc, args, kwargs, type(einfo).__name__)

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        self.note("on_retry", exc, args, kwargs, type(einfo).__name__)

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        self.note("after_return", status, retval, args, kwargs)


@app.task(name="t.add")
def add(x, y=0):
    return x + y


@app.task(name="t.total")
def total(numbers):
    return sum(numbers)


@app.task(name="t.request", bind=True)
def request(self, *args, **kwargs):
    r = self.request
    names = ("args callbacks called_directly chain chord correlation_id delivery_info errbacks"
             " eta expires group group_index headers is_eager kwargs logfile loglevel parent_id"
             " properties replaced_task_nesting reply_to retries root_id shadow stamped_headers"
             " stamps taskset timelimit utc ignore_result children id argsrepr kwargsrepr lang"
             " task origin time_limit soft_time_limit").split()
    return {n: repr(getattr(r, n, "MISSING")) for n in names}


@app.task(name="t.fail", base=Base, throws=(KeyError,))
def fail(kind):
    if kind == "value":
        raise ValueError("v")
    if kind == "expected":
        raise KeyError("k")
    if kind == "custom":
        raise Custom(3, "text")
    if kind == "badinit":
        raise BadInit(1, 2)
    if kind == "local":
        class Local(Exception):
            pass
        raise Local("l")
    if kind == "holder":
        raise ValueError(lambda: 1)
    if kind == "cause":
        try:
            {}["x"]
        except KeyError as exc:
            raise ValueError("v") from exc
    if kind == "group":
        raise ExceptionGroup("eg", [ValueError(1), KeyError("k")])
    if kind == "oserror":
        raise FileNotFoundError(2, "No such file or directory", "file")
    if kind == "ignore":
        raise EXC.Ignore("why")
    if kind == "reject":
        raise EXC.Reject("why", requeue=False)
    if kind == "unserialisable":
        return object()
    if kind == "exit":
        sys.exit(3)
    if kind == "base":
        raise KeyboardInterrupt()
    if kind == "generator":
        raise GeneratorExit("g")
    if kind == "kill":
        os.kill(os.getpid(), 9)
    return kind


@app.task(name="t.late", base=Base, acks_late=True, bind=True)
def late(self, kind):
    if kind == "requeue" and not self.request.delivery_info["redelivered"]:
        raise EXC.Reject("again", requeue=True)
    if kind == "reject":
        raise EXC.Reject("no", requeue=False)
    if kind == "fail":
        raise ValueError("late")
    return [kind, self.request.delivery_info["redelivered"]]


# Celery stores RETRY after it has sent the retry: one that runs at once can end before that, and
# its SUCCESS is overwritten. Hence no retry here is immediate.
@app.task(name="t.retry", base=Base, bind=True, max_retries=2, default_retry_delay=0.1)
def retry(self, how, n=0):
    r = self.request
    seen = [self.request.retries, n, r.headers, r.stamps, r.delivery_info.get("priority"),
            r.delivery_info.get("routing_key") == app.conf.task_default_queue, r.ignore_result]
    if how == "twice" and r.retries < 2:
        raise self.retry(exc=ValueError("not yet"), countdown=0.1)
    if how == "exhaust":
        raise self.retry(exc=ValueError("given"))
    if how == "exhaust none":
        raise self.retry()
    if how == "exhaust current":
        try:
            raise KeyError("current")
        except KeyError as exc:
            raise self.retry()
    if how == "args" and n < 2:
        raise self.retry(args=(how,), kwargs={"n": n + 1})
    if how == "throw" and r.retries < 1:
        self.retry(throw=False)
        return "went on"
    if how == "raised by hand":
        raise EXC.Retry("by hand", exc=KeyError("k"))
    if how == "countdown" and r.retries < 1:
        raise self.retry(countdown=0.3)
    if how == "priority" and r.retries < 1:
        raise self.retry(countdown=0.1, priority=7)
    if how == "max" and r.retries < 4:
        raise self.retry(max_retries=4, countdown=0.2)
    return seen


@app.task(name="t.auto", bind=True, autoretry_for=(ValueError,), max_retries=2,
          retry_backoff=0.05, retry_jitter=False, default_retry_delay=0)
def auto(self, until):
    if self.request.retries < until:
        raise ValueError("auto")
    return self.request.retries


@app.task(name="t.progress", bind=True)
def progress(self):
    self.update_state(state="PROGRESS", meta={"n": 1})
    time.sleep(0.3)
    return "done"


@app.task(name="t.limits", bind=True, max_retries=1)
def limits(self, how):
    try:
        time.sleep(5)
    except EXC.SoftTimeLimitExceeded as exc:
        if how == "retry":
            raise self.retry(exc=exc, countdown=0.2)
        if how == "catch":
            return "caught"
        raise


@app.task(name="t.hang")
def hang():
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline:
        try:
            time.sleep(0.2)
        except EXC.SoftTimeLimitExceeded:
            pass


@app.task(name="t.replace", bind=True)
def replace(self, how):
    if how == "task":
        raise self.replace(add.s(1, 2))
    if how == "chain":
        raise self.replace(PKG.chain(add.s(1, 2), add.s(3)))
    if how == "group":
        raise self.replace(PKG.group(add.s(1, 2), add.s(3)))
    if how == "failing":
        raise self.replace(fail.si("value"))


@app.task(name="t.grow", bind=True)
def grow(self, x):
    self.add_to_chord(add.s(x, 100))
    return x


@app.task(name="t.parent", bind=True)
def parent(self):
    a = add.delay(1, 1)
    b = add.apply_async((1, 1), add_to_parent=False)
    return [len(self.request.children), self.request.children[0].id == a.id]


@app.task(name="t.blocking")
def blocking():
    return add.delay(1, 1).get(timeout=5)


@app.task(name="t.allowed")
def allowed():
    with PKG.result.allow_join_result():
        return add.delay(1, 1).get(timeout=5)


@app.task(name="t.disabled")
def disabled():
    return add.delay(1, 1).get(timeout=5, disable_sync_subtasks=False)


@app.task(name="t.note", bind=True)
def note(self, *args):
    say("NOTE", [a if isinstance(a, (int, str)) and len(str(a)) < 40 else type(a).__name__
                   for a in args])


@app.task(name="t.note_uuid")
def note_uuid(task_id):
    say("NOTEID", len(task_id))


@app.task(name="t.note_request")
def note_request(request, exc, traceback):
    say("NOTEREQUEST", request.task, request.args, request.kwargs, request.retries)


@app.task(name="t.speak")
def speak():
    print("printed")
    print("to stderr", file=sys.stderr)
    logger.info("info line")
    logger.warning("warning line")
    logging.getLogger("other").warning("other logger")
    return 1


@app.task(name="t.secret")
def secret(password):
    return "ok"


@app.task(name="t.silent", ignore_result=True)
def silent(kind="ok"):
    if kind == "fail":
        raise ValueError("silent")
    return 1


@app.task(name="t.silent2", ignore_result=True, store_errors_even_if_ignored=True)
def silent2():
    raise ValueError("stored")


@app.task(name="t.sleep", bind=True)
def sleep(self, seconds):
    say(f"[{self.request.id}] sleeps")
    time.sleep(seconds)
    return "slept"


@app.task(name="t.patient", bind=True)
def patient(self):
    say(f"[{self.request.id}] sleeps")
    try:
        time.sleep(30)
    except EXC.SoftTimeLimitExceeded:
        return "interrupted"


@app.task(name="t.rated", rate_limit="10/s")
def rated(n):
    return n


@app.task(name="t.huge")
def huge(n):
    return ["x" * n]


class Klass(PKG.Task):
    name = "t.klass"
    serializer = "spaced"
    max_retries = 2

    def run(self, x):
        if self.request.retries < 2:
            raise self.retry(countdown=0.1, exc=ValueError("class"))
        return x + self.request.retries


klass = app.register_task(Klass())


@SIG.task_revoked.connect
def on_revoked(sender=None, request=None, **kw):
    say("REVOKED", sender.name, type(request).__name__, kw.get("terminated"),
          str(kw.get("signum")), kw.get("expired"))


@SIG.task_failure.connect
def on_task_failure(sender=None, **kw):
    say("SIGNAL failure", sender.name, sorted(kw), repr(kw["exception"])[:60])


@SIG.task_retry.connect
def on_task_retry(sender=None, **kw):
    say("SIGNAL retry", sender.name, sorted(kw), kw["reason"])


@SIG.task_rejected.connect
def on_task_rejected(sender=None, **kw):
    say("SIGNAL rejected", sorted(kw))


@SIG.task_unknown.connect
def on_task_unknown(sender=None, **kw):
    say("SIGNAL unknown", sorted(kw), kw["name"])


@SIG.task_received.connect
def on_task_received(sender=None, **kw):
    if kw["request"].name == "t.secret":
        say("SIGNAL received", sorted(kw), kw["request"].argsrepr)
"""

CASES: dict[str, Callable[[Any], Any]] = {}


def case(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Register a case under its function's name."""
    CASES[function.__name__] = function
    return function


def describe(value: Any) -> Any:
    """Return a value, or type, text and module of an exception."""
    if isinstance(value, BaseException):
        return [type(value).__name__, str(value), repr(value.args), type(value).__module__]
    return value


def finished(result: Any, timeout: float = 20.0) -> Any:
    """Wait for a result; return state, value and the last line of its traceback."""
    deadline = time.monotonic() + timeout
    while not result.ready():
        if time.monotonic() > deadline:
            return [result.state, "not ready", describe(result.result)]
        time.sleep(0.02)
    return outcome(result)


def outcome(result: Any) -> Any:
    """Return state, value and the last line of the traceback as they are now."""
    return [
        result.state,
        describe(result.result),
        (result.traceback or "").strip().rpartition("\n")[2],
    ]


def logged(p: Any, result: Any, what: str, times: int = 1) -> Any:
    """Wait until the worker has logged something about a call, and return the result."""
    line = re.compile(rf"\[{result.id}\] {what}")
    deadline = time.monotonic() + 20
    while len(line.findall(p.worker.log)) < times:
        assert time.monotonic() < deadline, f"{line} not in the log of the worker"
        time.sleep(0.02)
    return result


def started(p: Any, result: Any) -> Any:
    """Wait until a call of ``t.sleep`` runs, and return its result."""
    return logged(p, result, "sleeps")


@case
def requests(p):
    cb = p.note.si(1)
    out = [p.request.delay(1, k=2).get(timeout=10)]
    for options in (
        {
            "headers": {"h": 1},
            "shadow": "sh",
            "priority": 3,
            "time_limit": 20,
            "soft_time_limit": 10,
        },
        {"link": cb, "link_error": cb, "expires": 100, "countdown": 0.1, "reply_to": "rt"},
        {"ignore_result": False, "stamped_headers": ["s"], "s": "v"},
        {"argsrepr": "(hidden)", "kwargsrepr": "{hidden}", "origin": "me", "retries": 4},
        {"serializer": "pickle", "compression": "gzip"},
    ):
        out.append(p.request.apply_async((1,), **options).get(timeout=10))
    chain = (p.add.s(1, 2) | p.request.s()).apply_async()
    out.append(chain.get(timeout=10))
    return out


@case
def failures(p):
    out = []
    for kind in (
        "ok",
        "value",
        "expected",
        "custom",
        "badinit",
        "local",
        "holder",
        "cause",
        "group",
        "oserror",
        "unserialisable",
    ):
        out.append([kind, finished(p.fail.delay(kind))])
    return out


@case
def semipredicates(p):
    return [
        logged(p, p.fail.delay("ignore"), "ignored").state,
        finished(p.fail.delay("reject")),
        finished(p.late.delay("requeue")),
        finished(p.late.delay("reject")),
        finished(p.late.delay("fail")),
        finished(p.late.delay("ok")),
    ]


@case
def leaving(p):
    return [finished(p.fail.delay(kind)) for kind in ("exit", "base", "generator", "kill")]


@case
def retries(p):
    out = []
    for how in (
        "twice",
        "exhaust",
        "exhaust none",
        "exhaust current",
        "args",
        "throw",
        "countdown",
        "max",
        "priority",
    ):
        r = p.retry.apply_async((how,), headers={"h": 1}, stamped_headers=["s"], s="v")
        if how == "throw":
            # It succeeds twice: when it went on, and when it was retried.
            logged(p, r, "succeeded", times=2)
        out.append([how, finished(r)])
    by_hand = logged(p, p.retry.delay("raised by hand"), "retry")
    out.append(outcome(by_hand))
    out += [finished(p.auto.delay(n)) for n in (0, 1, 2, 3)]
    return out


@case
def retry_in_chain(p):
    chained = (p.add.s(1) | p.klass.s() | p.add.s(5)).apply_async((1,))
    grouped = p.PKG.chord([p.retry.s("twice"), p.retry.s("twice")], p.note.s()).apply_async()
    return [finished(chained), finished(grouped)]


@case
def progress(p):
    seen = []
    result = p.progress.delay()

    def on_message(message):
        # Celery's Redis backend also passes on what earlier results had to say.
        if message["task_id"] == result.id:
            seen.append([message["status"], message["result"]])

    return [result.get(timeout=10, on_message=on_message), seen]


@case
def limits(p):
    out = []
    for how in ("raise", "catch", "retry"):
        out.append([how, finished(p.limits.apply_async((how,), soft_time_limit=0.5))])
    out.append(finished(p.hang.apply_async(time_limit=1)))
    out.append(finished(p.hang.apply_async(time_limit=1.5, soft_time_limit=0.5)))
    return out


@case
def replaced(p):
    return [finished(p.replace.delay(how)) for how in ("task", "chain", "group", "failing")] + [
        finished((p.replace.s("task") | p.add.s(10)).apply_async()),
        finished(p.PKG.chord([p.replace.s("task"), p.add.s(1)], p.total.s()).apply_async()),
        finished(p.PKG.chord([p.grow.s(1), p.grow.s(2)], p.total.s()).apply_async()),
    ]


@case
def children(p):
    result = p.parent.delay()
    return [
        finished(result),
        len(result.children),
        finished(p.blocking.delay()),
        finished(p.allowed.delay()),
        finished(p.disabled.delay()),
    ]


@case
def links(p):
    out = [
        finished(p.add.apply_async((1, 1), link=p.add.s(5))),
        finished(p.add.apply_async((1, 1), link=[p.note.s(), p.note.si(7)])),
        finished(p.fail.apply_async(("value",), link_error=p.note.s("e"))),
        finished(p.fail.apply_async(("value",), link_error=[p.note_uuid.s(), p.note.si(8)])),
    ]
    result = p.add.apply_async((1, 1), link=p.add.s(5))
    result.get(timeout=5)
    out.append(finished(result.children[0]))
    group = p.PKG.group(p.fail.s("value"), p.add.s(1)).on_error(p.note.s("g")).apply_async()
    out.append([finished(r) for r in group.results])
    chord = p.PKG.chord(
        [p.fail.s("value"), p.add.s(1)], p.total.s().on_error(p.note.s("c"))
    ).apply_async()
    out.append(finished(chord))
    chord = p.PKG.chord(
        [p.fail.s("value"), p.add.s(1)], p.add.s(5, y=3).on_error(p.note_request.s())
    ).apply_async()
    out.append(finished(chord))
    chain = p.PKG.chain(p.add.s(1, 1), p.fail.si("value"), p.add.s(1)).apply_async(
        link_error=p.note.s("ch")
    )
    out.append([chain.state, finished(chain.parent), finished(chain.parent.parent)])
    return out


@case
def revokes(p):
    app = p.app
    out = []
    later = p.add.apply_async((1, 1), countdown=1.5)
    later.revoke()
    out.append(finished(later))
    running = started(p, p.sleep.delay(30))
    running.revoke(terminate=True)
    out.append(finished(running))
    killed = started(p, p.sleep.delay(30))
    killed.revoke(terminate=True, signal="SIGKILL")
    out.append(finished(killed))
    interrupted = started(p, p.patient.delay())
    interrupted.revoke(terminate=True, signal="SIGUSR1")
    out.append(outcome(logged(p, interrupted, "succeeded")))
    stamped = started(p, p.sleep.apply_async((30,), stamped_headers=["who"], who="x"))
    app.control.revoke_by_stamped_headers({"who": ["x"]}, terminate=True)
    out.append(finished(stamped))
    waiting = p.add.apply_async((1, 1), countdown=1, stamped_headers=["who"], who="x")
    out.append(finished(waiting))
    group = p.PKG.group(p.add.s(i).set(countdown=1.5) for i in range(2)).apply_async()
    group.revoke()
    out += [finished(r) for r in group.results]
    return out


@case
def expiry(p):
    now = datetime.now(UTC)
    return [
        finished(p.add.apply_async((1, 1), expires=now - timedelta(seconds=5))),
        finished(p.add.apply_async((1, 1), expires=-3)),
        finished(p.add.apply_async((1, 1), expires=now + timedelta(seconds=30))),
        finished(p.add.apply_async((1, 1), countdown=1, expires=0.3)),
    ]


@case
def etas(p):
    now = datetime.now(UTC)
    out = []
    for eta in (
        now + timedelta(seconds=1),
        now - timedelta(days=1),
        (now + timedelta(seconds=1)).replace(tzinfo=None),
    ):
        start = time.monotonic()
        out.append([finished(p.add.apply_async((1, 1), eta=eta)), round(time.monotonic() - start)])
    return out


@case
def speaking(p):
    return [
        finished(p.speak.delay()),
        finished(p.secret.apply_async(("swordfish",), argsrepr="('***',)")),
        finished(p.add.apply_async((1, 2), shadow="shadowed")),
        len(finished(p.huge.delay(3000))[1][0]),
    ]


@case
def ignored(p):
    out = []
    for task, args, options in (
        (p.silent, (), {}),
        (p.silent, ("fail",), {}),
        (p.silent2, (), {}),
        (p.silent, (), {"ignore_result": False}),
        (p.add, (1, 1), {"ignore_result": True}),
    ):
        result = task.apply_async(args, **options)
        value = result.get(timeout=2) if options.get("ignore_result", task.ignore_result) else None
        logged(p, result, "(succeeded|raised)")
        out.append([result.state, describe(result.result), value, result.ignored])
    return out


@case
def unknown(p):
    return finished(p.app.send_task("t.unknown", (1,)))


@case
def by_name(p):
    return [
        finished(p.app.send_task("t.add", (1,), {"y": 3})),
        finished(p.app.signature("t.add", (1, 1)).apply_async()),
        finished(p.add.s(1, 1).apply_async(priority=9)),
    ]


@case
def encodings(p):
    return [
        finished(p.add.apply_async((1, 2), **options))
        for options in (
            {"serializer": "yaml"},
            {"serializer": "pickle"},
            {"serializer": "spaced"},
            {"compression": "gzip"},
            {"compression": "bzip2", "serializer": "spaced"},
            {"compression": "zlib", "serializer": "pickle"},
        )
    ]


@case
def maps(p):
    pairs = [(number, number) for number in range(5)]
    return [
        p.add.chunks(pairs, 2).apply_async().get(timeout=20),
        finished(p.add.starmap(pairs).apply_async()),
        finished(p.total.map([[1, 2], [3]]).apply_async()),
        finished(p.fail.map(["ok", "value"]).apply_async()),
    ]


@case
def rates(p):
    sent = time.monotonic()
    results = [p.rated.delay(number) for number in range(4)]
    seen = [finished(result) for result in results]
    seen.append(time.monotonic() - sent >= 0.3)
    for limit in ("20/m", 0, "x"):
        replies = p.app.control.rate_limit("t.rated", limit, reply=True, timeout=10, limit=1)
        seen.append([sorted(reply) for answer in replies for reply in answer.values()])
    return seen


UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def normal_lines(log: str) -> list[str]:
    """Return the lines of a log that tasks and handlers are behind, without what varies."""
    lines = []
    for line in log.splitlines():
        line = re.sub(r"^\[\S+ \S+: (\w+)/(MainProcess|ForkPoolWorker)[^\]]*\]", r"[\1/\2]", line)
        line = re.sub(r"succeeded in [\d.e-]+s", "succeeded in Ns", line)
        line = UUID.sub("UUID", line)
        line = re.sub(r"0x[0-9a-f]+", "0x", line)
        line = re.sub(r"\b(taskq|celery)\.(?=[a-z_.]+)", "PKG.", line)
        line = re.sub(r"(Job|job): \d+|pid:?\s?\d+", "N", line)
        # When the loss of a process is noticed is another matter.
        if line.startswith("[") and "Process 'Fork" not in line:
            lines.append(line)
    return lines
