"""Steps start in the order of their needs and stop in reverse."""

from __future__ import annotations

import io
import logging
from types import SimpleNamespace

import pytest

from taskq import bootsteps
from taskq.bootsteps import Blueprint, ConsumerStep, StartStopStep, Step
from taskq.utils.graph import CycleError


@pytest.fixture
def log():
    return []


@pytest.fixture
def parent(log):
    return SimpleNamespace(steps=[], log=log)


class Recorded(StartStopStep):
    """Writes down what happens to it."""

    def note(self, parent, what):
        parent.log.append(f"{self.alias} {what}")

    def create(self, parent):
        self.note(parent, "create")

    def start(self, parent):
        self.note(parent, "start")

    def stop(self, parent):
        self.note(parent, "stop")

    def close(self, parent):
        self.note(parent, "close")

    def terminate(self, parent):
        self.note(parent, "terminate")

    def info(self, parent):
        return {self.alias: "info"}


class Pool(Recorded):
    pass


class Connection(Recorded):
    requires = (Pool,)


class Consumer(Recorded):
    requires = (f"{__name__}:Connection",)
    last = True


@pytest.fixture
def blueprint(parent):
    return Blueprint([Consumer, Connection, Pool], name="Test").apply(parent)


def test_life(blueprint, parent, log):
    assert log == ["Pool create", "Connection create", "Consumer create"]
    assert blueprint.human_state() == "initializing"
    log.clear()
    blueprint.start(parent)
    assert log == ["Pool start", "Connection start", "Consumer start"]
    assert (blueprint.human_state(), blueprint.state) == ("running", bootsteps.RUN)
    assert blueprint.info(parent) == {"Pool": "info", "Connection": "info", "Consumer": "info"}
    log.clear()
    blueprint.stop(parent)
    assert log == [
        "Pool close", "Connection close", "Consumer close",
        "Consumer stop", "Connection stop", "Pool stop",
    ]  # fmt: skip
    assert blueprint.human_state() == "terminating"
    blueprint.join(timeout=1)
    log.clear()
    blueprint.stop(parent)
    assert log == []


def test_terminate(blueprint, parent, log):
    blueprint.start(parent)
    log.clear()
    blueprint.stop(parent, terminate=True)
    assert log[3:] == ["Consumer terminate", "Connection terminate", "Pool terminate"]


def test_restart_leaves_it_running(blueprint, parent, log):
    blueprint.start(parent)
    log.clear()
    blueprint.restart(parent)
    assert log == ["Consumer stop", "Connection stop", "Pool stop"]
    assert blueprint.state == bootsteps.RUN


def test_callbacks(parent, log):
    blueprint = Blueprint(
        [Pool],
        on_start=lambda: log.append("on_start"),
        on_close=lambda: log.append("on_close"),
        on_stopped=lambda: log.append("on_stopped"),
    ).apply(parent)
    blueprint.start(parent)
    blueprint.stop(parent)
    assert log == [
        "Pool create", "on_start", "Pool start", "on_close", "Pool close", "Pool stop", "on_stopped"
    ]  # fmt: skip


def test_required_steps_are_added(parent):
    blueprint = Blueprint([Connection]).apply(parent)
    assert [step.alias for step in blueprint.order] == ["Pool", "Connection"]
    assert blueprint[Pool.name] is blueprint.order[0]


def test_steps_by_name_and_default_steps(parent):
    class Program(Blueprint):
        name = "Program"
        default_steps = [f"{__name__}:Pool"]

    blueprint = Program([Connection]).apply(parent)
    assert [step.alias for step in parent.steps] == ["Pool", "Connection"]
    assert blueprint.alias == "Program"


def test_order_is_the_same_every_time(parent):
    steps = [type(f"Step{n}", (Step,), {"__module__": __name__}) for n in range(20)]
    orders = {tuple(step.name for step in Blueprint(steps).apply(parent).order) for _ in range(5)}
    assert len(orders) == 1


def test_a_step_takes_the_place_of_another_of_its_name(parent, log):
    class Replacement(Recorded):
        name = Pool.name
        label = "Replacement"

    Blueprint([Connection, Replacement]).apply(parent)
    assert log == ["Replacement create", "Connection create"]


def test_steps_that_are_not_included(parent, log):
    class Disabled(Recorded):
        enabled = False

    class Unwanted(Recorded):
        def include_if(self, parent):
            return False

    class Plain(Step):
        def create(self, parent):
            parent.plain = True

    Blueprint([Disabled, Unwanted, Plain]).apply(parent)
    assert (log, parent.steps, parent.plain) == ([], [], True)


