"""Names of settings: mixed styles are refused, misspellings are warned of."""

from __future__ import annotations

import types
import warnings

import pytest

from taskq.app import naming
from taskq.app.utils import detect_settings
from taskq.exceptions import CeleryWarning, ImproperlyConfigured
from taskq.utils.collections import DictAttribute


@pytest.fixture(autouse=True)
def _forget_warnings(monkeypatch):
    monkeypatch.setattr(naming, "_warned", set())


# -- styles


@pytest.mark.parametrize(
    ("conf", "rename"),
    [
        (
            {"CELERY_ACKS_LATE": 1, "task_track_started": 1},
            {"CELERY_ACKS_LATE": "task_acks_late"},
        ),
        (
            {"CELERY_ACKS_LATE": 1, "BROKER_URL": 1, "task_track_started": 1, "task_routes": 1},
            {"CELERY_ACKS_LATE": "task_acks_late", "BROKER_URL": "broker_url"},
        ),
        (
            {"CELERY_ACKS_LATE": 1, "CELERYD_POOL": 1, "task_track_started": 1},
            {"task_track_started": "CELERY_TRACK_STARTED"},
        ),
    ],
)
def test_mixed_styles_are_refused(conf, rename):
    with pytest.raises(ImproperlyConfigured) as caught:
        detect_settings(conf)
    lines = [line.split() for line in str(caught.value).splitlines() if "->" in line]
    assert {wrong: right for wrong, _, right in lines} == rename


def test_mixed_styles_before_any_configuration_are_refused():
    with pytest.raises(ImproperlyConfigured, match=r"CELERY_ACKS_LATE +-> task_acks_late"):
        detect_settings({}, {"CELERY_ACKS_LATE": 1, "task_routes": 1})


def test_names_that_nobody_chose_do_not_count():
    conf = detect_settings(
        {}, {"CELERY_ACKS_LATE": 1, "broker_url": "x://"}, ignore_keys={"broker_url"}
    )
    assert (conf.task_acks_late, conf.BROKER_URL) == (1, "x://")


@pytest.mark.parametrize(
    "conf",
    [
        {"BROKER_URL": 1, "broker_url": 2},
        {"accept_content": 1, "CELERY_ACCEPT_CONTENT": 2, "CELERY_IMPORTS": ["x"]},
    ],
)
def test_setting_under_both_names_is_no_mixture(conf):
    detect_settings(conf)


def test_namespace_may_hold_both():
    detect_settings({"CELERY_TASK_ACKS_LATE": 1, "CELERY_TRACK_STARTED": 2}, prefix="CELERY")


# -- misspellings


@pytest.mark.parametrize(
    ("name", "prefix", "meant"),
    [
        ("task_ack_late", None, "task_acks_late"),
        ("worker_prefetch_multiplyer", None, "worker_prefetch_multiplier"),
        ("CELERYD_PREFETCH_MULTIPLER", None, "worker_prefetch_multiplier"),
        ("TASK_ACKS_LATE_", "", None),
        ("CELERY_BROKER_ULR", "CELERY", "CELERY_BROKER_URL"),
        ("CELERY_BROKER_URL", None, "broker_url"),
        ("CELERY_TASK_ACKS_LATE", None, "task_acks_late"),
    ],
)
def test_misspelling_brings_a_suggestion(name, prefix, meant):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        detect_settings({name: 1}, prefix=prefix)
    if meant is None:
        assert not caught
        return
    (warning,) = caught
    assert warning.category is CeleryWarning
    assert f"{name!r}: did you mean {meant!r}" in str(warning.message)


def test_suggestion_has_the_style_of_the_configuration():
    with pytest.warns(CeleryWarning, match=r"did you mean 'CELERY_TRACK_STARTED'"):
        detect_settings({"CELERY_ACKS_LATE": 1, "CELERY_TRACK_STARTD": 1})


def test_forgotten_namespace_is_suggested():
    with pytest.warns(CeleryWarning, match="namespace='CELERY'"):
        detect_settings({"CELERY_BROKER_URL": "x"})


@pytest.mark.parametrize(
    "name",
    ["project_colour", "tasks", "EMAIL_HOST", "INSTALLED_APPS", "_task_ack_late", "redis", "os"],
)
@pytest.mark.filterwarnings("error")
def test_names_of_others_are_left_alone(name):
    detect_settings({name: 1})


@pytest.mark.filterwarnings("error")
def test_code_in_a_configuration_module_is_left_alone():
    module = types.ModuleType("conf")
    module.task_route = lambda name: {"queue": name}
    module.worker_pools = warnings
    detect_settings(DictAttribute(module))


def test_misspelling_is_warned_of_once():
    with pytest.warns(CeleryWarning):
        detect_settings({"task_ack_late": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detect_settings({"task_ack_late": 1})
