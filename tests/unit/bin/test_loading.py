"""``-A`` names something that is no app."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("5", "builtins.int"),
        ("print", "builtins.builtin_function_or_method"),
        ("int", "builtins.type"),
    ],
)
def test_what_is_no_app_is_refused_with_its_type(taskq, module, value, kind):
    module("noapp", f"app = {value}\n")
    result = taskq("-A", "noapp:app", "report")
    assert result.exit_code == 2
    assert "Unable to load the app 'noapp:app'" in result.output
    assert kind in result.output


def test_an_app_of_celery_is_refused_with_what_to_change(taskq, module):
    module("theirs", "from celery import Celery\nmine = Celery('theirs', set_as_current=False)\n")
    result = taskq("-A", "theirs:mine", "report")
    assert result.exit_code == 2
    assert "from taskq import Celery" in result.output
    assert "python -m taskq.compat celery" in result.output


def test_a_proxy_of_an_app_is_an_app(taskq, module):
    module(
        "proxied",
        """
        from taskq import TaskQ
        from taskq.local import Proxy
        made = TaskQ("made", broker="memory://", set_as_current=False)
        app = Proxy(lambda: made)
        """,
    )
    assert taskq("-A", "proxied:app", "report").exit_code == 0
