"""Arguments of remote commands, read from words."""

from __future__ import annotations

from types import SimpleNamespace

import click
import pytest

from taskq.bin.remote import arguments_for


def info(args=None, variadic=None, signature=None):
    return SimpleNamespace(args=args, variadic=variadic, signature=signature)


RATE = info([("task_name", str), ("rate_limit", str)], signature="<task_name> <rate_limit>")
LIMIT = info([("task_name", str), ("soft", float), ("hard", float)], signature="<task> <s> [h]")
TERMINATE = info([("signal", str)], variadic="task_id", signature="<signal> [id1 [id2]]")
CONF = info([("with_defaults", bool)], signature="[include_defaults=False]")


@pytest.mark.parametrize(
    ("what", "words", "arguments"),
    [
        (RATE, ["t", "1/s"], {"task_name": "t", "rate_limit": "1/s"}),
        (RATE, ["t"], {"task_name": "t"}),
        (LIMIT, ["t", "1", "2"], {"task_name": "t", "soft": 1.0, "hard": 2.0}),
        (LIMIT, ["t", "soft=1"], {"task_name": "t", "soft": 1.0}),
        (TERMINATE, ["KILL", "a", "b"], {"signal": "KILL", "task_id": ["a", "b"]}),
        (info(variadic="ids"), ["a"], {"ids": ["a"]}),
        (info(variadic="headers"), ["k=v"], {"headers": ["k=v"]}),
        (CONF, ["include_defaults=1"], {"with_defaults": True}),
        (CONF, [], {}),
        (info(), [], {}),
    ],
)
def test_words_become_arguments(what, words, arguments):
    assert arguments_for("command", what, words) == arguments


@pytest.mark.parametrize(
    ("what", "words", "says"),
    [
        (RATE, ["t", "1/s", "more"], "takes arguments: <task_name> <rate_limit>"),
        (LIMIT, ["t", "soon"], "'soon' is no value for soft"),
        (info(), ["x"], "takes no arguments"),
    ],
)
def test_words_that_do_not_fit_are_refused(what, words, says):
    with pytest.raises(click.UsageError) as caught:
        arguments_for("command", what, words)
    assert says in caught.value.message
