"""Where a worker's child enters: decodes a message that the main process accepted, and runs it."""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kombu.serialization import loads as loads_message
from kombu.serialization import prepare_accept_content, registry
from kombu.utils import json as kombu_json

from taskq import states
from taskq._state import current_app
from taskq.app.context import NO_LINKS, Context
from taskq.app.trace.failures import TraceInfo
from taskq.app.trace.outcome import FAILED, KINDS, OK, Outcome
from taskq.app.trace.plan import Plan
from taskq.app.trace.tracer import Tracer
from taskq.app.trace.usercode import cancel_coroutine, in_user_code, interrupt_coroutine
from taskq.backends.ahead import ahead
from taskq.exceptions import InvalidTaskError
from taskq.utils import leaseclock
from taskq.utils.jsontext import decode_json
from taskq.utils.nodenames import gethostname

if TYPE_CHECKING:
    from taskq.app.trace.coroutine import CoroutineTracer

__all__ = (
    "Outcome",
    "ahead",
    "cancel_coroutine",
    "decode_body",
    "execute_task",
    "in_base64",
    "in_user_code",
    "interrupt_coroutine",
    "reset_worker_optimizations",
    "setup_worker_optimizations",
)

FAILURE = states.FAILURE


class _Worker:
    """What this process needs to execute the messages its main process hands over."""

    __slots__ = ("accept", "app", "coroutine_tracers", "hostname", "tasks", "tracers")

    def __init__(self, app: Any, hostname: str) -> None:
        self.app = app
        self.hostname = hostname
        self.tasks = app.tasks
        self.tracers: dict[str, Tracer] = {}
        self.coroutine_tracers: dict[str, CoroutineTracer] = {}
        self.accept = prepare_accept_content(app.conf.accept_content)

    def tracer_for(self, name: str) -> Tracer:
        """Return the tracer of a task, made on first use."""
        tracer = self.tracers.get(name)
        if tracer is None:
            task = self.tasks[name]
            # Through the public name: packages that watch tasks put a function of theirs there.
            tracer = self.tracers[name] = self.app._build_tracer(
                name, task, app=self.app, hostname=self.hostname
            )
            clock = leaseclock.current()
            if clock is not None and task.acks_late and isinstance(tracer, Tracer):
                tracer.fun = leaseclock.guarded(tracer.fun, name, clock)
        return tracer

    def coroutine_tracer_for(self, name: str) -> CoroutineTracer:
        """Return the tracer of a coroutine task on a shared loop, made on first use."""
        tracer = self.coroutine_tracers.get(name)
        if tracer is None:
            # Imported by the first coroutine task: it brings asyncio along.
            from taskq.app.trace.coroutine import CoroutineTracer, guarded

            tracer = self.coroutine_tracers[name] = CoroutineTracer(
                name, self.tasks[name], app=self.app, hostname=self.hostname
            )
            clock = leaseclock.current()
            if clock is not None and tracer.task.acks_late:
                tracer.fun = guarded(tracer.fun, name, clock)
        return tracer


_worker: _Worker | None = None


def setup_worker_optimizations(app: Any, hostname: str | None = None) -> None:
    """Prepare this process to execute the tasks of one app.

    - hostname: node name of the worker, what tasks see as ``request.hostname``.
    """
    global _worker
    hostname = hostname or gethostname()
    app.set_current()
    app.set_default()
    app.finalize(auto=True)
    _worker = _Worker(app, hostname)


def reset_worker_optimizations(app: Any = current_app) -> None:
    """Undo `setup_worker_optimizations`."""
    global _worker
    _worker = None


def execute_task(payload: tuple[Any, ...]) -> Outcome:
    """Decode and run one message that the main process accepted.

    - payload: name, id, headers, body, content type, content encoding, delivery info, properties.

    Never raises for what a task or a message does; SystemExit and KeyboardInterrupt pass.
    """
    worker = _worker
    if worker is None:
        raise RuntimeError("execute_task needs setup_worker_optimizations(app) to be called first")
    tracer = worker.tracer_for(payload[0])
    try:
        args, kwargs, request = _decoded(payload, worker)
    except Exception as exc:
        return undecodable(tracer, payload, exc)
    retval, failure, runtime, retstr = tracer(payload[1], args, kwargs, request)
    if failure is None:
        return Outcome(OK, retstr, runtime)
    return Outcome(KINDS.get(failure.state, FAILED), retval, runtime)


