"""The table of settings: names, defaults, older names, and that each is documented."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from taskq.app import defaults
from taskq.app.defaults import (
    DEFAULTS,
    NAMESPACES,
    SETTING_KEYS,
    TASKQ_SETTINGS,
    Option,
    find,
    find_deprecated_settings,
    flatten,
)
from taskq.exceptions import CPendingDeprecationWarning

REFERENCE = tomllib.loads((Path(defaults.__file__).parent / "reference.toml").read_text())
OWN = {f"{group}_{key}" for group, options in TASKQ_SETTINGS.items() for key in options}


def test_every_setting_is_documented_and_nothing_else_is():
    assert set(REFERENCE["settings"]) == SETTING_KEYS


def test_every_group_is_introduced():
    groups = {name for name, member in NAMESPACES.items() if isinstance(member, dict)}
    assert set(REFERENCE["groups"]) == groups | {"", "taskq"}


@pytest.mark.parametrize("name", sorted(SETTING_KEYS))
def test_documentation_is_a_sentence(name):
    text = REFERENCE["settings"][name].strip()
    assert text.endswith(".")
    assert "\n" not in text, "line breaks in the text are escaped"


def test_celerys_settings_have_its_defaults():
    celery = pytest.importorskip("celery.app.defaults")
    theirs = {name: repr(default) for name, default in celery.DEFAULTS.items()}
    ours = {name: repr(DEFAULTS[name]).replace("taskq", "celery") for name in theirs}
    assert ours == theirs
    assert SETTING_KEYS - set(theirs) == OWN


def test_celerys_settings_have_its_older_names():
    celery = pytest.importorskip("celery.app.defaults")
    assert {n: defaults._TO_OLD_KEY[n] for n in celery.DEFAULTS} == celery._TO_OLD_KEY


def test_own_defaults_are_in_seconds():
    assert DEFAULTS["worker_lease"] == 15.0
    assert DEFAULTS["worker_defer_eta"] == 10.0


@pytest.mark.parametrize(
    ("name", "namespace", "expected"),
    [
        ("task_acks_late", "celery", (None, "task_acks_late")),
        ("acks_late", "celery", ("task", "acks_late")),
        ("ACKS_LATE", "worker", ("task", "acks_late")),
        ("pool", "worker", ("worker", "pool")),
        ("accept_content", "celery", (None, "accept_content")),
        ("redis", "celery", (None, "redis")),
    ],
)
def test_find(name, namespace, expected):
    assert find(name, namespace)[:2] == expected


def test_find_prefers_the_namespace():
    assert find("serializer", "result").namespace == "result"
    assert find("serializer", "event").namespace == "event"


def test_find_unknown():
    with pytest.raises(KeyError, match="no_such_setting"):
        find("no_such_setting")


def test_flatten():
    settings = {"b": {"c": Option(1)}, "a": Option(2)}
    assert [name for name, _ in flatten(settings)] == ["a", "b_c"]
    assert [option.default for _, option in flatten(settings)] == [2, 1]
    assert list(flatten(settings, keyfilter=lambda ns, key, option: (ns, key))) == [
        ("", "a"),
        ("b_", "c"),
    ]


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        ("int", "5", 5),
        ("float", "0.5", 0.5),
        ("bool", "yes", True),
        ("bool", "Off", False),
        ("bool", 0, False),
        ("string", 5, "5"),
        ("list", "json,pickle", ["json", "pickle"]),
        ("tuple", "a,b", ("a", "b")),
        ("bytes", "pw", b"pw"),
        ("any", "x", "x"),
    ],
)
def test_option_reads_text(type_, text, value):
    assert Option(type=type_).to_python(text) == value


def test_option_refuses_what_is_no_boolean():
    with pytest.raises(TypeError, match="'maybe'"):
        Option(type="bool").to_python("maybe")


def test_every_type_can_be_read():
    assert {option.type for _, option in flatten(NAMESPACES)} <= set(Option.typemap)


def test_deprecated_settings_are_warned_of():
    class Source:
        task_acks_on_failure_or_timeout = True

    with pytest.warns(CPendingDeprecationWarning, match="task_acks_on_failure "):
        assert find_deprecated_settings(Source) is Source
