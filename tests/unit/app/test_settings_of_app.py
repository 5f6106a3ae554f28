"""Settings as an app has them: given to it, read from objects and names, reported, pickled."""

from __future__ import annotations

import pickle
import sys
import types

import pytest

from taskq import TaskQ
from taskq.app.utils import AppPickler, Settings, appstr, bugreport
from taskq.exceptions import ImproperlyConfigured


@pytest.fixture
def app():
    return TaskQ("proj", set_as_current=False)


@pytest.fixture
def module(monkeypatch):
    """A configuration module that can be imported as ``proj_settings``."""
    module = types.ModuleType("proj_settings")
    monkeypatch.setitem(sys.modules, "proj_settings", module)
    return module


def test_arguments_of_the_app():
    app = TaskQ("x", set_as_current=False, broker="memory://", task_time_limit=3)
    assert (app.conf.broker_url, app.conf.task_time_limit) == ("memory://", 3)


def test_module_by_name(app, module):
    module.task_time_limit = 3
    app.config_from_object("proj_settings")
    assert app.conf.task_time_limit == 3
    assert isinstance(app.conf, Settings) or app.conf.task_serializer == "json"


def test_class_by_name(app, module):
    module.Config = type("Config", (), {"task_time_limit": 3})
    app.config_from_object("proj_settings:Config")
    assert app.conf.task_time_limit == 3


def test_new_names_in_a_namespace_are_not_deprecated(app):
    """`CELERY_TASK_SERIALIZER` was also the old name of `task_serializer`."""
    names = {"CELERY_TASK_SERIALIZER": "json", "CELERY_RESULT_BACKEND": "rpc"}
    app.config_from_object(names, namespace="CELERY")
    assert app.conf.task_serializer == "json"
    assert app.conf.maybe_warn_deprecated_settings() is False
    app.config_from_object({**names, "CELERYD_CONCURRENCY": 2}, namespace="CELERY")
    assert app.conf.deprecated_settings == {"CELERYD_CONCURRENCY"}


def test_namespace(app):
    app.config_from_object({"CELERY_TASK_TIME_LIMIT": 3, "DEBUG": True}, namespace="CELERY")
    assert app.conf.task_time_limit == 3


def test_environment_variable_names_the_module(app, module, monkeypatch):
    module.task_time_limit = 3
    monkeypatch.setenv("PROJ_CONFIG", "proj_settings")
    app.config_from_envvar("PROJ_CONFIG")
    assert app.conf.task_time_limit == 3
    monkeypatch.delenv("PROJ_CONFIG")
    with pytest.raises(ImproperlyConfigured, match="PROJ_CONFIG"):
        app.config_from_envvar("PROJ_CONFIG")


def test_mixed_styles_are_refused_when_settings_are_read(app):
    app.config_from_object({"CELERY_ACKS_LATE": 1, "task_time_limit": 1, "task_routes": None})
    with pytest.raises(ImproperlyConfigured, match=r"CELERY_ACKS_LATE +-> task_acks_late"):
        _ = app.conf.task_time_limit


def test_assigned_before_and_after_the_first_read(app):
    app.conf.task_time_limit = 3
    assert app.conf.task_time_limit == 3
    app.conf.task_time_limit = 4
    assert app.conf.task_time_limit == 4


def test_bugreport_masks_secrets(app):
    app.conf.update(broker_url="memory://user:hush@host/", result_backend="rpc://", api_key="hush")
    report = bugreport(app)
    assert "hush" not in report
    for word in ("taskq:", "kombu:", "billiard:", "transport:memory", "results:rpc://"):
        assert word in report


def test_bugreport_without_result_backend(app):
    app.conf.broker_url = "memory://"
    assert "results:disabled" in bugreport(app)


def test_appstr(app):
    assert appstr(app) == f"proj at {id(app):#x}"


def test_app_travels_with_its_settings(app):
    app.conf.task_time_limit = 3
    assert app.conf.task_time_limit == 3
    other = pickle.loads(pickle.dumps(app))
    assert (other.main, other.conf.task_time_limit) == ("proj", 3)


def test_pickle_of_positional_values():
    values = ("proj", {"task_time_limit": 3}, None, None, None, None, None, None, False)
    app = AppPickler()(TaskQ, *values)
    assert (app.main, app.conf.task_time_limit) == ("proj", 3)