def begin_coroutine(payload: tuple[Any, ...]) -> tuple[CoroutineTracer, Any, Any, Any]:
    """Decode the message of a coroutine task, for the pool whose loop awaits many.

    - payload: as for `execute_task`.

    Returns its tracer, args, kwargs and request. Raises what decoding raises; `undecodable` makes
    an outcome of that.
    """
    worker = _worker
    if worker is None:
        raise RuntimeError("a pool needs setup_worker_optimizations(app) to be called first")
    return worker.coroutine_tracer_for(payload[0]), *_decoded(payload, worker)


def is_coroutine_task(name: str) -> bool:
    """Return whether the task of this name is a coroutine function."""
    return _worker is not None and bool(_worker.tasks[name].is_coroutine)


def _decoded(payload: tuple[Any, ...], worker: _Worker) -> tuple[Any, Any, dict[str, Any]]:
    """Return args, kwargs and what the request is made of."""
    _, _, headers, body, content_type, encoding, delivery_info, properties = payload
    args, kwargs, embed = decode_body(body, content_type, encoding, worker.accept)
    if properties.get("application_headers", headers) is None:
        properties["application_headers"] = headers  # what the main process sent once only
    request = {
        **headers,
        **embed,
        "properties": properties,
        "reply_to": properties.get("reply_to"),
        "correlation_id": properties.get("correlation_id"),
        "hostname": worker.hostname,
        "delivery_info": delivery_info,
        "is_eager": False,
    }
    limits = headers.get("timelimit")
    if limits:
        request["time_limit"], request["soft_time_limit"] = limits
    return args, kwargs, request


#: Begins the content encoding of a body that is still in base64 around what the rest says.
_BASE64 = "base64+"


def in_base64(encoding: str | None) -> str:
    """Return the content encoding of a body in base64 that has this encoding itself."""
    return f"{_BASE64}{encoding or ''}"


def decode_body(body: Any, content_type: str, encoding: Any, accept: Any) -> tuple[Any, Any, Any]:
    """Return args, kwargs and the embedded links of a protocol 2 body, all four of them.

    Compressed bodies were decompressed when the message was received. A body that is a mapping
    is protocol 1's, under protocol 2's headers.

    Raises ContentDisallowed, DecodeError, or InvalidTaskError when it isn't such a body.
    """
    if encoding is not None and encoding.startswith(_BASE64):
        body, encoding = a2b_base64(body), encoding[len(_BASE64) :]
    if isinstance(body, bytes | str | memoryview):
        body = _loaded(body, content_type, encoding, accept)
    if isinstance(body, Mapping):
        embed = {name: body.get(name) for name in NO_LINKS}
        return body.get("args", ()), body.get("kwargs", {}), embed
    try:
        args, kwargs, embed = body
    except (TypeError, ValueError) as exc:
        raise InvalidTaskError(
            f"Task message body must be [args, kwargs, embed], not {type(body).__name__}"
        ) from exc
    if not embed:
        return args, kwargs, NO_LINKS
    return args, kwargs, embed if len(embed) >= len(NO_LINKS) else {**NO_LINKS, **embed}


def _loaded(body: Any, content_type: str, encoding: str, accept: Any) -> Any:
    """Return what a body says. Raises ContentDisallowed or DecodeError."""
    if (
        content_type == "application/json"
        and (accept is None or content_type in accept)
        # A json serializer that somebody registered instead of kombu's is used as it is.
        and registry._decoders.get(content_type) is kombu_json.loads
    ):
        try:
            return decode_json(body if isinstance(body, str) else str(body, encoding))
        except (ValueError, LookupError, TypeError):
            pass  # the slower way says what is wrong with it
    return loads_message(body, content_type, encoding, accept=accept)


def undecodable(tracer: Plan | None, payload: tuple[Any, ...], exc: Exception) -> Outcome:
    """A message whose body can't be read: fails visibly under its id.

    - tracer: of its task; found by name when None.
    """
    assert _worker is not None
    tracer = tracer or _worker.tracer_for(payload[0])
    request = Context({**payload[2], **NO_LINKS}, args=(), kwargs={}, called_directly=False)
    failure = TraceInfo(FAILURE, exc)
    einfo = failure.handle_error_state(tracer.task, request)
    return Outcome(FAILED, einfo, 0.0)
