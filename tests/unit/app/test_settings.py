"""``app.conf``: layers, names in either style, namespaces, what follows from other settings."""

from __future__ import annotations

import copy
import pickle
import threading
import types

import pytest

from taskq.app.utils import Settings, detect_settings
from taskq.exceptions import CDeprecationWarning
from taskq.utils.collections import DictAttribute

ENVIRONMENT = ("BROKER_URL", "BROKER_READ_URL", "BROKER_WRITE_URL", "RESULT_BACKEND")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in ENVIRONMENT:
        monkeypatch.delenv(f"TASKQ_{name}", raising=False)
        monkeypatch.delenv(f"CELERY_{name}", raising=False)


def settings(conf=None, preconf=None, **kwargs) -> Settings:
    return detect_settings({} if conf is None else conf, preconf, **kwargs)


# -- layers


def test_defaults():
    conf = settings()
    assert conf.worker_prefetch_multiplier == 4
    assert conf["task_serializer"] == "json"
    assert conf.get("task_acks_late") is False


def test_configuration_goes_before_defaults():
    assert settings({"task_acks_late": True}).task_acks_late is True


def test_what_was_set_first_goes_before_configuration():
    assert settings({"task_acks_late": 1}, {"task_acks_late": 2}).task_acks_late == 2


def test_run_time_change_goes_before_all():
    conf = settings({"task_time_limit": 1})
    assert conf.task_time_limit == 1
    conf.task_time_limit = 2
    assert (conf.task_time_limit, conf["task_time_limit"]) == (2, 2)
    conf["task_time_limit"] = 3
    assert conf.task_time_limit == 3
    conf.update({"task_time_limit": 4}, task_soft_time_limit=5)
    assert (conf.task_time_limit, conf.task_soft_time_limit) == (4, 5)


def test_run_time_change_can_be_taken_back():
    conf = settings({"task_time_limit": 1})
    conf.task_time_limit = 2
    del conf.task_time_limit
    assert conf.task_time_limit == 1
    with pytest.raises(AttributeError, match="task_time_limit"):
        del conf.task_time_limit
    with pytest.raises(KeyError, match="task_time_limit"):
        del conf["task_time_limit"]
    conf.task_time_limit = 3
    assert conf.pop("task_time_limit") == 3
    assert conf.pop("task_time_limit", None) is None
    conf.task_time_limit = 4
    conf.clear()
    assert conf.task_time_limit == 1


def test_added_defaults_are_seen_at_once():
    conf = settings()
    assert conf.task_track_started is False
    conf.add_defaults({"task_track_started": True, "project_colour": "red"})
    assert conf.task_track_started is True
    assert conf.project_colour == "red"


def test_defaults_are_not_shared_between_apps():
    settings().beat_schedule["entry"] = {}
    settings().task_publish_retry_policy["max_retries"] = 99
    assert settings().beat_schedule == {}
    assert settings().task_publish_retry_policy["max_retries"] == 3


def test_settings_of_ones_own():
    conf = settings({"project_colour": "red"})
    assert conf.project_colour == "red"
    assert "project_colour" in conf
    assert conf.setdefault("project_size", 3) == 3
    assert conf.setdefault("project_size", 4) == 3


def test_unknown():
    conf = settings()
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = conf.no_such_thing
    with pytest.raises(KeyError, match="no_such_thing"):
        conf["no_such_thing"]
    assert conf.get("no_such_thing", 3) == 3
    assert "no_such_thing" not in conf
    assert not hasattr(conf, "no_such_thing")


def test_first():
    conf = settings({"task_time_limit": 0})
    assert conf.first("no_such_thing", "timezone", "task_time_limit", "task_queues") == 0
    assert conf.first("timezone") is None


def test_object_that_changes_by_itself_is_read_anew():
    source = types.SimpleNamespace(CELERY_TASK_ALWAYS_EAGER=False)
    conf = settings(DictAttribute(source), prefix="CELERY")
    assert conf.task_always_eager is False
    source.CELERY_TASK_ALWAYS_EAGER = True
    assert conf.task_always_eager is True


