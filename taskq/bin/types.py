"""Parameter types of the command line beyond click's own.

Used by the option declarations of the subcommands; re-exported by ``taskq.bin.base``.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from click.types import ParamType

if TYPE_CHECKING:
    AnyParamType = ParamType[Any]
else:  # older versions of click know no type argument
    AnyParamType = ParamType


class CommaSeparatedList(AnyParamType):
    """``a,b,c`` as a list of strings; blanks around the items are dropped."""

    name = "comma separated list"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        if isinstance(value, (list, tuple, set, frozenset)):
            return list(value)
        return [item.strip() for item in str(value).split(",") if item.strip()]


class JsonArray(AnyParamType):
    """A JSON array, such as ``[1, "two"]``."""

    name = "json array"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[Any]:
        parsed = value if isinstance(value, (list, tuple)) else self._parse(value, param, ctx)
        if not isinstance(parsed, (list, tuple)):
            self.fail(f"{value} was not an array; write it as '[1, 2]'", param, ctx)
        return list(parsed)

    def _parse(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return json.loads(value)
        except ValueError as exc:
            self.fail(f"{value!r} is not JSON: {exc}", param, ctx)


class JsonObject(AnyParamType):
    """A JSON object, such as ``{"x": 1}``."""

    name = "json object"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        try:
            parsed = json.loads(value)
        except ValueError as exc:
            self.fail(f"{value!r} is not JSON: {exc}", param, ctx)
        if not isinstance(parsed, dict):
            self.fail(f"{value} was not an object; write it as '{{\"x\": 1}}'", param, ctx)
        return parsed


class ISO8601DateTime(AnyParamType):
    """A date and time, such as ``2030-01-31T12:00:00+01:00``."""

    name = "iso-8601"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        return _date(self, value, param, ctx)


class ISO8601DateTimeOrFloat(AnyParamType):
    """A date and time, or a number of seconds from now."""

    name = "iso-8601 or float"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime | float:
        if isinstance(value, (datetime, float, int)):
            return value
        try:
            return float(value)
        except ValueError:
            return _date(self, value, param, ctx)


def _date(
    kind: AnyParamType, value: Any, param: click.Parameter | None, ctx: click.Context | None
) -> datetime:
    from dateutil.parser import isoparse  # start-up: only commands that take a date need it

    try:
        return isoparse(value)
    except (ValueError, TypeError) as exc:
        kind.fail(f"{value!r} is not an ISO 8601 date and time: {exc}", param, ctx)


#: Level names in the order they are shown, and their numbers.
_LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50, "FATAL": 50}


class LogLevel(click.Choice[str]):
    """A logging level by name in any case, or by number; its number."""

    def __init__(self) -> None:
        super().__init__(tuple(_LEVELS))

    def convert(  # type: ignore[override]  # a level's number stands for its name from here on
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int) or (isinstance(value, str) and value.isdigit()):
            return int(value)
        return _LEVELS[super().convert(str(value).upper(), param, ctx)]


COMMA_SEPARATED_LIST = CommaSeparatedList()
JSON_ARRAY = JsonArray()
JSON_OBJECT = JsonObject()
ISO8601 = ISO8601DateTime()
ISO8601_OR_FLOAT = ISO8601DateTimeOrFloat()
LOG_LEVEL = LogLevel()
