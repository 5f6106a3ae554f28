"""Tasks defined and called in one process, written once and run with each of the two packages.

Run as a program, ``python task_cases.py <package>``, it prints what each case saw as JSON;
`test_task_semantics` runs it twice and compares.
"""

from __future__ import annotations

import importlib
import json
import logging
import pickle
import re
import sys
import warnings
from collections.abc import Callable
from datetime import datetime
from typing import Any, Optional
from zoneinfo import ZoneInfo

from kombu import Exchange, Queue
from kombu.serialization import enable_insecure_serializers
from pydantic import BaseModel

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
CASES: dict[str, Callable[[Any], Any]] = {}


def case(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Register a case under its function's name."""
    CASES[function.__name__] = function
    return function


class Records(logging.Handler):
    """Log lines as (level, text, has traceback)."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        text = re.sub(r"succeeded in [\d.e-]+s", "succeeded in Ns", record.getMessage())
        self.lines.append([record.name, record.levelname, text, bool(record.exc_info)])


class Library:
    """One of the two packages."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.lib = importlib.import_module(package)
        self.exceptions = importlib.import_module(f"{package}.exceptions")
        self.signals = importlib.import_module(f"{package}.signals")

    def module(self, name: str) -> Any:
        """Import a module of the package."""
        return importlib.import_module(f"{self.package}.{name}")

    def app(self, **conf: Any) -> Any:
        """Return a new app that talks to memory."""
        app = self.lib.Celery("proj", broker="memory://", backend="cache+memory://")
        app.conf.update(conf)
        decorator = app.task

        def task(*args, **options):
            def make(function):
                # Celery makes no tasks of functions without a proper name.
                if function.__name__ == "<lambda>":
                    function.__name__ = "fun"
                return decorator(**{"shared": False, **options})(function)

            if len(args) == 1 and callable(args[0]):
                return make(args[0])
            return make if not args else decorator(*args, **options)

        app.task = task
        return app

    def attempt(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what a call returns or raises, described."""
        try:
            value = function(*args, **kwargs)
        except BaseException as exc:
            return ["raised", *self.describe(exc)]
        return ["returned", value]

    @staticmethod
    def describe(exc: Any) -> list[Any]:
        """Return type, arguments and cause of an exception."""
        return [
            type(exc).__name__,
            str(exc),
            repr(getattr(exc, "args", None)),
            type(exc.__cause__).__name__ if getattr(exc, "__cause__", None) else None,
        ]

    def outcome(self, result: Any) -> Any:
        """Describe an EagerResult."""
        value = result.result
        return [
            type(result).__name__,
            result.state,
            self.describe(value) if isinstance(value, BaseException) else value,
            (result.traceback or "").strip().rpartition("\n")[2],
        ]

    @staticmethod
    def body(message: Any) -> Any:
        """Return the decoded body of a message."""
        enable_insecure_serializers()
        return message.decode()

    def messages(self, app: Any, queue: str = "celery") -> list[Any]:
        """Take the messages out of a queue: body, headers and properties without volatile parts."""
        found = []
        with app.connection_for_read() as connection:
            channel = connection.default_channel
            Queue(queue, Exchange(queue), queue)(channel).declare()
            while True:
                message = channel.basic_get(queue)
                if message is None:
                    break
                headers = dict(message.headers)
                for volatile in ("origin", "id", "root_id"):
                    headers.pop(volatile, None)
                info = dict(message.delivery_info)
                found.append(
                    {
                        "body": self.body(message),
                        "headers": headers,
                        "content_type": message.content_type,
                        "exchange": info.get("exchange"),
                        "routing_key": info.get("routing_key"),
                        "priority": message.properties.get("priority"),
                        "expiration": bool(message.properties.get("expiration")),
                        "delivery_mode": message.properties.get("delivery_mode"),
                    }
                )
                message.ack()
        return found


# -- defining


@case
def names(L):
    app = L.app()

    @app.task
    def plain(x):
        "Doc."
        return x

    @app.task(name="explicit")
    def other(x):
        return x

    class Named(type(app)):
        def gen_task_name(self, name, module):
            return f"gen.{module.rpartition('.')[2]}.{name}"

    named = Named("n", broker="memory://")

    @named.task
    def third():
        return 3

    class Klass(L.lib.Task):
        def run(self):
            return 1

    registered = app.register_task(Klass())
    return [
        plain.name,
        plain.__name__,
        plain.__doc__,
        plain.__module__ == __name__,
        other.name,
        third.name,
        registered.name,
        registered(),
        re.sub("0x[0-9a-f]+", "", repr(plain)),
        plain == app.tasks[plain.name],
        hash(plain) == hash(app.tasks[plain.name]),
        plain.__wrapped__(4),
        plain.run(5),
        plain.abstract,
    ]


@case
def attributes_and_precedence(L):
    conf = {
        "task_serializer": "pickle",
        "task_default_rate_limit": "3/s",
        "task_default_priority": 2,
        "task_time_limit": 30,
        "task_soft_time_limit": 20,
        "task_track_started": True,
        "task_acks_late": True,
        "task_ignore_result": True,
        "task_store_eager_result": True,
        "task_store_errors_even_if_ignored": True,
        "task_reject_on_worker_lost": True,
        "task_acks_on_failure_or_timeout": False,
        "task_compression": "gzip",
        "task_publish_retry": False,
        "task_send_sent_event": True,
        "task_protocol": 2,
    }
    app = L.app(**conf)

    class Base(L.lib.Task):
        abstract = True
        time_limit = 7
        queue = "based"

    app.conf.task_annotations = {"annotated": {"time_limit": 3, "foo": 1}, "*": {"bar": 2}}
    made = {
        "plain": app.task(name="plain")(lambda: 1),
        "based": app.task(name="based", base=Base)(lambda: 1),
        "option": app.task(name="option", base=Base, time_limit=5)(lambda: 1),
        "annotated": app.task(name="annotated", base=Base, time_limit=5)(lambda: 1),
    }
    names = [
        "max_retries",
        "default_retry_delay",
        "throws",
        "rate_limit",
        "time_limit",
        "soft_time_limit",
        "ignore_result",
        "store_eager_result",
        "store_errors_even_if_ignored",
        "serializer",
        "acks_late",
        "acks_on_failure_or_timeout",
        "reject_on_worker_lost",
        "track_started",
        "trail",
        "send_events",
        "priority",
        "expires",
        "typing",
        "resultrepr_maxsize",
        "abstract",
        "queue",
        "foo",
        "bar",
        "compression",
        "acks_on_failure",
        "acks_on_timeout",
        "retry_on_worker_lost",
    ]
    return {
        key: {name: repr(getattr(task, name, "missing")) for name in names}
        for key, task in made.items()
    }


@case
def annotation_styles(L):
    seen = []

    class Annotate:
        def annotate(self, task):
            if task.name.startswith("t."):
                return {"rate_limit": "9/m"}
            return None

        def annotate_any(self):
            return {"other": 1}

    def before(self, *args):
        seen.append(["before", list(map(str, args))])

    def on_success(self, *args):
        seen.append(["on_success", args[0]])

    def wrap(fun):
        def wrapped(*args, **kwargs):
            seen.append(["wrapped", list(args)])
            return fun(*args, **kwargs)

        return wrapped

    out = []
    for annotation in (
        {"t.a": {"rate_limit": "1/s"}, "*": {"rate_limit": "2/s", "x": 3}},
        [{"t.a": {"rate_limit": "1/s"}}, {"t.a": {"rate_limit": "7/s", "x": 4}}],
        Annotate(),
        (Annotate(), {"*": {"x": 5}}),
        {"*": {"on_success": on_success, "@__call__": wrap}},
        {"t.a": {"@run": wrap}},
        None,
    ):
        app = L.app(task_annotations=annotation)
        task = app.task(name="t.a")(lambda x: x)
        out.append(
            [
                task.rate_limit,
                getattr(task, "x", None),
                getattr(task, "other", None),
                L.outcome(task.apply((1,))),
                L.attempt(task, 2),
                list(seen),
            ]
        )
        seen.clear()
    return out


@case
def bases(L):
    app = L.app()

    class Mine(L.lib.Task):
        abstract = True
        _db = None
        calls = 0

        @property
        def db(self):
            if self._db is None:
                self._db = object()
            return self._db

        def __call__(self, *args, **kwargs):
            type(self).calls += 1
            return super().__call__(*args, **kwargs)

    app.Task = Mine

    @app.task
    def one():
        return one.db is one.db

    @app.task(base=Mine, bind=True)
    def two(self, x):
        return [self.name, x, self.request.id is None, self.request.called_directly]

    sub = L.lib.Celery("sub", broker="memory://", task_cls=Mine)

    @sub.task
    def three():
        return 1

    before = Mine.calls
    out = [
        one(),
        two(3),
        one.apply().get(),
        two.apply((1,)).get()[1:],
        isinstance(three, Mine),
        one.calls,
        two.calls,
        Mine.calls - before,
        [cls.__name__ for cls in two.__class__.__mro__[:3]],
    ]
    with_str = L.app()
    out.append(L.attempt(lambda: with_str.register_task(Mine()).name.rpartition(".")[2]))
    return out


@case
def decorator_errors(L):
    app = L.app()
    out = [L.attempt(app.task, 1), L.attempt(app.task, 1, 2)]

    @app.task
    def add(x, y=1, *, z=3):
        return x + y

    for args, kwargs in (((), {}), ((1, 2, 3), {}), ((1,), {"w": 1}), ((1,), {"z": 1})):
        answer = L.attempt(add.apply_async, args, kwargs)
        out.append(answer[:3] if answer[0] == "raised" else answer[0])
    out.append([L.attempt(add.apply_async, x)[:2] for x in ("text", 5, {1}, [1], None)])
    out.append([L.attempt(add.apply_async, (1,), x)[:2] for x in ("text", 5, [1])])

    @app.task(typing=False)
    def loose(x):
        return x

    out.append(L.attempt(loose.delay)[0])
    loose_app = L.lib.Celery("x", broker="memory://", strict_typing=False)

    @loose_app.task
    def loose2(x):
        return x

    out.append(L.attempt(loose2.delay)[0])
    return out


@case
def task_pickles(L):
    app = L.app()
    app.set_current()
    app.task(name="pick.me")(lambda x: x)
    return [pickle.loads(pickle.dumps(app.tasks["pick.me"])) is app.tasks["pick.me"]]


# -- the request


def request_of(self) -> dict[str, Any]:
    """Return the documented attributes of a request."""
    r = self.request
    names = [
        "args",
        "callbacks",
        "called_directly",
        "chain",
        "chord",
        "correlation_id",
        "delivery_info",
        "errbacks",
        "eta",
        "expires",
        "group",
        "group_index",
        "headers",
        "is_eager",
        "kwargs",
        "logfile",
        "loglevel",
        "parent_id",
        "properties",
        "replaced_task_nesting",
        "reply_to",
        "retries",
        "root_id",
        "shadow",
        "stamped_headers",
        "stamps",
        "taskset",
        "timelimit",
        "utc",
        "ignore_result",
        "children",
        "id",
    ]
    seen = {name: repr(getattr(r, name)) for name in names}
    seen["hostname"] = bool(r.hostname)
    seen["get"] = [r.get("id") is not None, r.get("nothing", 5)]
    return seen


@case
def requests(L):
    app = L.app()
    who = app.task(name="who", bind=True)(lambda self, *a, **k: request_of(self))
    app.task(name="cb")(lambda *a: None)
    outside = {k: repr(v) for k, v in request_of(who).items()}
    eager = who.apply((1,), {"k": 2}, task_id="ID")
    rich = who.apply(
        (1,),
        {"k": 2},
        task_id="ID",
        headers={"h": 1},
        retries=2,
        queue="q",
        routing_key="rk",
        priority=3,
        expires=30,
        shadow="sh",
        reply_to="rt",
        root_id="R",
        parent_id="P",
        time_limit=5,
        soft_time_limit=3,
        loglevel=10,
        logfile="f",
        group_id="G",
        group_index=1,
        link=[app.signature("cb", (1,), immutable=True)],
        ignore_result=True,
    )
    stamped = who.apply(task_id="ID", headers={"stamped_headers": ["s"], "s": "v"})
    return [outside, who(1, k=2), eager.get(), rich.get(), stamped.get()]


@case
def eager_states(L):
    app = L.app(task_store_eager_result=True)
    out = []

    @app.task(bind=True)
    def progress(self, fail=None):
        self.update_state(state="PROGRESS", meta={"n": 1})
        out.append(
            [app.backend.get_state(self.request.id), app.backend.get_result(self.request.id)]
        )
        if fail:
            raise {"key": KeyError, "ignore": L.exceptions.Ignore, "reject": L.exceptions.Reject}[
                fail
            ]("x")
        return 5

    for fail in (None, "key", "ignore", "reject"):
        result = progress.apply((fail,), task_id=f"id-{fail}")
        out.append([L.outcome(result), app.backend.get_state(f"id-{fail}")])
    return out


# -- handlers


@case
def handler_order(L):
    app = L.app()
    seen = []

    class Handled(L.lib.Task):
        def before_start(self, task_id, args, kwargs):
            seen.append(["before_start", task_id, list(args), kwargs])

        def on_success(self, retval, task_id, args, kwargs):
            seen.append(["on_success", retval, task_id, list(args), kwargs])

        def on_failure(self, exc, task_id, args, kwargs, einfo):
            seen.append(
                [
                    "on_failure",
                    repr(exc),
                    task_id,
                    list(args),
                    kwargs,
                    type(einfo).__name__,
                    str(einfo).strip().rpartition("\n")[2],
                ]
            )

        def on_retry(self, exc, task_id, args, kwargs, einfo):
            seen.append(["on_retry", repr(exc), task_id, list(args), kwargs, type(einfo).__name__])

        def after_return(self, status, retval, task_id, args, kwargs, einfo):
            seen.append(
                [
                    "after_return",
                    status,
                    repr(retval),
                    task_id,
                    list(args),
                    kwargs,
                    type(einfo).__name__,
                ]
            )

    @app.task(base=Handled, bind=True, max_retries=1)
    def work(self, what):
        seen.append(["run", what])
        if what == "fail":
            raise KeyError("f")
        if what == "retry":
            raise self.retry(exc=ValueError("r"), countdown=0)
        if what == "ignore":
            raise L.exceptions.Ignore()
        if what == "reject":
            raise L.exceptions.Reject("because", requeue=False)
        return what

    handlers = []
    for name in ("task_prerun", "task_postrun", "task_success", "task_failure", "task_retry"):

        def handler(sender=None, _name=name, **kw):
            kw.pop("signal", None)
            seen.append(
                [
                    _name,
                    sender.name,
                    sorted(kw),
                    str(kw.get("state")),
                    repr(kw.get("retval")),
                    repr(kw.get("result")),
                    repr(kw.get("exception")),
                ]
            )

        getattr(L.signals, name).connect(handler, weak=False)
        handlers.append((name, handler))
    out = []
    try:
        for what in ("ok", "fail", "retry", "ignore", "reject"):
            result = work.apply((what,), task_id="ID")
            out.append([what, L.outcome(result), list(seen)])
            seen.clear()
    finally:
        for name, handler in handlers:
            getattr(L.signals, name).disconnect(handler)
    return out


# -- retrying


@case
def retry_direct_and_eager(L):
    app = L.app()
    out = []

    @app.task(bind=True, max_retries=2, default_retry_delay=0)
    def work(self, how, n=0):
        if how == "exc":
            raise self.retry(exc=ValueError("given"))
        if how == "none":
            raise self.retry()
        if how == "current":
            try:
                raise KeyError("current")
            except KeyError:
                raise self.retry()
        if how == "current-and-exc":
            try:
                raise KeyError("current")
            except KeyError as e:
                raise self.retry(exc=e)
        if how == "different-exc":
            try:
                raise KeyError("current")
            except KeyError:
                raise self.retry(exc=ValueError("other"))
        if how == "exc-class":
            raise self.retry(exc=ValueError)
        if how == "args":
            if n >= 2:
                return ["done", n, self.request.retries]
            raise self.retry(args=(how, n + 1))
        if how == "kwargs":
            if n >= 2:
                return ["done", n, self.request.retries]
            raise self.retry(args=(how,), kwargs={"n": n + 1})
        if how == "nothrow":
            ret = self.retry(throw=False)
            return [type(ret).__name__, str(ret)]
        if how == "max":
            raise self.retry(max_retries=4)
        if how == "unlimited":
            if self.request.retries > 6:
                return self.request.retries
            self.max_retries = None
            raise self.retry(countdown=0)
        if how == "raise Retry":
            raise L.exceptions.Retry("by hand", exc=KeyError("k"), when=3)
        return "end"

    hows = (
        "exc",
        "none",
        "current",
        "current-and-exc",
        "different-exc",
        "exc-class",
        "args",
        "kwargs",
        "nothrow",
        "max",
        "unlimited",
        "raise Retry",
    )
    for how in hows:
        out.append([how, "direct", L.attempt(work, how)])
        work.max_retries = 2
        result = work.apply((how,), task_id="ID")
        work.max_retries = 2
        out.append([how, "eager", L.outcome(result)])
        out.append([how, "throw", L.attempt(lambda: L.outcome(work.apply((how,), throw=True)))])
        work.max_retries = 2
    exc = None
    try:
        work.apply(("none",), task_id="ID").get()
    except L.exceptions.MaxRetriesExceededError as error:
        exc = error
    out.append([exc.task_args, exc.task_kwargs, str(exc)])
    return out


@case
def retry_exceptions(L):
    E = L.exceptions
    when = datetime(2030, 1, 2, 3, 4, 5)
    values = [
        E.Retry(),
        E.Retry("m"),
        E.Retry(exc=KeyError("x")),
        E.Retry("m", KeyError("x"), 3),
        E.Retry(when=when),
        E.Retry(when=1.5),
        E.Retry("m", exc="text"),
        E.Reject("r"),
        E.Reject("r", True),
        E.Ignore("i"),
        E.MaxRetriesExceededError("m", task_args=(1,)),
        E.TimeLimitExceeded(3),
        E.SoftTimeLimitExceeded(3),
        E.WorkerLostError("w"),
        E.TaskRevokedError("revoked"),
        E.Terminated(15),
        E.NotRegistered("n"),
    ]
    out = []
    for value in values:
        clone = pickle.loads(pickle.dumps(value))
        out.append(
            [
                type(value).__name__,
                str(value),
                repr(value),
                repr(value.args),
                str(clone),
                [c.__name__ for c in type(value).__mro__ if "rror" in c.__name__],
            ]
        )
    retry = E.Retry("m", KeyError("x"), 3)
    out.append(
        [
            retry.humanize(),
            retry.message,
            repr(retry.excs),
            retry.when,
            retry.is_eager,
            E.Reject("r", True).requeue,
            E.Reject("r").reason,
        ]
    )
    return out


@case
def autoretry(L):
    app = L.app()
    out = []
    delays = []

    class Spy(L.lib.Task):
        def retry(self, *args, **kwargs):
            delays.append(kwargs.get("countdown"))
            return super().retry(*args, **kwargs)

    def define(**options):
        @app.task(bind=True, base=Spy, name=f"auto{len(out)}", **options)
        def work(self, kind):
            delays.append(["try", self.request.retries])
            if kind == "key":
                raise KeyError("k")
            if kind == "lookup":
                raise LookupError("l")
            if kind == "ignore":
                raise L.exceptions.Ignore()
            if kind == "reject":
                raise L.exceptions.Reject("no")
            if kind == "retry":
                raise self.retry(countdown=0, max_retries=1)
            if kind == "soft":
                raise L.exceptions.SoftTimeLimitExceeded()
            return "fine"

        return work

    for options in (
        {"autoretry_for": (KeyError,), "max_retries": 2},
        {"autoretry_for": (KeyError,), "retry_kwargs": {"max_retries": 1, "countdown": 0}},
        {"autoretry_for": (LookupError,), "dont_autoretry_for": (KeyError,), "max_retries": 1},
        {
            "autoretry_for": (Exception,),
            "retry_backoff": True,
            "retry_jitter": False,
            "max_retries": 4,
        },
        {
            "autoretry_for": (Exception,),
            "retry_backoff": 5,
            "retry_jitter": False,
            "max_retries": 4,
            "retry_backoff_max": 12,
        },
        {
            "autoretry_for": (Exception,),
            "retry_backoff": 0.5,
            "retry_jitter": False,
            "max_retries": 2,
        },
        {"autoretry_for": (Exception,), "max_retries": None, "retry_kwargs": {"max_retries": 2}},
        {"autoretry_for": (), "max_retries": 1},
    ):
        work = define(**options)
        for kind in ("ok", "key", "lookup", "ignore", "reject", "retry", "soft"):
            delays.clear()
            result = L.outcome(work.apply((kind,)))
            out.append([str(sorted(options)), kind, result, list(delays)])
        delays.clear()
        out.append(L.attempt(work, "key"))
    return out


@case
def autoretry_class(L):
    app = L.app()
    tries = []

    class Base(L.lib.Task):
        autoretry_for = (TypeError,)
        retry_kwargs = {"max_retries": 3, "countdown": 0}
        retry_backoff = False

    @app.task(base=Base, bind=True)
    def function(self):
        tries.append("f")
        raise TypeError("t")

    class Klass(Base):
        name = "klass"

        def run(self):
            tries.append("k")
            raise TypeError("t")

    klass = app.register_task(Klass())
    out = [L.outcome(function.apply()), L.outcome(klass.apply()), list(tries)]
    with_options = app.register_task(
        type(
            "Other",
            (L.lib.Task,),
            {"name": "other", "run": lambda self: tries.append("o") or 1 / 0},
        )(),
        autoretry_for=(ZeroDivisionError,),
        retry_kwargs={"max_retries": 1, "countdown": 0},
    )
    tries.clear()
    out += [L.outcome(with_options.apply()), list(tries)]
    return out


# -- calling


def sent_by(L, app, task, calls):
    """Return the messages of several calls."""
    out = []
    for args, kwargs, options in calls:
        answer = L.attempt(task.apply_async, args, kwargs, **options)
        out.append(answer[:3] if answer[0] == "raised" else answer[0])
        for queue in ("celery", "other", "rk"):
            out.append([queue, L.messages(app, queue)])
    return out


@case
def messages_sent(L):
    app = L.app(accept_content=["json", "pickle", "yaml"], result_accept_content=["json"])
    add = app.task(name="add")(lambda *a, **k: None)
    app.task(name="cb")(lambda *a: None)
    cb = app.signature("cb", (1,))
    far = datetime(2035, 6, 1, 12, 0)
    calls = [
        ((1, 2), {}, {}),
        ((1,), {"k": 2}, {"headers": {"h": 1}, "shadow": "sh"}),
        ((1,), {}, {"argsrepr": "(<hidden>)", "kwargsrepr": "{<hidden>}"}),
        ((1,), {}, {"eta": far}),
        ((1,), {}, {"eta": far.replace(tzinfo=ZoneInfo("Europe/Berlin"))}),
        ((1,), {}, {"expires": far}),
        ((1,), {}, {"expires": far.isoformat()}),
        ((1,), {}, {"expires": datetime(2001, 1, 1)}),
        ((1,), {}, {"queue": "other", "priority": 4}),
        ((1,), {}, {"serializer": "pickle"}),
        ((1,), {}, {"serializer": "yaml"}),
        ((1,), {}, {"compression": "gzip"}),
        ((1,), {}, {"time_limit": 3, "soft_time_limit": 2}),
        ((1,), {}, {"ignore_result": True}),
        ((1,), {}, {"link": cb, "link_error": [cb, cb]}),
        ((1,), {}, {"link": [cb, cb]}),
        ((1,), {}, {"delivery_mode": 1}),
        ((1,), {}, {"reply_to": "somewhere"}),
        ((1,), {}, {"group_id": "g", "group_index": 2, "chord": cb, "chain": [cb]}),
        ((1,), {}, {"retries": 3, "origin": "me"}),
        ((1,), {}, {"stamped_headers": ["s"], "s": "v", "other": "w"}),
        ((1,), {}, {"headers": {"stamped_headers": ["s"], "s": "v"}}),
        ((1,), {}, {"unknown_option": 3}),
        ((1,), {}, {"countdown": -5}),
        ((object(),), {}, {}),
        ((1,), {}, {"serializer": "nothing"}),
        ((1,), {}, {"compression": "nothing"}),
        ((1,), {}, {"eta": "tomorrow"}),
        ((1,), {}, {"expires": "tomorrow"}),
    ]
    return sent_by(L, app, add, calls)


@case
def call_options_of_the_task(L):
    app = L.app()
    task = app.task(
        name="t",
        queue="other",
        priority=3,
        serializer="pickle",
        compression="bzip2",
        expires=60,
        time_limit=9,
        soft_time_limit=8,
        ignore_result=True,
        delivery_mode=1,
    )(lambda *a: None)
    return [
        {**m, "headers": {k: v for k, v in m["headers"].items() if k != "expires"}}
        for _ in [task.delay(1), task.apply_async((2,), priority=1, ignore_result=False)]
        for m in L.messages(app, "other")
    ]


@case
def always_eager(L):
    out = []
    for options in (
        {},
        {"task_eager_propagates": True},
        {"task_store_eager_result": True},
        {"task_eager_propagates": True, "task_store_eager_result": True},
    ):
        app = L.app(task_always_eager=True, **options)
        add = app.task(name="add")(lambda x, y=0: x + y)
        fail = app.task(name="fail")(lambda: 1 / 0)
        seen = []
        note = app.task(name="note")(lambda *a: seen.append(repr(a)))
        out.append(L.outcome(add.delay(1, 2)))
        out.append(L.attempt(lambda: L.outcome(fail.delay())))
        out.append(L.outcome(add.apply_async((1,), link=note.s())))
        out.append(L.attempt(lambda: L.outcome(fail.apply_async(link_error=note.s()))))
        out.append(L.attempt(lambda: L.outcome(fail.apply_async(link_error=note.si(3)))))
        out.append([UUID.sub("UUID", s) for s in seen])
        r = add.apply_async((1,), task_id="stored")
        out.append([r.id, app.backend.get_state("stored"), app.backend.get_result("stored")])
        out.append(L.attempt(add.apply_async, (object(),))[:2])
        out.append(L.outcome(add.apply_async((1,), countdown=100)))
        out.append(L.outcome(add.apply_async((1,), expires=-1)))
        out.append(L.lib.chain(add.s(1), add.s(2), add.s(3))().get())
        out.append(L.lib.group(add.s(i) for i in range(3))().get())
    return out


@case
def apply_options(L):
    app = L.app()
    seen = []
    add = app.task(name="add")(lambda x, y=0: x + y)
    fail = app.task(name="fail")(lambda: 1 / 0)
    note = app.task(name="note")(lambda *a: seen.append(repr(a)))
    app.conf.task_always_eager = True
    out = [
        L.outcome(add.apply((1, 2))),
        L.outcome(add.apply([1], {"y": 3})),
        L.attempt(lambda: L.outcome(fail.apply())),
        L.attempt(fail.apply, throw=True),
        L.outcome(add.apply((1,), link=note.s(9))),
        L.outcome(add.apply((1, 1, 1))),
        L.outcome(add.apply((1,), task_id="X")),
        add.apply((1,), task_id="X").id,
        L.attempt(lambda: fail.apply().get()),
        L.attempt(lambda: fail.apply().get(propagate=False)),
        fail.apply().failed(),
        add.apply((1,)).ready(),
        add.apply((1,)).successful(),
        fail.apply().maybe_throw.__name__,
        seen,
    ]
    result = add.apply((1,), task_id="Y")
    out.append([repr(result), result.as_tuple(), result.forget(), result.revoke(), result.status])
    return out


# -- logs


@case
def log_lines(L):
    app = L.app()
    records = Records()
    logger = logging.getLogger("celery.app.trace")
    logger.addHandler(records)
    logger.setLevel(logging.DEBUG)

    class Odd:
        def __repr__(self):
            raise RuntimeError("no repr")

    cyclic: list[Any] = [1]
    cyclic.append(cyclic)
    app.task(name="ok")(lambda *a: "x" * 50)
    app.task(name="odd")(lambda *a: Odd())
    app.task(name="cyclic")(lambda *a: cyclic)
    app.task(name="huge")(lambda *a: "y" * 5000)
    app.task(name="hugelist")(lambda *a: list(range(5000)))
    app.task(name="short", resultrepr_maxsize=20)(lambda *a: "z" * 100)
    app.task(name="fail")(lambda *a: 1 / 0)
    app.task(name="expected", throws=(ZeroDivisionError,))(lambda *a: 1 / 0)

    @app.task(name="ignore")
    def ignore(*args):
        raise L.exceptions.Ignore("why")

    @app.task(name="reject")
    def reject(*args):
        raise L.exceptions.Reject("why", requeue=True)

    @app.task(name="retry", bind=True, max_retries=1)
    def retry(self, *args):
        raise self.retry(countdown=0, exc=KeyError("k"))

    out = []
    try:
        for name in (
            "ok",
            "odd",
            "cyclic",
            "huge",
            "hugelist",
            "short",
            "fail",
            "expected",
            "ignore",
            "reject",
            "retry",
        ):
            app.tasks[name].apply((1,), task_id="ID")
            app.tasks[name].apply((1,), task_id="ID", shadow="shown")
            out.append([name, list(records.lines)])
            records.lines.clear()
    finally:
        logger.removeHandler(records)
    return out


# -- semipredicates and replacement


@case
def replaced(L):
    app = L.app(task_always_eager=True)
    add = app.task(name="add")(lambda x, y=0: x + y)

    @app.task(name="rep", bind=True)
    def rep(self, how):
        if how == "task":
            raise self.replace(add.s(1, 2))
        if how == "chain":
            raise self.replace(add.s(1, 2) | add.s(3))
        if how == "group":
            raise self.replace(L.lib.group(add.s(1, 2), add.s(3)))
        if how == "empty":
            raise self.replace(L.lib.group())
        if how == "empty chain":
            raise self.replace(L.lib.chain())
        if how == "chord member":
            raise self.replace(add.s(1).set(chord=add.s()))
        if how == "return":
            return self.replace(add.s(1, 2))
        return None

    out = []
    for how in ("task", "chain", "group", "chord member", "return"):
        out.append([how, L.attempt(lambda how=how: L.outcome(rep.apply((how,))))])
    out.append(L.attempt(lambda: rep.add_to_chord(add.s())))
    return out


# -- models


class Box(BaseModel):
    """A model with a default and a check."""

    size: int
    label: str = "none"


@case
def models(L):
    app = L.app(task_always_eager=True)

    def grow(box: Box, by: int = 1) -> Box:
        assert isinstance(box, Box)
        return Box(size=box.size + by, label=box.label)

    def maybe(box: Optional[Box] = None, other: Box | None = None) -> Optional[Box]:  # noqa: UP045
        return Box(size=box.size) if box is not None else other

    def wrong(box: Box) -> int:
        return repr(box)

    def union(box: Box | int, boxes: list[Box]) -> str:
        return repr([box, boxes])

    out = []
    for options in (
        {},
        {"pydantic_strict": True},
        {"pydantic_dump_kwargs": {"exclude": {"label"}}},
    ):
        made = [
            app.task(name=f"{function.__name__}{len(out)}", pydantic=True, **options)(function)
            for function in (grow, maybe, wrong, union)
        ]
        calls = [
            (made[0], ({"size": 1},), {}),
            (made[0], ({"size": "1", "label": "a"},), {"by": 2}),
            (made[0], ({"label": "a"},), {}),
            (made[0], (3,), {}),
            (made[1], (), {}),
            (made[1], ({"size": 2},), {"other": None}),
            (made[1], (None,), {"other": {"size": 3}}),
            (made[2], ({"size": 2},), {}),
            (made[3], ({"size": 2}, [{"size": 3}]), {}),
        ]
        for task, args, kwargs in calls:
            result = task.apply(args, kwargs)
            value = result.result
            out.append([task.name, result.state, type(value).__name__, str(value)])
    return out


# -- errors that travel


class CustomError(Exception):
    """Two arguments, one attribute."""

    def __init__(self, code, text):
        super().__init__(code, text)
        self.code = code


class BadInit(Exception):
    """Can't be made again from its args."""

    def __init__(self, code, text):
        super().__init__("only one")


class Holder(Exception):
    """Holds what can't be pickled."""


@case
def exceptions_stored(L):
    out = []
    for serializer in ("json", "pickle"):
        app = L.app(
            result_serializer=serializer,
            accept_content=["json", "pickle"],
            task_store_eager_result=True,
        )

        @app.task(name=f"fail-{serializer}")
        def fail(kind):
            if kind == "custom":
                raise CustomError(3, "text")
            if kind == "badinit":
                raise BadInit(1, 2)
            if kind == "holder":
                raise Holder(lambda: 1)
            if kind == "local":

                class Local(Exception):
                    pass

                raise Local("l")
            if kind == "cause":
                try:
                    {}["x"]
                except KeyError as exc:
                    raise ValueError("v") from exc
            if kind == "group":
                raise ExceptionGroup("eg", [ValueError(1), KeyError("k")])
            if kind == "unicode":
                raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")
            if kind == "oserror":
                raise FileNotFoundError(2, "No such", "file")
            if kind == "object":
                raise ValueError(object)
            if kind == "systemexit":
                raise SystemExit(3)

        for kind in (
            "custom",
            "badinit",
            "holder",
            "local",
            "cause",
            "group",
            "unicode",
            "oserror",
            "object",
            "systemexit",
        ):
            id = f"{serializer}-{kind}"
            out.append([id, L.attempt(lambda: L.outcome(fail.apply((kind,), task_id=id)))])
            result = app.AsyncResult(id)
            value = result.result
            out.append(
                [
                    result.state,
                    L.describe(value) if isinstance(value, BaseException) else value,
                    type(value).__module__,
                    L.attempt(result.get, timeout=1) if result.ready() else None,
                ]
            )
    return out


def normal(value: Any, package: str) -> Any:
    """Return a value as JSON has it, without what differs from run to run."""
    text = json.dumps(value, default=lambda v: re.sub("0x[0-9a-f]+", "0x", repr(v)))
    text = UUID.sub("UUID", text)
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    text = re.sub(r"\b(taskq|celery)\.(?=[a-z_.]+)", "PKG.", text)
    text = re.sub(r"\bTaskQ\b", "Celery", text)
    return json.loads(text)


def main(package: str, chosen: list[str]) -> None:
    """Run the cases with one package and print what they saw."""
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())
    library = Library(package)
    seen = {}
    for name, function in CASES.items():
        if chosen and name not in chosen:
            continue
        try:
            seen[name] = normal(function(library), package)
        except BaseException as exc:
            import traceback

            seen[name] = ["case failed", repr(exc), traceback.format_exc()]
    print(json.dumps(seen, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
