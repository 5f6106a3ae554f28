"""Handles on the results of a task (`AsyncResult`), of many (`ResultSet`), of a group."""

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

# They are pickled under the name that users import them by.
for _cls in (AsyncResult, EagerResult, GroupResult, ResultSet):
    _cls.__module__ = __name__

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
