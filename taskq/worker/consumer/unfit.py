"""What becomes of messages that no task can be made of: logged, then rejected or dropped."""

from __future__ import annotations

from typing import Any

from kombu.utils.encoding import safe_repr

from taskq import signals
from taskq.app.context import NO_LINKS, Context
from taskq.app.dead import Reason
from taskq.exceptions import NotRegistered
from taskq.utils.log import get_logger
from taskq.utils.text import truncate

logger = get_logger("celery.worker.consumer")

UNKNOWN_FORMAT = (
    "Received and deleted unknown message. Wrong destination?!?\n\n"
    "The full contents of the message body was: %s"
)
UNKNOWN_TASK_ERROR = (
    "Received unregistered task of type %s.\n"
    "The message has been ignored and discarded.\n\n"
    "Did you remember to import the module containing this task?\n"
    "Or maybe you're using relative imports?\n\n"
    "The full contents of the message body was:\n%s\n\n"
    "The full contents of the message headers:\n%s\n\n"
    "The delivery info for this task is:\n%s\n"
)
INVALID_TASK_ERROR = (
    "Received invalid task message: %s\n"
    "The message has been ignored and discarded.\n\n"
    "Please ensure your message conforms to the task message protocol.\n\n"
    "The full contents of the message body was:\n%s\n"
)
MESSAGE_DECODE_ERROR = (
    "Can't decode message body: %r [type:%r encoding:%r headers:%s]\n\nbody: %s\n"
)

#: Characters of a body that go into the log.
_BODY_IN_LOG = 1024


def dump_body(m: Any, body: Any) -> str:
    """Return the beginning of a message body and its size, for the log."""
    body = m.body if body is None else body
    size = len(m.body) if isinstance(m.body, bytes | str | memoryview) else 0
    return f"{truncate(safe_repr(body), _BODY_IN_LOG)} ({size}b)"


class UnfitMessages:
    """The part of a consumer that is called with them."""

    app: Any
    hostname: str
    event_dispatcher: Any
    connection_errors: tuple[type[BaseException], ...]

    def on_decode_error(self, message: Any, exc: BaseException) -> None:
        """A message can't be decoded or may not be: log it and drop it."""
        logger.critical(
            MESSAGE_DECODE_ERROR,
            exc,
            message.content_type,
            message.content_encoding,
            safe_repr(message.headers),
            dump_body(message, message.body),
        )
        self._keep(message, exc)
        message.ack_log_error(logger, self.connection_errors)

    def _keep(self, message: Any, exc: BaseException | None) -> None:
        """Keep the message as a dead letter, if such ones are kept."""
        self.app.dead_letters.keep(message, Reason.INVALID, exc, hostname=self.hostname)

    def _message_report(self, body: Any, message: Any) -> str:
        return (
            f"body: {dump_body(message, body)}\n"
            f"{{content_type:{safe_repr(message.content_type)} "
            f"content_encoding:{safe_repr(message.content_encoding)}\n"
            f"  delivery_info:{safe_repr(message.delivery_info)} "
            f"headers={safe_repr(message.headers)}}}\n"
        )

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """A message is no task at all: log it and reject it."""
        logger.warning(UNKNOWN_FORMAT, self._message_report(body, message))
        self._keep(message, None)
        message.reject_log_error(logger, self.connection_errors)
        signals.task_rejected.send(sender=self, message=message, exc=None)

    def on_unknown_task(self, body: Any, message: Any, exc: BaseException) -> None:
        """A message names a task that isn't registered: log it, reject it, store a failure."""
        headers = message.headers if isinstance(message.headers, dict) else {}
        report = dump_body(message, body)
        logger.error(
            UNKNOWN_TASK_ERROR,
            exc,
            report,
            safe_repr(headers),
            safe_repr(message.delivery_info),
            exc_info=True,
        )
        name, task_id = headers.get("task"), headers.get("id")
        if name is None:
            try:
                payload = message.payload
                name, task_id = payload["task"], payload["id"]
            except Exception as decode_error:
                logger.debug("The message has no id either: %r", decode_error)
        self._keep(message, NotRegistered(name))
        message.reject_log_error(logger, self.connection_errors)
        if task_id and isinstance(task_id, str):
            try:
                self._fail_unknown(message, headers, name, task_id)
            except Exception as error:
                # The message may be nonsense in more than its name.
                logger.error("Could not store that %s[%s] failed: %r", name, task_id, error)
        signals.task_unknown.send(sender=self, message=message, exc=exc, name=name, id=task_id)

    def _fail_unknown(self, message: Any, headers: dict[str, Any], name: Any, task_id: str) -> None:
        """Store a failure: the caller learns of it, and a chord does not wait for ever."""
        self.app.backend.mark_as_failure(
            task_id,
            NotRegistered(name),
            request=self._context_of(message, headers),
            store_result=not headers.get("ignore_result"),
        )
        if self.event_dispatcher is not None:
            self.event_dispatcher.send(
                "task-failed", uuid=task_id, exception=f"NotRegistered({name!r})"
            )

    def _context_of(self, message: Any, headers: dict[str, Any]) -> Any:
        embed: dict[str, Any] = {}
        try:
            embed = message.decode()[2] or {}
        except Exception as exc:
            logger.debug("The body of an unregistered task can't be decoded: %r", exc)
        return Context({**headers, **NO_LINKS, **embed, "called_directly": False})

    def on_invalid_task(self, body: Any, message: Any, exc: BaseException) -> None:
        """A message is a task, but a malformed one: log it and reject it."""
        logger.error(INVALID_TASK_ERROR, exc, dump_body(message, body), exc_info=True)
        self._keep(message, exc)
        message.reject_log_error(logger, self.connection_errors)
        signals.task_rejected.send(sender=self, message=message, exc=exc)
