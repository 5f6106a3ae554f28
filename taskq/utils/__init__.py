"""Utilities known to user code under short names; each lives in a module of its own.

Nothing is imported before it is used, so ``import taskq.utils`` costs next to nothing.
"""

# No `from __future__ import annotations`: the name would hide the module taskq.utils.annotations.
from typing import TYPE_CHECKING

from taskq.utils.lazymodule import lazy_attributes

if TYPE_CHECKING:
    from taskq.utils.functional import chunks as chunks
    from taskq.utils.functional import memoize as memoize
    from taskq.utils.functional import noop as noop
    from taskq.utils.imports import gen_task_name as gen_task_name
    from taskq.utils.imports import get_cls_by_name as get_cls_by_name
    from taskq.utils.imports import get_full_cls_name as get_full_cls_name
    from taskq.utils.imports import import_from_cwd as import_from_cwd
    from taskq.utils.imports import instantiate as instantiate
    from taskq.utils.log import LOG_LEVELS as LOG_LEVELS
    from taskq.utils.nodenames import nodename as nodename
    from taskq.utils.nodenames import nodesplit as nodesplit
    from taskq.utils.nodenames import worker_direct as worker_direct
    from taskq.utils.objects import cached_property as cached_property
    from taskq.utils.uuids import gen_unique_id as gen_unique_id
    from taskq.utils.uuids import uuid as uuid

__all__ = (
    "LOG_LEVELS",
    "cached_property",
    "chunks",
    "gen_task_name",
    "gen_unique_id",
    "get_cls_by_name",
    "get_full_cls_name",
    "import_from_cwd",
    "instantiate",
    "memoize",
    "nodename",
    "nodesplit",
    "noop",
    "uuid",
    "worker_direct",
)

_HOME = {
    "LOG_LEVELS": "taskq.utils.log:LOG_LEVELS",
    "cached_property": "taskq.utils.objects:cached_property",
    "chunks": "taskq.utils.functional:chunks",
    "gen_task_name": "taskq.utils.imports:gen_task_name",
    "gen_unique_id": "taskq.utils.uuids:gen_unique_id",
    "get_cls_by_name": "taskq.utils.imports:get_cls_by_name",
    "get_full_cls_name": "taskq.utils.imports:get_full_cls_name",
    "import_from_cwd": "taskq.utils.imports:import_from_cwd",
    "instantiate": "taskq.utils.imports:instantiate",
    "memoize": "taskq.utils.functional:memoize",
    "nodename": "taskq.utils.nodenames:nodename",
    "nodesplit": "taskq.utils.nodenames:nodesplit",
    "noop": "taskq.utils.functional:noop",
    "uuid": "taskq.utils.uuids:uuid",
    "worker_direct": "taskq.utils.nodenames:worker_direct",
    "functional": "taskq.utils.functional",
    "imports": "taskq.utils.imports",
    "log": "taskq.utils.log",
    "nodenames": "taskq.utils.nodenames",
    "term": "taskq.utils.term",
    "text": "taskq.utils.text",
}

if not TYPE_CHECKING:
    __getattr__ = lazy_attributes(__name__, _HOME)
