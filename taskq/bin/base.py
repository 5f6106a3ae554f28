"""What a command is built from, under the path Celery users import it from.

For commands of ours and of plugins: ``from taskq.bin.base import CeleryCommand, CeleryOption``.
"""

from __future__ import annotations

from taskq.bin.context import CLIContext
from taskq.bin.errors import EX_UNAVAILABLE, handle_remote_command_error
from taskq.bin.options import CeleryCommand, CeleryDaemonCommand, CeleryOption, DaemonOption
from taskq.bin.preload import consume_preload_options, handle_preload_options
from taskq.bin.types import (
    COMMA_SEPARATED_LIST,
    ISO8601,
    ISO8601_OR_FLOAT,
    JSON_ARRAY,
    JSON_OBJECT,
    LOG_LEVEL,
    CommaSeparatedList,
    ISO8601DateTime,
    ISO8601DateTimeOrFloat,
    JsonArray,
    JsonObject,
    LogLevel,
)

__all__ = [
    "COMMA_SEPARATED_LIST",
    "EX_UNAVAILABLE",
    "ISO8601",
    "ISO8601_OR_FLOAT",
    "JSON_ARRAY",
    "JSON_OBJECT",
    "LOG_LEVEL",
    "CLIContext",
    "CeleryCommand",
    "CeleryDaemonCommand",
    "CeleryOption",
    "CommaSeparatedList",
    "DaemonOption",
    "ISO8601DateTime",
    "ISO8601DateTimeOrFloat",
    "JsonArray",
    "JsonObject",
    "LogLevel",
    "consume_preload_options",
    "handle_preload_options",
    "handle_remote_command_error",
]
