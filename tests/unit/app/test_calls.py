"""Calling tasks: what is checked before anything is sent, and what is said when it can't be."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from kombu.exceptions import EncodeError

from taskq import Task, TaskQ, chord, group, signals
from taskq.app.trace import build_tracer
from taskq.exceptions import Retry


@pytest.fixture
def app(unique):
    app = TaskQ("calls", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.task_default_queue = unique
    return app


def waiting(app) -> int:
    """Return the number of messages in the app's queue."""
    with app.connection_for_read() as connection:
        return connection.default_channel.queue_declare(
            app.conf.task_default_queue, passive=False
        ).message_count


@pytest.mark.parametrize("signal", [signals.before_task_publish, signals.after_task_publish])
def test_each_call_is_told_once_whenever_somebody_begins_to_listen(app, greet, signal):
    told = []

    def tell(headers, **_):
        told.append(headers["id"])

    before = []
    for listens in (True, False, True):
        if listens:
            signal.connect(tell)
        try:
            sent = [greet.delay("you").id, greet.delay("me").id]
        finally:
            signal.disconnect(tell)
        assert told[len(before) :] == (sent if listens else [])
        before = list(told)


class User:
    """Nothing that JSON knows."""


@pytest.fixture
def greet(app):
    @app.task(name="greet", shared=False)
    def greet(user, times=1, **more):
        return user

    return greet


@pytest.mark.parametrize(
    ("args", "kwargs", "place"),
    [
        ((User(),), {}, r"argument 'user' \(args\[0\]\) is of type User"),
        ((1, [2, {"who": User()}]), {}, r"argument 'times' \(args\[1\]\[1\]\['who'\]\) is of type"),
        ((1,), {"other": User()}, r"argument kwargs\['other'\] is of type User"),
    ],
)
def test_the_argument_that_can_not_be_serialised_is_named(app, greet, args, kwargs, place):
    with pytest.raises(EncodeError, match=f"Can't send greet: {place}.*serializer 'json'"):
        greet.apply_async(args, kwargs)
    assert waiting(app) == 0


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"link": "sig"}, "one of its callbacks"),
        ({"link_error": "sig"}, "one of its error callbacks"),
        ({"chain": "sig"}, "one of its successors in the chain"),
    ],
)
def test_an_argument_of_what_follows_is_named(app, greet, options, place):
    options = {key: [greet.s(1, who=[User()])] for key in options}
    with pytest.raises(EncodeError, match=rf"kwargs\['who'\]\[0\] of greet, {place}, is of type"):
        greet.apply_async((1,), **options)
    assert waiting(app) == 0


def test_also_in_eager_mode(app, greet):
    app.conf.task_always_eager = True
    with pytest.raises(EncodeError, match=r"greet: argument 'user'.*'json'"):
        greet.delay(User())


@pytest.mark.parametrize("limit", [0, None, 1, 10])
def test_an_error_while_sending_a_group_leaves_the_pool_usable(app, greet, limit):
    app.conf.broker_pool_limit = limit
    greet.delay(1)
    for broken in (group([greet.s(1), greet.s(User())]), chord([greet.s(User())], greet.s())):
        with pytest.raises(EncodeError):
            broken.apply_async()
    greet.delay(2)
    group([greet.s(3), greet.s(4)]).apply_async()


@pytest.fixture
def state_when_sent(app):
    """The states that tasks had in the result store when their messages were sent."""
    states = []

    def look(headers, **_):
        states.append(app.AsyncResult(headers["id"]).state)

    signals.before_task_publish.connect(look)
    yield states
    signals.before_task_publish.disconnect(look)


@pytest.mark.parametrize("swallows", [False, True])
def test_a_retry_is_sent_after_its_state_was_stored(app, state_when_sent, swallows):
    @app.task(bind=True, name="careful", shared=False)
    def careful(self):
        try:
            raise self.retry(countdown=0)
        except Retry:
            if not swallows:
                raise
        return "went on"

    tracer = build_tracer("careful", app.tasks["careful"], app=app)
    returned = tracer("an-id", (), {}, {"id": "an-id", "delivery_info": {}})
    assert waiting(app) == 1
    expected = "SUCCESS" if swallows else "RETRY"
    assert state_when_sent == [expected]
    assert getattr(returned.info, "state", "SUCCESS") == expected


def test_a_retry_that_cannot_be_sent_rejects_the_message(app):
    @app.task(bind=True, name="lost", shared=False)
    def lost(self, user=None):
        raise self.retry(args=[User()], countdown=0)

    tracer = build_tracer("lost", app.tasks["lost"], app=app)
    returned = tracer("an-id", (), {}, {"id": "an-id", "delivery_info": {}})
    assert returned.info.state == "REJECTED"
    assert isinstance(returned.info.retval.reason, EncodeError)
    assert waiting(app) == 0


