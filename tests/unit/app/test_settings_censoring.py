"""Secrets do not get out: not by name, not inside URLs, not at any depth."""

from __future__ import annotations

import pytest

from taskq.app.utils import filter_hidden_settings, sanitize_url

MASK = "********"


@pytest.mark.parametrize(
    "name",
    [
        "redis_password",
        "BROKER_PASSWORD",
        "security_key",
        "s3_secret_access_key",
        "api_key",
        "X_TOKEN",
        "database_url",
        "signature",
    ],
)
def test_setting_with_the_name_of_a_secret(name):
    assert filter_hidden_settings({name: "hush"}) == {name: MASK}


@pytest.mark.parametrize(
    "name", ["task_default_routing_key", "database_table_names", "broker_use_ssl"]
)
def test_setting_whose_name_only_looks_like_it(name):
    assert filter_hidden_settings({name: "shown"}) == {name: "shown"}


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://:hush@host/0", "redis://:********@host/0"),
        ("amqp://user:hush@host:5672//", "amqp://user:********@host:5672//"),
        ("db+mysql://u:hu@sh/x@host/db", "db+mysql://u:********@host/db"),
        ("redis://:hush@a;redis://:hush@b", "redis://:********@a;redis://:********@b"),
        ("redis://host?password=hush&db=1", "redis://host?password=********&db=1"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("sqlite:////var/lib/taskq.db", "sqlite:////var/lib/taskq.db"),
        ("rpc://", "rpc://"),
        ("disabled", "disabled"),
        ("", ""),
        (
            "azureblockblob://AccountName=n;AccountKey=hush==;EndpointSuffix=x",
            "azureblockblob://AccountName=n;AccountKey=********;EndpointSuffix=x",
        ),
    ],
)
def test_password_in_url(url, masked):
    assert sanitize_url(url) == masked
    assert filter_hidden_settings({"result_backend": url}) == {"result_backend": masked}


def test_mask_can_be_chosen():
    assert sanitize_url("redis://:hush@host", mask="**") == "redis://:**@host"


def test_what_is_no_url_is_unchanged():
    assert sanitize_url(None) is None
    assert sanitize_url(["redis://:hush@a", None]) == ["redis://:********@a", None]


def test_secrets_at_any_depth():
    conf = {
        "broker_url": ["redis://:hush@a", "redis://:hush@b"],
        "broker_transport_options": {
            "sentinel_kwargs": {"password": "hush"},
            "nodes": [{"password": "hush", "host": "h"}, ("redis://:hush@c", 1)],
        },
        "beat_schedule": {"entry": {"kwargs": {"url": "http://u:hush@h/"}, "token": 1}},
        "worker_concurrency": 4,
        5: None,
    }
    censored = filter_hidden_settings(conf)
    assert "hush" not in repr(censored)
    assert censored["broker_transport_options"]["nodes"][0] == {"password": MASK, "host": "h"}
    assert censored["worker_concurrency"] == 4
    assert conf["broker_url"][0] == "redis://:hush@a", "the original is untouched"
