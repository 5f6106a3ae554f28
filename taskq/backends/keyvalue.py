"""Backends on stores that map keys to values: Celery's keys, metas, groups and counted chords.

A store implements `get`, `mget`, `set` and `delete`, and `incr` and `expire` to count chords.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from kombu.utils.encoding import bytes_to_str, ensure_bytes

from taskq import states
from taskq.backends.backend import Backend
from taskq.backends.chords import logger
from taskq.backends.handles import to_stored_tuple
from taskq.backends.synchronous import SyncBackendMixin
from taskq.backends.waiting import Meta
from taskq.exceptions import ChordError, TimeoutError

__all__ = ("BaseKeyValueStoreBackend", "KeyValueStoreBackend")

Key = Any

#: Seconds to wait for the name of who holds a claim, and between two looks.
NAME_PATIENCE, NAME_PAUSE = 5.0, 0.01


class BaseKeyValueStoreBackend(Backend):
    """Stores a meta under ``celery-task-meta-<id>``, a group under ``celery-taskset-meta-<id>``."""

    #: Makes a key what the client library wants.
    key_t: Any = ensure_bytes
    task_keyprefix: Any = "celery-task-meta-"
    group_keyprefix: Any = "celery-taskset-meta-"
    chord_keyprefix: Any = "chord-unlock-"
    #: `incr` and `expire` work, so chords are counted rather than polled.
    implements_incr: bool = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Set up like `Backend`, with `result_backend_transport_options` ``global_keyprefix``."""
        if hasattr(self.key_t, "__func__"):
            self.key_t = self.key_t.__func__  # a class attribute that is a function gets bound
        super().__init__(*args, **kwargs)
        self._add_global_keyprefix()
        self._encode_prefixes()
        if self.implements_incr:
            self.apply_chord = self._apply_chord_incr  # type: ignore[method-assign]

    def _add_global_keyprefix(self) -> None:
        options = self.app.conf.result_backend_transport_options or {}
        prefix = options.get("global_keyprefix")
        if prefix:
            self.task_keyprefix = f"{prefix}{self.task_keyprefix}"
            self.group_keyprefix = f"{prefix}{self.group_keyprefix}"
            self.chord_keyprefix = f"{prefix}{self.chord_keyprefix}"

    def _encode_prefixes(self) -> None:
        self.task_keyprefix = self.key_t(self.task_keyprefix)
        self.group_keyprefix = self.key_t(self.group_keyprefix)
        self.chord_keyprefix = self.key_t(self.chord_keyprefix)

    # -- what a store implements ------------------------------------------------

    def get(self, key: Key) -> Any:
        """Return the value under `key`, None if there is none."""
        raise NotImplementedError(f"{type(self).__name__} must implement get()")

    def mget(self, keys: Sequence[Key]) -> Any:
        """Return the values under `keys`: a sequence in their order, or a mapping."""
        raise NotImplementedError(f"The {type(self).__name__} result backend has no mget()")

    def set(self, key: Key, value: Any) -> Any:
        """Store `value` under `key`, for `expires` seconds where the store can do that."""
        raise NotImplementedError(f"{type(self).__name__} must implement set()")

    def _set_with_state(self, key: Key, value: Any, state: str) -> Any:
        """Store the meta of a task in `state`; override to let failures expire differently."""
        return self.set(key, value)

    def delete(self, key: Key) -> Any:
        """Remove `key`."""
        raise NotImplementedError(f"{type(self).__name__} must implement delete()")

    def incr(self, key: Key) -> int:
        """Add one to the number under `key`, atomically, and return it."""
        raise NotImplementedError(f"The {type(self).__name__} result backend has no incr()")

    def expire(self, key: Key, value: Any) -> Any:
        """Let `key` vanish in `value` seconds."""
        raise NotImplementedError(f"The {type(self).__name__} result backend has no expire()")

    # -- keys ---------------------------------------------------------------------

    def get_key_for_task(self, task_id: str, key: Key = "") -> Key:
        """Return the key of a task's meta, with `key` appended."""
        return self._get_key_for(self.task_keyprefix, task_id, key)

    def get_key_for_group(self, group_id: str, key: Key = "") -> Key:
        """Return the key of a saved group, with `key` appended."""
        return self._get_key_for(self.group_keyprefix, group_id, key)

    def get_key_for_chord(self, group_id: str, key: Key = "") -> Key:
        """Return the key of a chord's counter, with `key` appended."""
        return self._get_key_for(self.chord_keyprefix, group_id, key)

    def _get_key_for(self, prefix: Key, id: str, key: Key = "") -> Key:
        if not id:
            raise ValueError(f"{id!r} is not an id: expected a non-empty string")
        key_t = self.key_t
        if key_t is ensure_bytes and type(id) is str and type(prefix) is bytes:
            return prefix + id.encode() + (key_t(key) if key else b"")
        return key_t("").join([key_t(prefix), key_t(id), key_t(key)])

    def _strip_prefix(self, key: Key) -> str:
        """Return the id in `key`."""
        key = self.key_t(key)
        for prefix in (self.task_keyprefix, self.group_keyprefix):
            if key.startswith(prefix):
                return str(bytes_to_str(key[len(prefix) :]))
        return str(bytes_to_str(key))

    # -- tasks --------------------------------------------------------------------

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        encoded = self._encoded_meta(task_id, result, state, traceback, request)
        key = self.get_key_for_task(task_id)
        # A stored SUCCESS stays: a redelivered task may end otherwise the second time.
        stored = self.get(key)
        if stored and self.decode(stored)["status"] == states.SUCCESS:
            return result
        self._set_with_state(key, encoded, state)
        return result

    def _encoded_meta(
        self, task_id: str, result: Any, state: str, traceback: Any, request: Any
    ) -> Any:
        """Return what is stored of a task in a state."""
        meta = self._get_result_meta(
            result=result, state=state, traceback=traceback, request=request
        )
        meta["task_id"] = bytes_to_str(task_id)
        return self.encode(meta)

    def _forget(self, task_id: str) -> None:
        self.delete(self.get_key_for_task(task_id))

    def _get_task_meta_for(self, task_id: str) -> Meta:
        stored = self.get(self.get_key_for_task(task_id))
        if not stored:
            return {"status": states.PENDING, "result": None}
        return self.decode_result(stored)  # type: ignore[no-any-return]

    def task_result_exists(self, task_id: str) -> bool:
        """Tell whether anything is stored for a task, whatever its state."""
        return bool(self.get(self.get_key_for_task(task_id)))

    # -- many tasks ---------------------------------------------------------------

    def read_metas(self, task_ids: Sequence[str]) -> Iterator[Meta]:
        """Yield the metas of those of the tasks that are stored, read at once."""
        if len(task_ids) == 1:
            yield from super().read_metas(task_ids)
            return
        yield from self._read_many(task_ids).values()

    def _read_many(self, task_ids: Sequence[str]) -> dict[str, Meta]:
        keys = [self.get_key_for_task(task_id) for task_id in task_ids]
        values = self._ensure_retryable(self.mget, keys)
        return self._decode_many(values, keys)

    def _decode_many(self, values: Any, keys: Sequence[Key]) -> dict[str, Meta]:
        """Return metas by task id of what `mget` returned for `keys`."""
        pairs: Iterable[tuple[Key, Any]]
        pairs = values.items() if isinstance(values, Mapping) else zip(keys, values, strict=True)
        metas = {}
        for key, value in pairs:
            if value:
                meta = self.decode_result(value)
                task_id = self._strip_prefix(key)
                meta.setdefault("task_id", task_id)
                metas[task_id] = meta
        return metas

    def _mget_to_results(
        self, values: Any, keys: Sequence[Key], READY_STATES: Any = states.READY_STATES
    ) -> dict[str, Meta]:
        """Return the metas of ready tasks by id, of what `mget` returned for `keys`."""
        metas = self._decode_many(values, keys)
        return {id: meta for id, meta in metas.items() if meta["status"] in READY_STATES}

    def get_many(
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Any = None,
        on_interval: Any = None,
        max_iterations: int | None = None,
        READY_STATES: Any = states.READY_STATES,
    ) -> Iterator[tuple[str, Meta]]:
        """Yield ``(task_id, meta)`` of each of the tasks as it becomes ready, by polling.

        Parameters:
            task_ids: the tasks.
            timeout: seconds; None waits for ever.
            interval: pause between two reads, in seconds.
            no_ack: for backends that receive messages.
            on_message: called with the meta of each ready task.
            on_interval: called after each pause.
            max_iterations: give up without an error after so many reads.

        Raises:
            taskq.exceptions.TimeoutError: not all are ready after `timeout` seconds.
        """
        left = dict.fromkeys(bytes_to_str(task_id) for task_id in task_ids)
        deadline = None if timeout is None else time.monotonic() + timeout
        iterations = 0
        while left:
            for task_id, meta in self._read_many(list(left)).items():
                if meta["status"] in READY_STATES and task_id in left:
                    del left[task_id]
                    if on_message is not None:
                        on_message(meta)
                    yield task_id, meta
            iterations += 1
            if not left or (max_iterations and iterations >= max_iterations):
                return
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"Operation timed out ({timeout})")
            time.sleep(interval)
            if on_interval is not None:
                on_interval()

    # -- groups ---------------------------------------------------------------------

    def _save_group(self, group_id: str, result: Any) -> Any:
        key = self.get_key_for_group(group_id)
        self._set_with_state(key, self.encode({"result": to_stored_tuple(result)}), states.SUCCESS)
        return result

    def _restore_group(self, group_id: str) -> Meta | None:
        stored = self.get(self.get_key_for_group(group_id))
        if not stored:
            return None
        meta: Meta = self.decode(stored)
        meta["result"] = self._group_from_tuple(meta["result"])
        return meta

    def _delete_group(self, group_id: str) -> Any:
        return self.delete(self.get_key_for_group(group_id))

    # -- chords -----------------------------------------------------------------------

    @property
    def chord_expires(self) -> Any:
        """Seconds that the keys of a chord are kept (`result_chord_expires`)."""
        return self._chord_result_expires

    @property
    def _chord_result_expires(self) -> Any:
        configured = self.app.conf.result_chord_expires
        if configured is None:
            return self.expires
        if isinstance(configured, timedelta):
            configured = configured.total_seconds()
        return int(configured)

    def _apply_chord_incr(
        self, header_result_args: tuple[Any, ...], body: Any, **kwargs: Any
    ) -> None:
        """Save the header, so that whoever counts its last task can collect the results."""
        self.ensure_chords_allowed()
        self.app.GroupResult(*header_result_args).save(backend=self)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """Count a header task that is done; the one that completes the count sends the body.

        A header task counts once, however often it is delivered. The saved header says that the
        body has not been sent; where two see the count complete, `_claim_chord` decides.
        """
        if not self.implements_incr:
            return
        group_id = request.group
        if not group_id:
            return
        header = self._load_header(group_id, request)
        if header is None:
            return
        size = chord_size(request.chord) or len(header)
        done = self._count_header_task(header, group_id, request.id)
        if done < size or not self._claim_chord(group_id, request.id):
            return
        # The claim is removed after the header: what could be claimed again was sent meanwhile.
        if self._load_header(group_id, request) is not None:
            self._send_body(header, request)

    def _load_header(self, group_id: str, request: Any) -> Any:
        """Return the saved header; None if the chord is over, or beyond help."""
        try:
            header = self.app.GroupResult.restore(group_id, backend=self)
        except Exception as exc:
            logger.exception("Chord %r: the header could not be read: %r", group_id, exc)
            error = ChordError(f"Cannot restore group: {exc!r}")
            self.chord_error_from_stack(self._body_of(request), error)
            return None
        if header is None:
            logger.info(
                "Chord %r is over: task %s was counted before or has expired", group_id, request.id
            )
        return header

    def _count_header_task(self, header: Any, group_id: str, task_id: str) -> int:
        """Count `task_id` unless it was; return how many are counted."""
        counter = self.get_key_for_chord(group_id)
        if self._first_time(self.get_key_for_chord(group_id, f".{task_id}")):
            done = self.incr(counter)
            self._expire_chord_key(counter)
            return done
        # It was marked by a worker that may have died before it counted: ask the results.
        stored = self._read_many([result.id for result in header.results])
        ready = sum(meta["status"] in states.READY_STATES for meta in stored.values())
        return max(int(self.get(counter) or 0), ready)

    def _claim_chord(self, group_id: str, task_id: str) -> bool:
        """Return whether this header task is the one to send the body.

        One that claimed it and died before it could send it is delivered again and may.
        """
        return self._hold(self.get_key_for_chord(group_id, ".claim"), task_id) == task_id

    def _hold(self, key: Key, name: str) -> str:
        """Write a name under `key` unless there is one; return the one that is there.

        For stores whose only atomic step is counting: who counts first writes its name, and the
        others wait for it. One that died in between is nobody any more.
        """
        holder = key + self.key_t(".holder")
        if self._first_time(key):
            self.set(holder, name)
            return name
        patience = time.monotonic() + NAME_PATIENCE
        while (found := self.get(holder)) is None and time.monotonic() < patience:
            time.sleep(NAME_PAUSE)
        return name if found is None else str(bytes_to_str(found))

    def _first_time(self, key: Key) -> bool:
        """Return True to exactly one caller."""
        first = self.incr(key) == 1
        self._expire_chord_key(key)
        return first

    def _expire_chord_key(self, key: Key) -> None:
        if self._chord_result_expires is not None:
            self.expire(key, self._chord_result_expires)

    def _send_body(self, header: Any, request: Any) -> None:
        body = self._body_of(request)
        try:
            self._finish_chord(request.group, body, lambda: self.join_header(header))
        finally:
            header.delete(backend=self)
            self.delete(self.get_key_for_chord(request.group))
            self._delete_marks(request.group, header)

    def _delete_marks(self, group_id: str, header: Any) -> None:
        """Remove the keys that say which tasks were counted."""
        for result in header.results:
            self.delete(self.get_key_for_chord(group_id, f".{result.id}"))
        claim = self.get_key_for_chord(group_id, ".claim")
        self.delete(claim)
        self.delete(claim + self.key_t(".holder"))

    def _body_of(self, request: Any) -> Any:
        return self.app.signature(request.chord)


class KeyValueStoreBackend(BaseKeyValueStoreBackend, SyncBackendMixin):
    """A key-value backend that can be waited on."""


def chord_size(body: Any) -> int | None:
    """Return the number of header tasks that the body's signature says, if it does."""
    size = body.get("chord_size") if isinstance(body, Mapping) else None
    return int(size) if size else None
