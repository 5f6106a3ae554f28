"""Tasks that every app has: what workflows and housekeeping send by these names.

Registered when an app is finalized. The names are on the wire and stay Celery's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from taskq import exceptions, states
from taskq._state import connect_on_app_finalize, get_current_worker_task
from taskq.canvas import chunks as canvas_chunks
from taskq.canvas import group as canvas_group
from taskq.canvas import maybe_signature
from taskq.canvas.chord import PARTS
from taskq.exceptions import ChordError, Ignore, MaxRetriesExceededError
from taskq.result import result_from_tuple
from taskq.utils.coroutines import finished

__all__ = ()

logger = logging.getLogger("celery.app.builtins")


@connect_on_app_finalize
def add_backend_cleanup_task(app: Any) -> Any:
    """Register the task that deletes expired results, which beat sends once a day."""

    @app.task(name="celery.backend_cleanup", shared=False, lazy=False)
    def backend_cleanup() -> None:
        app.backend.cleanup()

    return backend_cleanup


@connect_on_app_finalize
def add_accumulate_task(app: Any) -> Any:
    """Register the task that returns its arguments: the body for groups that need none."""

    @app.task(name="celery.accumulate", shared=False, lazy=False)
    def accumulate(*args: Any, **kwargs: Any) -> Any:
        index = kwargs.get("index")
        return args if index is None else args[index]

    return accumulate


@connect_on_app_finalize
def add_unlock_chord_task(app: Any) -> Any:
    """Register the task that polls a chord's header, for result backends that can't count."""

    # A poll that dies with its worker is to be run again, or the chord would wait for ever.
    @app.task(
        name="celery.chord_unlock",
        max_retries=None,
        shared=False,
        default_retry_delay=app.conf.result_chord_retry_interval,
        ignore_result=True,
        lazy=False,
        bind=True,
        acks_late=True,
        reject_on_worker_lost=True,
    )
    def unlock_chord(
        self: Any,
        group_id: str,
        callback: Any,
        interval: float | None = None,
        max_retries: int | None = None,
        result: Any = None,
        Result: Any = app.AsyncResult,  # noqa: N803 - the public name
        GroupResult: Any = app.GroupResult,  # noqa: N803 - the public name
        result_from_tuple: Any = result_from_tuple,
        **kwargs: Any,
    ) -> None:
        body = maybe_signature(callback, app=app)
        if interval is None:
            interval = self.default_retry_delay
        header = GroupResult(group_id, [result_from_tuple(r, app=app) for r in result], app=app)
        try:
            ready = header.ready()
        except Exception as exc:
            raise self.retry(exc=exc, countdown=interval, max_retries=max_retries) from exc
        if not ready:
            try:
                raise self.retry(countdown=interval, max_retries=max_retries)
            except MaxRetriesExceededError:
                # Nobody looks again: who waits for the body is told.
                error = ChordError(f"The header of {group_id} was not ready after all its polls")
                app.backend.chord_error_from_stack(body, error)
                raise
        if _was_sent(self.request, body):
            return
        try:
            results = app.backend.join_header(header)
        except ChordError as exc:
            logger.exception("Chord %r raised: %r", group_id, exc)
            app.backend.chord_error_from_stack(body, exc)
        except Exception as exc:
            raise self.retry(exc=exc, countdown=interval, max_retries=max_retries) from exc
        else:
            app.backend.send_chord_body(group_id, body, results)

    return unlock_chord


@connect_on_app_finalize
def add_lost_part_task(app: Any) -> Any:
    """Register the task that fails a header task whose worker died, by its id and in its name."""

    @app.task(
        name="celery.chord_part_lost",
        shared=False,
        lazy=False,
        bind=True,
        acks_late=True,
        reject_on_worker_lost=True,
    )
    def lost_part(self: Any, *args: Any, **kwargs: Any) -> None:
        backend, request = app.backend, self.request
        meta = backend.get_task_meta(request.id, cache=False)
        if meta["status"] in states.READY_STATES:
            # It ended, and its worker died before it had counted it, or while it sent the body.
            backend.on_chord_part_return(request, meta["status"], meta["result"])
            raise Ignore
        # Of billiard, which is not loaded before somebody needs it.
        raise exceptions.WorkerLostError(
            f"The worker that ran {request.shadow}[{request.id}] has died"
        )

    return lost_part


def _was_sent(request: Any, body: Any) -> bool:
    """Return whether the poll is run again although the body was sent before its worker died."""
    redelivered = (request.delivery_info or {}).get("redelivered")
    return bool(redelivered) and body.AsyncResult(body.id).state != states.PENDING


@connect_on_app_finalize
def add_map_task(app: Any) -> Any:
    """Register the task that calls another with each item of a list."""

    @app.task(name="celery.map", shared=False, lazy=False)
    def xmap(task: Any, it: Iterable[Any]) -> list[Any]:
        task = maybe_signature(task, app=app).type
        return [finished(task(item)) for item in it]

    return xmap


@connect_on_app_finalize
def add_starmap_task(app: Any) -> Any:
    """Register the task that calls another with each item of a list as its arguments."""

    @app.task(name="celery.starmap", shared=False, lazy=False)
    def xstarmap(task: Any, it: Iterable[Iterable[Any]]) -> list[Any]:
        task = maybe_signature(task, app=app).type
        return [finished(task(*arguments)) for arguments in it]

    return xstarmap


@connect_on_app_finalize
def add_chunk_task(app: Any) -> Any:
    """Register the task that sends a list in parts, each to `celery.starmap`."""

    @app.task(name="celery.chunks", shared=False, lazy=False)
    def chunks(task: Any, it: Iterable[Any], n: int) -> Any:
        return canvas_chunks.apply_chunks(maybe_signature(task, app=app), it, n, app=app)

    return chunks


@connect_on_app_finalize
def add_group_task(app: Any) -> Any:
    """Register the task that sends the tasks of a group which has its ids already."""

    @app.task(name="celery.group", bind=True, shared=False, lazy=False)
    def group(
        self: Any,
        tasks: Iterable[Any],
        result: Any,
        group_id: str,
        partial_args: Any,
        add_to_parent: bool = True,
    ) -> Any:
        handle = result_from_tuple(result, app=app)
        members = canvas_group([maybe_signature(task, app=app) for task in tasks], app=app)
        members.apply_async(partial_args, task_id=group_id, add_to_parent=False)
        parent = get_current_worker_task()
        if add_to_parent and parent is not None:
            parent.add_trail(handle)
        return handle

    return group


@connect_on_app_finalize
def add_chain_task(app: Any) -> Any:
    """Register the name of chains, which are sent as their first task and never run."""

    @app.task(name="celery.chain", shared=False, lazy=False)
    def chain(*args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("chain is not a real task")

    return chain


@connect_on_app_finalize
def add_chord_task(app: Any) -> Any:
    """Register the task that sends a chord."""

    @app.task(name="celery.chord", bind=True, ignore_result=False, shared=False, lazy=False)
    def chord(
        self: Any,
        header: Any,
        body: Any,
        partial_args: Sequence[Any] = (),
        interval: float | None = None,
        countdown: float = 1,
        max_retries: int | None = None,
        eager: bool = False,
        **kwargs: Any,
    ) -> Any:
        workflow = app._canvas.chord(header, body, app=app)
        return workflow.run(
            canvas_group(workflow.tasks, app=app),
            workflow.body,
            tuple(partial_args),
            app=app,
            interval=interval,
            countdown=countdown,
            max_retries=max_retries,
            eager=eager,
            kwargs={key: value for key, value in kwargs.items() if key not in PARTS},
        )

    return chord
