"""Values on the command line."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import pytest

from taskq.bin.base import (
    COMMA_SEPARATED_LIST,
    ISO8601,
    ISO8601_OR_FLOAT,
    JSON_ARRAY,
    JSON_OBJECT,
    LOG_LEVEL,
)
from taskq.bin.worker import AUTOSCALE, HOSTNAME

NOON = datetime(2030, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (COMMA_SEPARATED_LIST, "a, b,,c", ["a", "b", "c"]),
        (JSON_ARRAY, '[1, "two"]', [1, "two"]),
        (JSON_OBJECT, '{"x": 1}', {"x": 1}),
        (ISO8601, "2030-01-31T12:00:00Z", NOON),
        (ISO8601_OR_FLOAT, "2030-01-31T12:00:00Z", NOON),
        (ISO8601_OR_FLOAT, "10", 10.0),
        (LOG_LEVEL, "info", 20),
        (LOG_LEVEL, "FATAL", 50),
        (LOG_LEVEL, "15", 15),
        (AUTOSCALE, "10,3", (10, 3)),
        (AUTOSCALE, "3,10", (10, 3)),
        (AUTOSCALE, "10", (10, 0)),
    ],
)
def test_what_words_mean(kind, text, value):
    assert kind.convert(text, None, None) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (JSON_ARRAY, "{}"),
        (JSON_ARRAY, "[1,"),
        (JSON_OBJECT, "[]"),
        (JSON_OBJECT, "nope"),
        (ISO8601, "yesterday"),
        (ISO8601_OR_FLOAT, "soon"),
        (LOG_LEVEL, "LOUD"),
        (AUTOSCALE, "many"),
        (AUTOSCALE, "1,2,3"),
    ],
)
def test_what_is_refused_names_the_value(kind, text):
    with pytest.raises(click.BadParameter) as caught:
        kind.convert(text, None, None)
    assert text in caught.value.format_message()


def test_node_names():
    assert HOSTNAME.convert("w1@box", None, None) == "w1@box"
    assert HOSTNAME.convert("box", None, None) == "celery@box"
    assert HOSTNAME.convert(None, None, None).startswith("celery@")
    assert "%" not in HOSTNAME.convert("w1@%h", None, None)
