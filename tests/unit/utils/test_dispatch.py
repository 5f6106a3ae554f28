"""Signals call their receivers: all of them, of the right sender, in any thread."""

from __future__ import annotations

import gc
import logging
import threading

import pytest

from taskq.local import PromiseProxy
from taskq.utils.dispatch import Signal
from taskq.utils.dispatch import signal as signal_module


@pytest.fixture
def signal():
    return Signal(name="happened", providing_args={"value"})


def test_receivers_get_signal_sender_and_arguments(signal):
    def receive(sender=None, signal=None, value=None, **kwargs):
        return sender, signal, value, kwargs

    signal.connect(receive)
    assert signal.send(sender="me", value=1, more=2) == [(receive, ("me", signal, 1, {"more": 2}))]


def test_nothing_connected(signal):
    assert signal.send(sender=None) == []
    assert not signal.has_listeners()


def test_only_the_wanted_sender(signal):
    @signal.connect(sender="proj.add")
    def receive(**kwargs):
        return 1

    assert signal.send(sender="proj." + "add") == [(receive, 1)]
    assert signal.send(sender="other") == []
    assert signal.has_listeners("proj.add")
    assert not signal.has_listeners("other")


def test_decorator_without_arguments(signal):
    @signal.connect
    def receive(**kwargs):
        return "got"

    assert signal.send(sender=None) == [(receive, "got")]


def test_an_error_is_logged_and_returned_and_stops_nobody(signal, caplog):
    def fail(**kwargs):
        raise ValueError("broken")

    def succeed(**kwargs):
        return 1

    signal.connect(fail)
    signal.connect(succeed)
    with caplog.at_level(logging.ERROR):
        (_, error), (_, value) = signal.send(sender=None)
    assert isinstance(error, ValueError)
    assert value == 1
    assert "broken" in caplog.text


def test_receivers_are_weakly_referenced_by_default(signal):
    def receive(**kwargs):
        pass

    signal.connect(receive)
    del receive
    gc.collect()
    assert signal.send(sender=None) == []

    signal.connect(lambda **kwargs: 1, weak=False)
    gc.collect()
    assert len(signal.send(sender=None)) == 1


def test_bound_methods(signal):
    class Listener:
        def receive(self, **kwargs):
            return "heard"

    listener = Listener()
    signal.connect(listener.receive)
    assert [answer for _, answer in signal.send(sender=None)] == ["heard"]
    assert signal.disconnect(listener.receive)
    signal.connect(listener.receive)
    del listener
    gc.collect()
    assert not signal.has_listeners()


def test_disconnect(signal):
    def receive(**kwargs):
        pass

    signal.connect(receive, sender="a")
    assert not signal.disconnect(receive)
    assert signal.disconnect(receive, sender="a")
    assert not signal.disconnect(receive, sender="a")


def test_connected_twice_is_called_once(signal):
    def receive(**kwargs):
        return 1

    signal.connect(receive)
    signal.connect(receive)
    assert len(signal.send(sender=None)) == 1


def test_dispatch_uid(signal):
    signal.connect(lambda **kwargs: 1, weak=False, dispatch_uid="u")
    signal.connect(lambda **kwargs: 2, weak=False, dispatch_uid="u")
    assert [answer for _, answer in signal.send(sender=None)] == [1]
    assert signal.disconnect(dispatch_uid="u")


def test_refuses_receivers_without_keyword_arguments(signal):
    with pytest.raises(ValueError, match="keyword arguments"):
        signal.connect(lambda: 1)
    with pytest.raises(TypeError, match="callable"):
        signal.connect("name of a sender")


def test_retry_calls_until_it_succeeds(signal, monkeypatch, caplog):
    monkeypatch.setattr(signal_module, "RETRY_INTERVAL_START", 0.0)
    monkeypatch.setattr(signal_module, "RETRY_INTERVAL_STEP", 0.0)
    calls = []

    def flaky(**kwargs):
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionError("not yet")
        return "done"

    signal.connect(flaky, retry=True)
    assert [answer for _, answer in signal.send(sender=None)] == ["done"]
    assert "not yet" in caplog.text
    assert signal.disconnect(flaky)


def test_sender_that_does_not_exist_yet(signal):
    class Sender:
        pass

    sender = Sender()
    promise = PromiseProxy(lambda: sender)
    received = []

    def receive(sender, **kwargs):
        received.append(sender)

    signal.connect(receive, sender=promise)
    assert not promise.__evaluated__()
    signal.send(sender=sender)
    assert received == []
    promise.__maybe_evaluate__()
    signal.send(sender=sender)
    assert received == [sender]


def test_caching_forgets_when_receivers_change():
    class Sender:
        pass

    signal = Signal(use_caching=True)
    sender = Sender()

    def receive(**kwargs):
        return 1

    assert not signal.has_listeners(sender)
    signal.connect(receive)
    assert len(signal.send(sender=sender)) == 1
    assert len(signal.send(sender=sender)) == 1
    assert len(signal.send(sender="text is never cached")) == 1
    signal.disconnect(receive)
    assert signal.send(sender=sender) == []


def test_connecting_while_sending(signal):
    def late(**kwargs):
        return "late"

    def early(**kwargs):
        signal.connect(late)
        return "early"

    signal.connect(early)
    assert [answer for _, answer in signal.send(sender=None)] == ["early"]
    assert [answer for _, answer in signal.send(sender=None)] == ["early", "late"]


def test_threads_may_connect_and_send_together(signal):
    receivers = [(lambda **kwargs: 1) for _ in range(200)]
    errors = []

    def work(own):
        try:
            for receiver in own:
                signal.connect(receiver)
                signal.send(sender=None)
                signal.disconnect(receiver)
        except Exception as exc:
            errors.append(exc)

    threads = [threading.Thread(target=work, args=(receivers[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert not signal.has_listeners()
