"""The result backend for ``redis:// rediss:// redis+socket:// socket://`` URLs.

Keys, values and messages are Celery's. Storing a state is one script and one round trip; waiting is
by notification.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from kombu.utils.encoding import ensure_bytes
from kombu.utils.functional import retry_over_time
from kombu.utils.objects import cached_property
from kombu.utils.url import maybe_sanitize_url
from redis import ConnectionPool, Redis, exceptions

from taskq import states
from taskq.backends.base import KeyValueStoreBackend
from taskq.backends.core import BackendCore
from taskq.backends.marking import TaskMarking
from taskq.backends.redis.ahead import LARGEST as LARGEST_AHEAD
from taskq.backends.redis.ahead import AheadWriter
from taskq.backends.redis.chords import ChordCounter
from taskq.backends.redis.parameters import default_parameters, parameters_from_url
from taskq.backends.redis.scripts import backend_script
from taskq.backends.redis.source import RedisSource
from taskq.backends.redis.wires import Wires
from taskq.backends.waiting import ResultSource
from taskq.exceptions import BackendStoreError
from taskq.transport.redis.resp import Argument, pack
from taskq.transport.redis.scripts import Script

__all__ = ("RedisBackend",)

logger = logging.getLogger(__name__)

#: Longest value that Redis can store, in bytes.
LARGEST_VALUE = 512 * 1024 * 1024

E_LOST = "Connection to Redis lost: Retry (%s/%s) in %.2f seconds. %s"
E_TOO_LARGE = (
    "The result is {0} bytes long, and Redis stores no more than {1}: store it elsewhere and "
    "return where."
)

#: Errors after which a call may be made again.
CONNECTION_ERRORS = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)
#: What may be over soon.
PASSING_ERRORS = (*CONNECTION_ERRORS, exceptions.OutOfMemoryError)


class RedisBackend(KeyValueStoreBackend):
    """Results in Redis.

    Options (`result_backend_transport_options`): ``global_keyprefix``; ``retry_policy``, how calls
    are repeated while the server is away; ``result_chord_ordered``, False to give chord bodies the
    results in order of completion.
    """

    key_t = ensure_bytes
    supports_autoexpire = True
    supports_native_join = True
    supports_failure_expires = True
    supports_result_compression = True

    #: The connection limit (`redis_max_connections`), None for none.
    max_connections: int | None = None

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        db: int | None = None,
        password: str | None = None,
        max_connections: int | None = None,
        url: str | None = None,
        connection_pool: Any = None,
        **kwargs: Any,
    ) -> None:
        """Set up for the server that `url` or the ``redis_*`` settings name; connects on first use.

        Parameters:
            host, port, db, password: used where the settings say nothing and there is no URL.
            max_connections: most connections to have at a time.
            url: ``redis://[user:password@]host[:port][/db][?option=value]``.
            connection_pool: redis-py pool to make connections with.
            kwargs: as for every backend.

        Raises:
            ImproperlyConfigured: the URL can't be understood.
        """
        super().__init__(expires_type=int, url=url, **kwargs)
        conf = self.app.conf
        self.max_connections = (
            max_connections or conf.get("redis_max_connections") or self.max_connections
        )
        self._ConnectionPool = connection_pool
        given = {"host": host, "port": port, "db": db, "password": password}
        self.connparams = default_parameters(conf, self.max_connections)
        for name, value in given.items():
            if value is not None and conf.get(f"redis_{name}") is None:
                self.connparams[name] = value
        if url:
            self.connparams = self._params_from_url(url, self.connparams)
        self._chords = ChordCounter(
            self, ordered=bool(self._transport_options.get("result_chord_ordered", True))
        )

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        return super().__reduce__(
            args, {"url": self.url, "expires": self.expires, **(kwargs or {})}
        )

    @cached_property
    def _transport_options(self) -> dict[str, Any]:
        return dict(self.app.conf.result_backend_transport_options or {})

    @cached_property
    def retry_policy(self) -> dict[str, Any]:
        """How calls are repeated while the server is away."""
        return {
            **KeyValueStoreBackend.retry_policy,
            **(self._transport_options.get("retry_policy") or {}),
        }

    # -- connections --------------------------------------------------------------

    def _params_from_url(self, url: str, defaults: dict[str, Any]) -> dict[str, Any]:
        return parameters_from_url(url, defaults)

    def _get_pool(self, **params: Any) -> Any:
        return self.ConnectionPool(**params)

    def _create_client(self, **params: Any) -> Any:
        return Redis(connection_pool=self._get_pool(**params))

    @property
    def ConnectionPool(self) -> Any:  # noqa: N802 - Celery's name
        """The class of connection pools."""
        return self._ConnectionPool or ConnectionPool

    @cached_property
    def client(self) -> Any:
        """A redis-py client with connections of its own, for what this class has no method for."""
        return self._create_client(**self.connparams)

    @cached_property
    def _wires(self) -> Wires:
        pool = self.client.connection_pool
        return Wires(
            lambda: pool.connection_class(**pool.connection_kwargs),
            self.as_uri() or "redis://",
            self.max_connections,
        )

    def _after_fork(self) -> None:
        super()._after_fork()
        if "_wires" in self.__dict__:
            self._wires.after_fork()
        if "_ahead" in self.__dict__:
            self._ahead.after_fork()

    def close(self) -> None:
        """Close the connections that are not in use; the next call makes new ones."""
        if "_wires" in self.__dict__:
            self._wires.close()

    def as_uri(self, include_password: bool = False) -> str:
        """Return the URL of the server, without options and password unless asked for them."""
        url = self.url or ""
        return url if include_password else str(maybe_sanitize_url(url))

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        """Tell whether the server may be there again, or have room again, later."""
        return isinstance(exc, PASSING_ERRORS) and not isinstance(
            exc, exceptions.AuthenticationError
        )

    def call(self, command: bytes) -> Any:
        """Send a packed command and return the reply. Raises the server's error."""
        with self._wires.borrow() as wire:
            return wire.call(command)

    def call_many(self, commands: Sequence[bytes]) -> list[Any]:
        """Send packed commands in one round trip and return the replies."""
        with self._wires.borrow() as wire:
            replies: list[Any] = wire.call_many(b"".join(commands), len(commands))
            return replies

    def _again(self, command: bytes) -> Any:
        """Call a command that may be sent twice; a connection may have gone since its last use."""
        try:
            return self.call(command)
        except CONNECTION_ERRORS as exc:
            if not self.exception_safe_to_retry(exc):
                raise
        self._wires.close()
        return self.call(command)

    def run(self, script: Script, keys: Sequence[Argument], arguments: Sequence[Argument]) -> Any:
        """Run a script and return its reply, again while the server is away."""
        return self.ensure(self._run, (script, keys, arguments))

    def _run(self, script: Script, keys: Sequence[Argument], arguments: Sequence[Argument]) -> Any:
        with self._wires.borrow() as wire:
            return script.call(wire, keys, arguments)

    def ensure(self, fun: Callable[..., Any], args: tuple[Any, ...], **policy: Any) -> Any:
        """Call `fun`, again while the server is away, as `retry_policy` and `policy` say."""
        try:
            return fun(*args)
        except PASSING_ERRORS as exc:
            if not self.exception_safe_to_retry(exc):
                raise
        limit = (retry := {**self.retry_policy, **policy}).get("max_retries")
        return retry_over_time(
            fun,
            PASSING_ERRORS,
            args,
            {},
            lambda exc, intervals, retries: self.on_connection_error(
                limit, exc, intervals, retries
            ),
            **retry,
        )

    def on_connection_error(
        self, max_retries: int | None, exc: BaseException, intervals: Any, retries: int
    ) -> float:
        """Log that a call is to be made again, and return the seconds until then."""
        pause = float(next(intervals))
        logger.error(E_LOST, retries, max_retries or "Inf", pause, exc)
        return pause

    # -- keys and values ------------------------------------------------------------

    def get(self, key: Any) -> Any:
        """Return the value under a key, None if there is none."""
        return self._again(pack("GET", key))

    def mget(self, keys: Sequence[Any]) -> Any:
        """Return the values under keys, in their order."""
        return self._again(pack("MGET", *keys)) if keys else []

    def set(self, key: Any, value: Any, expires: Any = None, **retry_policy: Any) -> Any:
        """Store a value, and publish it under its key.

        Parameters:
            key: the key.
            value: bytes or text, at most 512 MB.
            expires: seconds to keep it; `result_expires` when None.
            retry_policy: wins over that of the backend.

        Raises:
            BackendStoreError: the value is too long.
        """
        return self.ensure(self._set, (key, value, expires), **retry_policy)

    def _set(self, key: Any, value: Any, expires: Any = None) -> None:
        value = _checked(value)
        seconds = int((self.expires if expires is None else expires) or 0)
        store = pack("SETEX", key, seconds, value) if seconds else pack("SET", key, value)
        self.call_many([pack("MULTI"), store, pack("PUBLISH", key, value), pack("EXEC")])

    def delete(self, key: Any) -> None:
        """Delete a key."""
        self._again(pack("DEL", key))

    def incr(self, key: Any) -> int:
        """Add one to the number under a key and return it."""
        return int(self.call(pack("INCR", key)))

    def expire(self, key: Any, value: Any) -> Any:
        """Have a key deleted in `value` seconds."""
        return self._again(pack("EXPIRE", key, int(value)))

    # -- states -----------------------------------------------------------------------

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        meta = self._encoded_meta(task_id, result, state, traceback, request)
        self._set_with_state(self.get_key_for_task(task_id), meta, state)
        return result

    def _encoded_meta(
        self, task_id: str, result: Any, state: str, traceback: Any, request: Any
    ) -> bytes:
        return _checked(super()._encoded_meta(task_id, result, state, traceback, request))

    def _set_with_state(self, key: Any, value: Any, state: str) -> Any:
        """Store the meta of a task, unless it has succeeded already."""
        arguments: list[Argument] = [value, self._seconds_to_keep(state)]
        stored = self.run(backend_script("store"), [key], arguments)
        while isinstance(stored, bytes):
            # In a form that the script can't read: compressed, or of another serializer.
            if self.decode(stored)["status"] == states.SUCCESS:
                return
            stored = self.run(backend_script("store"), [key], [*arguments, stored])

    def store_ahead(self, task_id: str, result: Any, request: Any = None) -> bool:
        """Send a SUCCESS without awaiting the answer; False where a subclass stores otherwise."""
        if not self._stores_ahead:
            return False
        state = states.SUCCESS
        encoded = self.encode_result(result, state)
        meta = self._encoded_meta(task_id, encoded, state, None, request)
        key = self.get_key_for_task(task_id)
        if len(meta) > LARGEST_AHEAD:
            self.store_success(key, meta)
        else:
            self._ahead.write(key, meta, int(self.expires or 0))
        return True

    def store_success(self, key: bytes, meta: bytes) -> None:
        """Store the meta of a task that has succeeded. Raises BackendStoreError if that fails."""
        self._ensure_retryable(
            self._set_with_state,
            key,
            meta,
            states.SUCCESS,
            fallback_exc=lambda msg: BackendStoreError(
                msg, task_id=self._strip_prefix(key), state=states.SUCCESS
            ),
            fallback_msg="failed to store result on the backend",
        )

    @cached_property
    def _stores_ahead(self) -> bool:
        """Whether results take the way they take here, and a connection more may be held."""
        ways = {
            "store_result": BackendCore,
            "_store_result": RedisBackend,
            "_set_with_state": RedisBackend,
            "mark_as_done": TaskMarking,
        }
        mine = all(getattr(type(self), name) is getattr(cls, name) for name, cls in ways.items())
        return mine and not self.max_connections

    @cached_property
    def _ahead(self) -> AheadWriter:
        return AheadWriter(self, self._wires.make())

    def _seconds_to_keep(self, state: str) -> int:
        """Return how long a meta in this state is kept; 0 for ever."""
        failure_expires = self.app.conf.result_failure_expires
        if state in states.EXCEPTION_STATES and failure_expires is not None:
            return int(self.prepare_expires(failure_expires) or 0)
        return int(self.expires or 0)

    def create_result_source(self) -> ResultSource:
        """Return what waits for results on this server."""
        return RedisSource(self._wires.make(), self.get_key_for_task, self.decode_result, self.mget)

    def create_follower(self, awaited: Any) -> Any:
        """Return what listens to this server on an event loop."""
        # Imported when the first coroutine waits: it brings asyncio along.
        from taskq.backends.redis.follower import RedisFollower

        return RedisFollower(
            awaited,
            self._wires.make(),
            key_of=self.get_key_for_task,
            decode=self.decode_result,
            policy=self.retry_policy,
            substitute=partial(super().create_follower, awaited),
            reads=self._is_read_on_loops,
        )

    @property
    def _is_read_on_loops(self) -> bool:
        """Whether metas are read as they are read here."""
        ways = {
            "get_task_meta": BackendCore,
            "_get_task_meta_for": KeyValueStoreBackend,
            "get": RedisBackend,
        }
        return all(getattr(type(self), name) is getattr(cls, name) for name, cls in ways.items())

    # -- chords -------------------------------------------------------------------------

    def apply_chord(self, header_result_args: tuple[Any, ...], body: Any, **kwargs: Any) -> None:
        """Prepare to count a chord, before its header is sent."""
        self.ensure_chords_allowed()
        self._chords.prepare(self.app.GroupResult(*header_result_args))

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Take note of how many tasks the header of a chord has, nested ones included."""
        self._chords.set_size(group_id, chord_size)

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """Add a task to the header of a chord that is running."""
        self._chords.add(chord_id, 1)

    def on_chord_part_return(
        self, request: Any, state: str, result: Any, propagate: Any = None, **kwargs: Any
    ) -> None:
        """Count a header task that is done; the one that completes the count sends the body."""
        self._chords.part_done(request, state, result)


def _checked(value: Any) -> bytes:
    """Return a value as bytes. Raises BackendStoreError if it is too long for Redis."""
    value = value.encode() if isinstance(value, str) else value
    if len(value) > LARGEST_VALUE:
        raise BackendStoreError(E_TOO_LARGE.format(len(value), LARGEST_VALUE))
    return value  # type: ignore[no-any-return]