@pytest.mark.parametrize("ended", ["FAILURE", "SUCCESS", "REVOKED"])
def test_a_retry_that_has_ended_already_keeps_its_end(app, ended):
    @app.task(bind=True, name="hasty", shared=False)
    def hasty(self):
        # Sent at once, and not by the tracer.
        raise self.retry(countdown=0, throw=False)

    def run_at_once(headers, **_):
        result = "over" if ended == "SUCCESS" else ValueError("over")
        app.backend.store_result(headers["id"], result, ended)

    tracer = build_tracer("hasty", app.tasks["hasty"], app=app)
    signals.after_task_publish.connect(run_at_once)
    try:
        returned = tracer(ended, (), {}, {"id": ended, "delivery_info": {}})
    finally:
        signals.after_task_publish.disconnect(run_at_once)
    assert returned.info.state == "RETRY"
    assert app.AsyncResult(ended).state == ended
    tracer(f"other-{ended}", (), {}, {"id": f"other-{ended}", "delivery_info": {}})
    assert app.AsyncResult(f"other-{ended}").state == "RETRY"


@pytest.mark.parametrize("options", [{}, {"headers": {"mine": 1}}])
def test_how_deep_arguments_are_shown_is_a_setting(app, greet, options):
    shown = []
    for levels in (1, 2, 3, 6):
        app.conf.task_repr_maxlevels = levels
        greet.apply_async(([[[["deep"]]]],), {"more": {"a": [["b"]]}}, **options)
        with app.connection_for_read() as connection:
            message = connection.default_channel.basic_get(app.conf.task_default_queue, no_ack=True)
        shown.append((message.headers["argsrepr"], message.headers["kwargsrepr"]))
    assert shown == [
        ("([...],)", "{'more': {...}}"),
        ("([[...]],)", "{'more': {'a': [...]}}"),
        ("([[[...]]],)", "{'more': {'a': [[...]]}}"),
        ("([[[['deep']]]],)", "{'more': {'a': [['b']]}}"),
    ]


def test_an_argument_that_holds_itself_is_refused_or_sent() -> None:
    app = TaskQ("circles", broker="memory://", set_as_current=False)

    @app.task
    def keep(value):
        raise AssertionError("never runs")

    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(EncodeError, match=r"argument 'value' .*'json' can't encode"):
        keep.delay(circle)
    assert keep.apply_async((circle,), serializer="pickle").id


@pytest.mark.parametrize("option", ["countdown", "expires"])
@pytest.mark.parametrize("fold", [0, 1])
def test_seconds_are_real_ones_while_clocks_are_set_back(option: str, fold: int) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    now = datetime(2030, 10, 27, 2, 59, 58, tzinfo=berlin, fold=fold)
    app = TaskQ("clocks", broker="memory://", set_as_current=False, timezone="Europe/Berlin")
    message = app.amqp.create_task_message("id", "t", (), {}, now=now, **{option: 4})
    due = datetime.fromisoformat(message.headers["eta" if option == "countdown" else "expires"])
    assert due.timestamp() == now.timestamp() + 4


def test_a_group_is_sent_whole_or_not_at_all() -> None:
    app = TaskQ("whole", broker="memory://", backend="cache+memory://", set_as_current=False)

    @app.task
    def keep(value):
        raise AssertionError("never runs")

    with pytest.raises(EncodeError, match="argument 'value'"):
        group(keep.s(1), keep.s(2), keep.s(object())).apply_async()
    with app.connection_for_read() as connection:
        queue = app.amqp.default_queue(connection.default_channel)
        queue.declare()
        assert queue.get() is None
        group(keep.s(1), keep.s(2)).apply_async()
        assert [queue.get().payload[0] for _ in range(2)] == [[1], [2]]


def test_whether_arguments_are_checked_is_the_option_s_then_the_class_s_then_the_app_s(unique):
    class Unchecked(Task):
        abstract = True
        typing = False

    def takes_two(x, y):
        return x

    def checks(*, base=None, strict_typing=True, **options):
        app = TaskQ(unique, broker="memory://", set_as_current=False, strict_typing=strict_typing)
        task = app.task(name="two", base=base, shared=False, **options)(takes_two)
        try:
            task.delay(1)
        except TypeError:
            return True
        return False

    assert checks()
    assert not checks(strict_typing=False)
    assert not checks(base=Unchecked)
    assert checks(base=Unchecked, typing=True)
    assert checks(strict_typing=False, typing=True)
    assert not checks(typing=False)


def delivery_mode_of(app) -> int:
    """Return the delivery mode of the message in the app's queue."""
    with app.connection_for_read() as connection:
        message = connection.default_channel.basic_get(app.conf.task_default_queue, no_ack=True)
    return message.properties["delivery_mode"]