def test_arguments_reach_every_step(parent):
    class Configured(Step):
        def __init__(self, parent, option=None, **kwargs):
            parent.option = option

    Blueprint([Configured]).apply(parent, option=5)
    assert parent.option == 5


def test_object_made_by_a_step(parent, log):
    class Thing:
        def start(self):
            log.append("start")

        def stop(self):
            log.append("stop")

    class Maker(StartStopStep):
        def create(self, parent):
            return Thing()

    blueprint = Blueprint([Maker]).apply(parent)
    blueprint.start(parent)
    blueprint.stop(parent, terminate=True)
    assert log == ["start", "stop"]


def test_cycle(parent):
    class First(Step):
        pass

    class Second(Step):
        requires = (First,)

    First.requires = (Second,)
    with pytest.raises(CycleError, match=r"First.* <-> .*Second"):
        Blueprint([First]).apply(parent)


def test_missing_requirement(parent):
    class Broken(Step):
        requires = ("no_such_module:Step",)

    with pytest.raises(ImportError):
        Blueprint([Broken]).apply(parent)


class Failing(StartStopStep):
    def start(self, parent):
        raise ValueError("cannot start")

    def stop(self, parent):
        raise KeyError("cannot stop")


def test_error_at_start_is_raised_and_stopping_then_is_quick(parent):
    blueprint = Blueprint([Failing, Pool]).apply(parent)
    with pytest.raises(ValueError, match="cannot start"):
        blueprint.start(parent)
    blueprint.stop(parent)
    assert blueprint.state == bootsteps.TERMINATE
    blueprint.join(timeout=1)


def test_error_at_stop_is_logged_and_the_others_stop(parent, log, caplog):
    class Late(Failing):
        requires = (Pool,)

        def start(self, parent):
            pass

    blueprint = Blueprint([Late]).apply(parent)
    blueprint.start(parent)
    with caplog.at_level(logging.ERROR):
        blueprint.stop(parent)
    assert "cannot stop" in caplog.text
    assert log[-1] == "Pool stop"


def test_send_all(blueprint, parent, log):
    class Pausable:
        alias = "Pausable"

        def pause(self, parent, seconds):
            log.append(seconds)

    parent.steps.append(Pausable())
    parent.steps.append(None)
    log.clear()
    blueprint.send_all(parent, "pause", args=(5,))
    assert log == [5]


def test_names():
    assert Pool.name == f"{__name__}.Pool"
    assert str(Pool) == Pool.name
    assert "Pool" in repr(Connection)
    assert repr(Pool(None)) == "<step: Pool>"


def test_graph(blueprint, parent):
    out = io.StringIO()
    blueprint.graph.to_dot(out)
    text = out.getvalue()
    assert '"Connection" -> "Pool"' in text
    assert '"⧉Consumer" -> "Connection"' in text

    class Sometimes(Step):
        conditional = True
        label = "sometimes"

    assert bootsteps.StepFormatter().label(Sometimes) == "∘sometimes"


def test_connect_with(blueprint):
    class Inner(Step):
        pass

    blueprint.connect_with(Blueprint([Inner]).apply(SimpleNamespace(steps=[])))
    assert blueprint.graph.topsort()[-1] is Inner


class Test_ConsumerStep:
    class Consumer:
        def __init__(self, log, name):
            self.log, self.name = log, name
            self.channel = SimpleNamespace(close=lambda: log.append(f"{name} channel closed"))

        def consume(self):
            self.log.append(f"{self.name} consumes")

        def cancel(self):
            self.log.append(f"{self.name} cancelled")
            raise OSError("connection lost")

    @pytest.fixture
    def consumer(self):
        connection = SimpleNamespace(
            channel=lambda: "channel", connection_errors=(ConnectionError,), channel_errors=()
        )
        return SimpleNamespace(connection=connection, steps=[])

    @pytest.fixture
    def step(self, consumer, log):
        class MyStep(ConsumerStep):
            requires = ()

            def get_consumers(self, channel):
                assert channel == "channel"
                return [Test_ConsumerStep.Consumer(log, "mine")]

        return MyStep(consumer)

    def test_start_and_stop(self, step, consumer, log):
        step.start(consumer)
        step.stop(consumer)
        assert log == ["mine consumes", "mine cancelled", "mine channel closed"]

    def test_shutdown_only_closes(self, step, consumer, log):
        step.start(consumer)
        step.shutdown(consumer)
        assert log == ["mine consumes", "mine channel closed"]

    def test_needs_consumers(self, consumer):
        with pytest.raises(NotImplementedError, match="get_consumers"):
            ConsumerStep(consumer).start(consumer)
