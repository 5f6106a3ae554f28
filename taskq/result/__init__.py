"""Handles on results: of a task (`AsyncResult`), of many (`ResultSet`), of a group (`GroupResult`)."""

from __future__ import annotations

from taskq.backends.handles import ResultBase
from taskq.result.asyncresult import AsyncResult
from taskq.result.eager import EagerResult
from taskq.result.groupresult import GroupResult
from taskq.result.guards import (
    E_WOULDBLOCK,
    allow_join_result,
    assert_will_not_block,
    denied_join_result,
)
from taskq.result.resultset import ResultSet
from taskq.result.tuples import result_from_tuple

__all__ = (
    "E_WOULDBLOCK",
    "AsyncResult",
    "EagerResult",
    "GroupResult",
    "ResultBase",
    "ResultSet",
    "allow_join_result",
    "assert_will_not_block",
    "denied_join_result",
    "result_from_tuple",
)