@pytest.mark.parametrize(("name", "mode"), [("transient", 1), ("persistent", 2), (1, 1)])
def test_delivery_modes_have_names(app, greet, name, mode):
    greet.apply_async(("you",), delivery_mode=name)
    assert delivery_mode_of(app) == mode


@pytest.mark.parametrize(("name", "mode"), [("transient", 1), ("persistent", 2)])
def test_the_delivery_mode_of_the_settings_may_be_a_name(app, greet, name, mode):
    app.conf.task_default_delivery_mode = name
    greet.delay("you")
    assert delivery_mode_of(app) == mode


def test_a_delivery_mode_that_is_none_is_refused(app, greet):
    with pytest.raises(ValueError, match=r"delivery_mode must be .* not 'fast'"):
        greet.apply_async(("you",), delivery_mode="fast")


class TestIgnoreResultHeader:
    """A call by name leaves it to the worker's task whether the result is ignored."""

    def header(self, app) -> object:
        with app.connection_for_read() as connection:
            message = connection.default_channel.basic_get(app.conf.task_default_queue, no_ack=True)
        return message.headers["ignore_result"]

    @pytest.mark.parametrize("given", [True, False])
    def test_what_the_caller_says_is_sent(self, app, given):
        app.send_task("elsewhere", ignore_result=given)
        assert self.header(app) is given

    @pytest.mark.parametrize("name", ["elsewhere", "greet"])
    def test_a_caller_that_says_nothing_sends_none(self, app, greet, name):
        app.send_task(name, ("you",))
        assert self.header(app) is None

    def test_a_signature_of_an_unknown_task_sends_none(self, app):
        app.signature("elsewhere").delay()
        assert self.header(app) is None

    def test_a_task_says_what_it_was_defined_with(self, app, greet):
        greet.delay("you")
        assert self.header(app) is False

    def test_the_handle_knows_what_the_task_here_says(self, app):
        app.task(lambda: None, name="quiet", ignore_result=True, shared=False)
        assert app.send_task("quiet").ignored is True
        assert app.send_task("elsewhere").ignored is False


def test_protocol_1_tells_the_place_in_a_group(app, greet):
    app.conf.task_protocol = 1
    group(greet.s("you"), greet.s("me"), app=app).apply_async()
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        messages = [channel.basic_get(app.conf.task_default_queue, no_ack=True) for _ in range(2)]
    assert sorted(message.payload["group_index"] for message in messages) == [0, 1]


AWAY = ["redis://:s3cret@127.0.0.1:1/0", "amqp://me:s3cret@127.0.0.1:1//"]


class TestBrokerThatIsAway:
    """The error names the broker, without its password, and what the connection said."""

    @pytest.fixture(params=AWAY)
    def url(self, request):
        return request.param

    @pytest.fixture
    def app(self, url):
        app = TaskQ("away", broker=url, backend="cache+memory://", set_as_current=False)
        app.conf.task_publish_retry_policy = {
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0,
            "interval_max": 0,
        }
        return app

    @pytest.mark.parametrize(
        "call",
        [
            lambda task: task.delay("you"),
            lambda task: task.apply_async(("you",), retry=False),
            lambda task: task.apply_async(("you",), countdown=1),
            lambda task: task.app.send_task("greet", ("you",)),
            lambda task: group(task.s("you"), task.s("me")).apply_async(),
            lambda task: (task.s("you") | task.s()).apply_async(),
        ],
        ids=["delay", "no-retry", "options", "by-name", "group", "chain"],
    )
    def test_the_error(self, app, greet, url, call):
        with pytest.raises(greet.OperationalError) as caught:
            call(greet)
        message = str(caught.value)
        assert f"Cannot reach the message broker at {url.replace('s3cret', '**')}" in message
        assert message.rstrip(".").endswith("Connection refused")
        assert caught.value.__cause__ is not None


@pytest.mark.parametrize("option", ["link", "link_error"])
def test_a_link_that_is_no_signature_is_refused(app, greet, option):
    for value in (greet, "greet", [greet.s(), greet]):
        with pytest.raises(TypeError, match=rf"{option} takes a signature.*task\.s\(\)"):
            greet.apply_async(("you",), **{option: value})
        with pytest.raises(TypeError, match=rf"{option} takes a signature"):
            greet.apply(("you",), **{option: value})
    assert waiting(app) == 0
    greet.apply_async(("you",), **{option: (greet.s(), dict(greet.s()))})
    assert waiting(app) == 1


def test_a_compression_that_is_not_there_is_refused(app, greet):
    greet.apply_async(("you",), compression="zlib")
    with pytest.raises(KeyError, match=r"no compression 'fast' here, but .*gzip"):
        greet.apply_async(("you",), compression="fast")
    assert waiting(app) == 1
