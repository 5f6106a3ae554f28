"""Counted chords, on the keys that Celery counts them with: either side may count any part."""

from __future__ import annotations

import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

from kombu.utils.encoding import bytes_to_str

from taskq import states
from taskq.backends.chords import chord_error
from taskq.backends.redis.scripts import backend_script
from taskq.exceptions import ChordError
from taskq.transport.redis.resp import pack

if TYPE_CHECKING:
    from taskq.backends.redis.backend import RedisBackend

logger = logging.getLogger(__name__)

#: Seconds that a claim on sending the body lasts at first, beside the time to join the header.
CLAIM = 6
#: Seconds that it lasts from the moment when the body is about to be sent. Where the broker leaves
#: out a body that it has, it does no harm if a paused sender goes on after that.
SENDING = 8
#: Seconds for which a chord that is over is remembered, so that no part begins it anew.
OVER = 300
#: Seconds between two looks at a claim of somebody else who may have died with it.
TAKEN_POLL = 0.25


class ChordCounter:
    """Counts header tasks and sends the bodies of chords.

    1. `prepare` and `set_size` before the header tasks are sent.
    2. `part_done` for each that is done. The script counts it; to one caller it says that the
       count is complete, and gives it a claim that lasts some seconds.
    3. That caller collects the results, sends the body and reports that the chord is over.

    - backend: gives keys, encoding and connections.
    - ordered: results are kept by the position of their task, else in order of completion.
    """

    def __init__(self, backend: RedisBackend, *, ordered: bool) -> None:
        self._backend = backend
        self._ordered = ordered

    def prepare(self, header_result: Any) -> None:
        """Save a header with nested groups, whose results can't be counted one by one."""
        if any(hasattr(result, "results") for result in header_result.results):
            backend = self._backend
            value = backend.encode({"result": header_result.as_tuple()})
            command = self._set(backend.get_key_for_group(header_result.id), value)
            backend.ensure(backend.call, (command,))

    def set_size(self, group_id: str, size: int) -> None:
        """Store the number of header tasks."""
        backend = self._backend
        key = backend.get_key_for_group
        commands = [pack("DEL", key(group_id, ".c")), self._set(key(group_id, ".s"), str(size))]
        # No header task has been sent yet, so that it may be done twice.
        backend.ensure(backend.call_many, (commands,))

    def add(self, group_id: str, count: int) -> None:
        """Count that many tasks more to the header."""
        backend = self._backend
        backend.call(pack("INCRBY", backend.get_key_for_group(group_id, ".t"), count))

    def part_done(self, request: Any, state: str, result: Any) -> None:
        """Count a header task; send the body if it was the last one."""
        group_id, task_id = request.group, request.id
        if not group_id or not task_id:
            return
        token = uuid.uuid4().hex
        verdict = self._count(request, state, result, token)
        while verdict == b"taken":
            # Counted before, and delivered again: by one who may have died on the way.
            time.sleep(TAKEN_POLL)
            verdict = self._count(request, state, result, token)
        if verdict == b"claimed":
            self._send_body(request, token)
        elif verdict == b"over":
            logger.info("Chord %r is over: task %s was counted before", group_id, task_id)

    def _count(self, request: Any, state: str, result: Any, token: str) -> bytes:
        backend, group_id = self._backend, request.group
        position = getattr(request, "group_index", None)
        score = "+inf" if position is None else str(position)
        encoded = backend.encode([1, request.id, state, backend.encode_result(result, state)])
        join_timeout = backend.app.conf.result_chord_join_timeout or 0
        verdict: bytes = backend.run(
            backend_script("chord_part"),
            [backend.get_key_for_group(group_id, part) for part in (".j", ".t", ".s", ".d", "")]
            + [backend.get_key_for_group(group_id, ".c")],
            [
                f"{request.id}:{score}",
                encoded,
                "1" if self._ordered else "0",
                score,
                self._expires,
                token,
                max(CLAIM, int(2 * join_timeout)),
            ],
        )
        return verdict

    def _send_body(self, request: Any, token: str) -> None:
        backend, group_id = self._backend, request.group
        body = backend._body_of(request)
        try:
            results = self._collect(group_id)
        except Exception as exc:
            logger.exception("Chord %r raised: %r", group_id, exc)
            if self._keep_claim(group_id, token):
                backend.chord_error_from_stack(body, chord_error(exc))
        else:
            if not self._keep_claim(group_id, token):
                return
            backend.send_chord_body(group_id, body, results)
        self._finish(group_id, token)

    def _keep_claim(self, group_id: str, token: str) -> bool:
        """Return whether it is still ours to send the body."""
        kept = self._backend.run(
            backend_script("chord_extend"),
            [self._backend.get_key_for_group(group_id, ".c")],
            [token, SENDING],
        )
        if not kept:
            logger.warning("Chord %r: another worker has taken over to send the body", group_id)
        return bool(kept)

    def _finish(self, group_id: str, token: str) -> None:
        key = self._backend.get_key_for_group
        self._backend.run(
            backend_script("chord_finish"),
            [key(group_id, part) for part in (".c", ".j", ".t", ".s", ".d")],
            [token, OVER],
        )

    # -- results ------------------------------------------------------------------

    def _collect(self, group_id: str) -> list[Any]:
        """Return the results of the header. Raises ChordError if one of its tasks failed."""
        saved = self._backend.restore_group(group_id, cache=False)
        if saved is not None:
            results: list[Any] = self._backend.join_header(saved)
            return results
        key = self._backend.get_key_for_group(group_id, ".j")
        command = "ZRANGE" if self._ordered else "LRANGE"
        parts: list[Any] = self._backend.call(pack(command, key, 0, -1))
        return [self._value(part) for part in parts]

    def _value(self, part: Any) -> Any:
        """Return the value in a counted result. Raises ChordError if the task failed."""
        _, task_id, state, value = self._backend.decode(part)
        if state in states.EXCEPTION_STATES:
            value = self._backend.exception_to_python(value)
        if state in states.PROPAGATE_STATES:
            error = ChordError(f"Dependency {bytes_to_str(task_id)} raised {value!r}")
            raise error from (value if isinstance(value, BaseException) else None)
        return value

    # -- keys -----------------------------------------------------------------------

    @property
    def _expires(self) -> int:
        """Seconds to keep the keys, 0 for ever."""
        return int(self._backend.chord_expires or 0)

    def _set(self, key: bytes, value: Any) -> bytes:
        """Return the command that stores a value for as long as chords are kept."""
        if not isinstance(value, bytes):
            value = str(value)
        return pack("SET", key, value, *(("EX", self._expires) if self._expires else ()))
