"""Results as documents in two collections of MongoDB (``mongodb://host/database``).

Database, collections and fields are Celery's, so both can share them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from taskq import states
from taskq.backends.backend import BaseBackend
from taskq.backends.handles import to_stored_tuple
from taskq.backends.waiting import Meta
from taskq.exceptions import ImproperlyConfigured
from taskq.utils.saferepr import saferepr

try:
    import bson
    from bson.errors import BSONError
    from pymongo import MongoClient
    from pymongo.errors import ConfigurationError, ConnectionFailure, DuplicateKeyError
    from pymongo.uri_parser import parse_uri
except ImportError:
    raise ImproperlyConfigured(
        "The MongoDB result backend requires pymongo: pip install taskq[mongodb]"
    ) from None

__all__ = ("MongoBackend",)

#: What starts a URL whose hosts are found through the DNS.
SRV = "mongodb+srv://"


class MongoBackend(BaseBackend):
    """Stores each meta as a document, and removes old ones in `cleanup`.

    The setting `mongodb_backend_settings` is a dict with ``host`` (a name, a URL or a list of
    names), ``port``, ``user``, ``password``, ``database``, ``taskmeta_collection``,
    ``groupmeta_collection``, ``max_pool_size`` and ``options``, a dict of options of the client.
    What else is in it is an option of the client as well. It comes before the URL.

    Parameters:
        url: ``mongodb://user:password@host:port/database?option=value``, with several hosts
            separated by commas, or ``mongodb+srv://host/database``.

    Raises:
        ImproperlyConfigured: the setting is no dict, or the URL makes no sense.
    """

    supports_native_join = True
    supports_result_compression = True
    # A document has at most 100 levels; each parent takes two.
    most_stored_parents = 40

    host: Any = "localhost"
    port: int = 27017
    user: str | None = None
    password: str | None = None
    database_name: str = "celery"
    taskmeta_collection: str = "celery_taskmeta"
    groupmeta_collection: str = "celery_groupmeta"
    #: Connections that a process opens at most.
    max_pool_size: int = 10

    def __init__(self, app: Any = None, url: str | None = None, **kwargs: Any) -> None:
        super().__init__(app, url=url, **kwargs)
        configured = self.app.conf.mongodb_backend_settings
        if configured is not None and not isinstance(configured, Mapping):
            raise ImproperlyConfigured(
                f"mongodb_backend_settings must be a dict, not {type(configured).__name__}"
            )
        #: Hosts as the URL names them; None where a setting names them.
        self.mongo_host: list[str] | None = None
        #: Options of the client, besides those in the URL.
        self.options: dict[str, Any] = {"maxPoolSize": self.max_pool_size}
        self.url = None
        if url and "://" in url:
            self._take_url("mongodb://localhost" if url == "mongodb://" else url)
        self._take_settings(dict(configured or {}))

    def _take_url(self, url: str) -> None:
        if not url.startswith(SRV):  # such a one would be looked up
            try:
                parse_uri(url)
            except (ConfigurationError, ValueError) as exc:
                raise ImproperlyConfigured(f"Not a URL of MongoDB: {_masked(url)}: {exc}") from exc
        parts = urlsplit(url)
        self.host = self.url = url
        self.mongo_host = parts.netloc.rpartition("@")[2].split(",")
        self.user = unquote(parts.username) if parts.username else None
        self.password = unquote(parts.password) if parts.password else None
        self.database_name = unquote(parts.path).strip("/") or self.database_name
        if "maxpoolsize" in {name.lower() for name, _ in parse_qsl(parts.query)}:
            self.options.pop("maxPoolSize", None)

    def _take_settings(self, left: dict[str, Any]) -> None:
        if "host" in left:
            host = left.pop("host")
            if isinstance(host, str) and "://" in host:
                self._take_url(host)
            else:
                self.host, self.mongo_host = host, None
        self.port = int(left.pop("port", self.port))
        self.user = left.pop("user", self.user)
        self.password = left.pop("password", self.password)
        self.database_name = left.pop("database", self.database_name)
        self.taskmeta_collection = left.pop("taskmeta_collection", self.taskmeta_collection)
        self.groupmeta_collection = left.pop("groupmeta_collection", self.groupmeta_collection)
        if "max_pool_size" in left:
            self.max_pool_size = self.options["maxPoolSize"] = left.pop("max_pool_size")
        self.options.update(left.pop("options", None) or {})
        self.options.update(left)

    def __reduce__(self, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        own = {"expires": self.expires, "url": self.url}
        return super().__reduce__(args, {**(kwargs or {}), **own})

    # -- the collections --------------------------------------------------------------

    @cached_property
    def _client(self) -> Any:
        account: dict[str, Any] = {}
        if self.user:
            account = {"username": self.user, "password": self.password}
        return MongoClient(host=self.host, port=self.port, **account, **self.options)

    @property
    def database(self) -> Any:
        """The database, of a client that connects when it is used."""
        return self._client[self.database_name]

    @cached_property
    def collection(self) -> Any:
        """The collection of tasks."""
        return self._collection(self.taskmeta_collection)

    @cached_property
    def group_collection(self) -> Any:
        """The collection of groups."""
        return self._collection(self.groupmeta_collection)

    def _collection(self, name: str) -> Any:
        collection = self.database[name]
        collection.create_index("date_done", background=True)  # for `cleanup`
        return collection

    def _after_fork(self) -> None:
        super()._after_fork()
        for name in ("_client", "collection", "group_collection"):
            self.__dict__.pop(name, None)

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        """Return True for errors that pass: the server was away or could not be reached."""
        return isinstance(exc, ConnectionFailure)

    # -- tasks ------------------------------------------------------------------------

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        meta = self._get_result_meta(
            self.encode(result), state, traceback, request, format_date=False
        )
        for name in ("args", "kwargs"):
            if name in meta:
                meta[name] = _storable(meta[name])
        # A success stays: a task delivered again after it may say something else.
        other = {"_id": task_id, "status": {"$ne": states.SUCCESS}}
        with suppress(DuplicateKeyError):
            self.collection.replace_one(other, meta, upsert=True)
        return result

    def _get_task_meta_for(self, task_id: str) -> Meta:
        for meta in self._find([task_id]):
            return meta
        return {"status": states.PENDING, "result": None}

    def read_metas(self, task_ids: Sequence[str]) -> Iterator[Meta]:
        """Yield the metas of those of the tasks that are stored, read in one query."""
        yield from self._ensure_retryable(lambda: list(self._find(list(task_ids))))

    def _find(self, task_ids: list[str]) -> Iterator[Meta]:
        for document in self.collection.find({"_id": {"$in": task_ids}}):
            meta = {"task_id": document.pop("_id"), **document}
            meta["result"] = self.decode(meta["result"])
            yield self.meta_from_decoded(meta)

    def _forget(self, task_id: str) -> None:
        self.collection.delete_one({"_id": task_id})

    # -- groups -----------------------------------------------------------------------

    def _save_group(self, group_id: str, result: Any) -> Any:
        document = {
            "_id": group_id,
            # All that Celery reads; of groups in groups and of parents it knows nothing.
            "result": self.encode([each.id for each in result]),
            "handle": self.encode(to_stored_tuple(result)),
            "date_done": self.app.now(),
        }
        self.group_collection.replace_one({"_id": group_id}, document, upsert=True)
        return result

    def _restore_group(self, group_id: str) -> Meta | None:
        document = self.group_collection.find_one({"_id": group_id})
        if document is None:
            return None
        if "handle" in document:
            result = self._group_from_tuple(self.decode(document["handle"]))
        else:
            app = self.app
            members = [app.AsyncResult(task_id) for task_id in self.decode(document["result"])]
            result = app.GroupResult(group_id, members)
        return {"task_id": group_id, "result": result, "date_done": document["date_done"]}

    def _delete_group(self, group_id: str) -> None:
        self.group_collection.delete_one({"_id": group_id})

    # -- life -------------------------------------------------------------------------

    @property
    def expires_delta(self) -> timedelta:
        """`result_expires` as a timedelta."""
        return timedelta(seconds=self.expires or 0)

    def cleanup(self) -> None:
        """Remove tasks and groups that are older than `result_expires`."""
        if not self.expires:
            return
        oldest = self.app.now() - self.expires_delta
        for collection in (self.collection, self.group_collection):
            collection.delete_many({"date_done": {"$lt": oldest}})

    def as_uri(self, include_password: bool = False) -> str:
        """Return the URL, without password and options unless asked for."""
        url = self.url or "mongodb://"
        return url if include_password else _masked(url)


def _masked(url: str) -> str:
    """Return the URL with a masked password, without options, which may hold secrets too."""
    return re.sub(r"(://[^:@/]*:)[^@]*@", r"\1**@", url.partition("?")[0])


def _storable(value: Any) -> Any:
    """Return the value if a document can hold it, else a text that describes it."""
    try:
        bson.encode({"value": value})
    except (BSONError, OverflowError, RecursionError):
        return saferepr(value)
    return value