def test_observers_are_told_of_each_change():
    conf = settings(prefix="CELERY")
    seen = []
    conf.bind_to(seen.append)
    conf.task_acks_late = True
    conf.update(CELERY_TRACK_STARTED=True, x=1)
    conf["CELERY_TASK_TIME_LIMIT"] = 3
    assert seen == [
        {"task_acks_late": True},
        {"task_track_started": True, "x": 1},
        {"task_time_limit": 3},
    ]


def test_value_read_while_it_changes_is_not_kept():
    conf = settings({"task_time_limit": 0})
    stop = threading.Event()

    def read():
        while not stop.is_set():
            _ = conf.task_time_limit, conf["task_time_limit"]

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for value in range(2000):
        conf.task_time_limit = value
        assert conf.task_time_limit == value
    stop.set()
    for reader in readers:
        reader.join()
    assert (conf.task_time_limit, conf["task_time_limit"]) == (1999, 1999)


# -- names


def test_old_names():
    conf = settings({"CELERY_ACKS_LATE": True, "BROKER_URL": "redis://host"})
    assert conf.task_acks_late is True
    assert conf.CELERY_ACKS_LATE is True
    assert conf["CELERY_ACKS_LATE"] is True
    assert conf.broker_url == "redis://host"
    assert conf.worker_pool == conf.CELERYD_POOL == "prefork"


def test_new_configuration_answers_to_old_names():
    assert settings({"task_acks_late": True}).CELERY_ACKS_LATE is True


def test_change_under_one_name_is_seen_under_the_other():
    conf = settings({"CELERY_ACKS_LATE": 1})
    conf.task_acks_late = 2
    assert (conf.CELERY_ACKS_LATE, conf.task_acks_late) == (2, 2)
    conf.CELERY_ACKS_LATE = 3
    assert (conf.CELERY_ACKS_LATE, conf.task_acks_late) == (3, 3)


@pytest.mark.parametrize("prefix", ["PROJ", "PROJ_"])
def test_namespace(prefix):
    conf = settings({"PROJ_TASK_ACKS_LATE": 1, "task_time_limit": 2, "OTHER": 3}, prefix=prefix)
    assert conf.prefix == "PROJ_"
    assert conf.task_acks_late == 1
    assert conf["PROJ_TASK_ACKS_LATE"] == 1
    assert conf.task_time_limit == 2
    assert conf.OTHER == 3
    conf.task_acks_late = 4
    assert conf.PROJ_TASK_ACKS_LATE == 4


def test_namespace_in_lower_case():
    conf = settings({"proj_task_acks_late": 1, "PROJ_TASK_TIME_LIMIT": 2}, prefix="proj")
    assert conf.task_acks_late == conf["proj_task_acks_late"] == 1
    assert conf.task_time_limit is None


def test_namespace_takes_old_names_as_second_choice():
    conf = settings(
        {"CELERY_TASK_ACKS_LATE": 1, "CELERY_ACKS_LATE": 2, "CELERY_TRACK_STARTED": 3},
        prefix="CELERY",
    )
    assert (conf.task_acks_late, conf.task_track_started) == (1, 3)


def test_preconfiguration_is_turned_into_the_style_of_the_configuration():
    assert settings({"CELERY_TRACK_STARTED": 1}, {"task_acks_late": 2}).CELERY_ACKS_LATE == 2
    assert settings({"task_track_started": 1}, {"CELERY_ACKS_LATE": 2}).task_acks_late == 2


def test_old_names_are_warned_of_on_request():
    conf = settings({"CELERY_ACKS_LATE": True})
    with pytest.warns(CDeprecationWarning, match="'CELERY_ACKS_LATE'.*'task_acks_late'"):
        assert conf.maybe_warn_deprecated_settings() is True
    assert settings({"task_acks_late": True}).maybe_warn_deprecated_settings() is False


# -- what follows from other settings, and from the environment


def test_exchange_and_routing_key_follow_the_default_queue():
    conf = settings({"task_default_queue": "tasks"})
    assert conf.task_default_exchange == conf.task_default_routing_key == "tasks"
    conf.task_default_exchange = "other"
    assert conf.task_default_exchange == "other"


