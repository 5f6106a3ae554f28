"""Errors say what is needed, and survive pickling."""

from __future__ import annotations

import pickle
from datetime import datetime

import pytest

from taskq import exceptions
from taskq.exceptions import (
    BackendGetMetaError,
    BackendStoreError,
    CeleryCommandException,
    MaxRetriesExceededError,
    NotRegistered,
    Reject,
    Retry,
    reraise,
)


def through_pickle(exc):
    return pickle.loads(pickle.dumps(exc))


@pytest.mark.parametrize("name", exceptions.__all__)
def test_every_public_name_is_there(name):
    assert getattr(exceptions, name) is not None


def test_names_of_other_packages_are_theirs():
    import billiard.exceptions
    import kombu.exceptions

    assert exceptions.OperationalError is kombu.exceptions.OperationalError
    assert exceptions.SoftTimeLimitExceeded is billiard.exceptions.SoftTimeLimitExceeded
    assert exceptions.WorkerLostError is billiard.exceptions.WorkerLostError


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'Nope'"):
        exceptions.Nope


def test_one_class_two_names():
    assert exceptions.TaskQError is exceptions.CeleryError
    assert exceptions.RetryTaskError is Retry
    assert exceptions.SystemTerminate is exceptions.WorkerTerminate


class Test_Retry:
    def test_text(self):
        assert str(Retry("because")) == "because"
        assert str(Retry(exc=KeyError("k"), when=10)) == "Retry in 10s: KeyError('k')"
        assert str(Retry(exc="text", when=1.5)) == "Retry in 1.5s: text"
        assert Retry(when=datetime(2030, 1, 1)).humanize() == "at 2030-01-01 00:00:00"

    def test_attributes(self):
        exc = KeyError("k")
        retry = Retry("m", exc, 3, is_eager=True, sig="s")
        assert (retry.message, retry.exc, retry.when) == ("m", exc, 3)
        assert (retry.is_eager, retry.sig, retry.excs) == (True, "s", "KeyError('k')")

    def test_pickle(self):
        retry = through_pickle(Retry("m", KeyError("k"), 3, is_eager=True))
        assert (retry.message, repr(retry.exc), retry.when) == ("m", "KeyError('k')", 3)
        assert retry.is_eager

    def test_exception_that_cannot_be_pickled(self):
        class Local(Exception):
            pass

        retry = through_pickle(Retry("m", Local("x")))
        assert retry.exc.restore().args == ("x",)


def test_reject():
    reject = through_pickle(Reject("broken", requeue=True))
    assert (reject.reason, reject.requeue) == ("broken", True)
    assert repr(reject) == "reject requeue=True: broken"


def test_max_retries_exceeded():
    exc = through_pickle(MaxRetriesExceededError("m", task_args=(1,), task_kwargs={"a": 2}))
    assert (exc.args, exc.task_args, exc.task_kwargs) == (("m",), (1,), {"a": 2})


def test_backend_errors():
    assert BackendGetMetaError("x", task_id="i").task_id == "i"
    exc = through_pickle(BackendStoreError("x", state="SUCCESS", task_id="i"))
    assert (exc.state, exc.task_id) == ("SUCCESS", "i")
    assert "task_id:i" in repr(exc)


def test_not_registered():
    exc = NotRegistered("proj.add")
    assert isinstance(exc, KeyError)
    assert "'proj.add'" in repr(exc)


def test_command_exception():
    exc = CeleryCommandException("wrong", exit_code=3)
    assert (exc.message, exc.exit_code) == ("wrong", 3)
    assert type(exc).__module__ == "taskq.exceptions"


def test_worker_shutdown_carries_a_code():
    assert exceptions.WorkerShutdown(3).code == 3


def test_reraise():
    exc = ValueError("x")
    with pytest.raises(ValueError) as caught:
        reraise(ValueError, exc, None)
    assert caught.value is exc
