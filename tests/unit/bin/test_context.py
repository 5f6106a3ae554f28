"""How replies are made readable."""

from __future__ import annotations

import pytest

from taskq.bin.base import CLIContext


@pytest.fixture
def context() -> CLIContext:
    return CLIContext(app=object(), no_color=True, workdir=None)


@pytest.mark.parametrize(
    ("reply", "status", "text"),
    [
        ([], "OK", "- empty -"),
        (["a", "b"], "OK", "* a\n* b"),
        ({"ok": "pong"}, "OK", "    pong"),
        ({"ok": ["a"]}, "OK", "    * a"),
        ({"error": "no"}, "ERROR", "    no"),
        ({"a": 1}, "OK", '{\n    "a": 1\n}'),
        ("text", "OK", "text"),
        (3, "OK", "3"),
        (None, "OK", "None"),
    ],
)
def test_pretty(context, reply, status, text):
    assert context.pretty(reply) == (status, text)


def test_quiet_leaves_out_what_is_sent(capsys):
    quiet = CLIContext(app=object(), no_color=True, workdir=None, quiet=True)
    quiet.say_chat("<-", "asking")
    quiet.say_chat("->", "answering", "body", show_body=True)
    assert capsys.readouterr().out == "-> answering\nbody\n"


def test_errors_go_to_stderr(context, capsys):
    context.error("bad")
    assert capsys.readouterr().err == "bad\n"