def test_time_zone_of_django_counts():
    assert settings({"TIME_ZONE": "Europe/Rome"}).timezone == "Europe/Rome"
    conf = settings({"TIME_ZONE": "Europe/Rome", "timezone": "Europe/Vienna"})
    assert conf.timezone == "Europe/Vienna"


def test_broker_for_reading_and_writing():
    conf = settings({"broker_url": "a://"})
    assert (conf.broker_read_url, conf.broker_write_url) == ("a://", "a://")
    conf.broker_read_url = "r://"
    conf.broker_write_url = "w://"
    assert (conf.broker_url, conf.broker_read_url, conf.broker_write_url) == (
        "a://",
        "r://",
        "w://",
    )


@pytest.mark.parametrize("lead", ["CELERY", "TASKQ"])
def test_environment_goes_before_configuration(monkeypatch, lead):
    conf = settings({name.lower(): "configured://" for name in ENVIRONMENT})
    for name in ENVIRONMENT:
        monkeypatch.setenv(f"{lead}_{name}", f"{name}://")
        assert getattr(conf, name.lower()) == f"{name}://"


def test_environment_taskq_goes_before_celery(monkeypatch):
    monkeypatch.setenv("CELERY_BROKER_URL", "celery://")
    monkeypatch.setenv("TASKQ_BROKER_URL", "taskq://")
    assert settings().broker_url == "taskq://"
    assert settings().broker_write_url == "taskq://"


# -- looking at them


def test_options():
    conf = settings({"task_track_started": 5})
    assert conf.find_option("track_started").namespace == "task"
    assert conf.find_value_for_key("track_started") == 5
    assert conf.find_value_for_key("serializer", "event") == "json"
    assert conf.get_by_parts("task", None, "track_started") == 5
    assert conf.value_set_for("task_track_started")
    assert not conf.value_set_for("task_acks_late")
    assert conf.finalize() is conf


def test_without_defaults():
    conf = settings({"task_track_started": 5})
    conf.task_acks_late = True
    assert dict(conf.without_defaults()) == {"task_track_started": 5, "task_acks_late": True}


def test_table_lists_what_was_set_with_secrets_masked():
    conf = settings({"broker_url": "redis://:secret@host", "redis_password": "secret"})
    conf.CELERY_ACKS_LATE = True
    assert conf.table() == {
        "broker_url": "redis://:********@host",
        "redis_password": "********",
        "task_acks_late": True,
    }
    assert conf.table(censored=False)["redis_password"] == "secret"
    assert conf.table(with_defaults=True)["worker_pool"] == "prefork"


def test_table_of_a_module_leaves_its_code_out():
    module = types.ModuleType("conf")
    module.threading = threading
    module.helper = lambda: None
    module.task_acks_late = True
    module.task_routes = lambda *args: None
    table = settings(DictAttribute(module)).table()
    assert set(table) == {"task_acks_late", "task_routes"}


def test_humanize():
    conf = settings({"task_time_limit": 3, "broker_url": "redis://:secret@host"})
    assert conf.humanize() == "task_time_limit: 3\nbroker_url: 'redis://:********@host'"
    assert "worker_pool: 'prefork'" in conf.humanize(with_defaults=True).splitlines()


def test_copies_are_independent():
    conf = settings({"task_time_limit": 1}, prefix="CELERY")
    conf.task_acks_late = True
    for other in (conf.copy(), copy.copy(conf), copy.deepcopy(conf)):
        assert type(other) is Settings
        assert (other.task_time_limit, other.task_acks_late, other.prefix) == (1, True, "CELERY_")
        other.task_acks_late = False
    assert conf.task_acks_late is True


def test_pickle():
    conf = settings({"task_time_limit": 1})
    conf.task_acks_late = True
    other = pickle.loads(pickle.dumps(conf))
    assert (other.task_time_limit, other.task_acks_late) == (1, True)


def test_swap_with():
    conf = settings({"task_time_limit": 1})
    assert conf.task_time_limit == 1
    conf.swap_with(settings({"task_time_limit": 2}))
    assert conf.task_time_limit == 2
