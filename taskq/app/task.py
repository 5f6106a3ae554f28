"""Task: what ``@app.task`` makes of a function.

Defines both ends of a call: `delay` and `apply_async` send it, the tracer runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar

from taskq import _state, exceptions, states
from taskq._state import _task_stack
from taskq.app.annotations import resolve_all as resolve_all_annotations
from taskq.app.context import Context
from taskq.app.registry import _unpickle_task_v2
from taskq.canvas import _chain, group, signature
from taskq.canvas.planning import needs_join
from taskq.exceptions import Ignore, ImproperlyConfigured, MaxRetriesExceededError, Reject, Retry
from taskq.local import class_property
from taskq.result import EagerResult, denied_join_result
from taskq.utils.functional import mattrgetter, maybe_list
from taskq.utils.imports import instantiate
from taskq.utils.nodenames import gethostname
from taskq.utils.serialization import raise_with_context
from taskq.utils.threads import LocalStack
from taskq.utils.uuids import uuid

if TYPE_CHECKING:
    from taskq.result import AsyncResult

__all__ = ("Context", "Task")

P = ParamSpec("P")
R = TypeVar("R")

#: Task attributes that are options of every call.
_EXEC_OPTIONS = (
    "queue",
    "routing_key",
    "exchange",
    "priority",
    "expires",
    "serializer",
    "delivery_mode",
    "compression",
    "time_limit",
    "soft_time_limit",
    "immediate",
    "mandatory",
)
_extract_exec_options = mattrgetter(*_EXEC_OPTIONS)


class _Lazily:
    """A class attribute that is looked up when it is read, so that kombu is not imported before."""

    def __init__(self, get: Callable[[], Any]) -> None:
        self.get = get

    def __get__(self, instance: Any, owner: type) -> Any:
        return self.get()


class Task(Generic[P, R]):
    """Base class of all tasks.

    One instance per process lives in the app's registry; each call runs `run`. Attributes set to
    None take their value from the setting named in `from_config` when the task is bound.
    """

    #: Raised by `delay` and `apply_async` when the broker can't be reached.
    OperationalError: Any = _Lazily(lambda: exceptions.OperationalError)
    MaxRetriesExceededError = MaxRetriesExceededError

    #: Execution strategy, an import path or a function; the worker calls it once per task.
    Strategy: Any = "taskq.worker.strategy:default"
    #: Request class, or its import path, that the worker uses for messages of this task.
    Request: Any = "taskq.worker.request:Request"

    _app: Any = None

    #: Name the task is registered under.
    name: Any = None
    #: Check arguments against the signature of `run` before sending.
    typing: bool = True
    #: Retries before giving up; None is no limit.
    max_retries: int | None = 3
    #: Seconds before a retry that gives no countdown.
    default_retry_delay: float = 3 * 60
    #: Executions per second of this task in one worker, or text such as ``"100/m"``.
    rate_limit: Any = None
    #: Don't store state and result.
    ignore_result: Any = None
    #: Remember the tasks that this task sends as its children.
    trail: bool = True
    #: Send task events for this task.
    send_events: bool = True
    #: Store failures even when results are ignored.
    store_errors_even_if_ignored: Any = None
    #: Serializer of the message.
    serializer: Any = None
    #: Hard time limit, in seconds.
    time_limit: Any = None
    #: Soft time limit, in seconds.
    soft_time_limit: Any = None
    #: Report state STARTED when the task starts.
    track_started: Any = None
    #: Acknowledge the message after the task has run instead of before.
    acks_late: Any = None
    #: With late acknowledgement: acknowledge also when the task fails or times out.
    acks_on_failure_or_timeout: Any = None
    #: As above for failures only; None leaves it to ``acks_on_failure_or_timeout``.
    acks_on_failure: Any = None
    #: As above for time limits only; None leaves it to ``acks_on_failure_or_timeout``.
    acks_on_timeout: Any = None
    #: With late acknowledgement: return the message when the process running it dies.
    reject_on_worker_lost: Any = None
    #: Retry the task when the process running it dies.
    retry_on_worker_lost: Any = None
    #: Store the result also in eager mode.
    store_eager_result: Any = None
    #: Expected exceptions: logged without traceback at level INFO.
    throws: tuple[type[BaseException], ...] = ()
    #: Expiry of calls: seconds or a datetime.
    expires: Any = None
    #: Priority of messages.
    priority: Any = None
    #: Length in characters of the result's representation in logs and events.
    resultrepr_maxsize = 1024

    #: Stack of requests: the calls that run in this thread.
    request_stack: Any = None
    _default_request: Context | None = None

    #: Abstract classes are not registered, they are bases of others.
    abstract = True

    _exec_options: dict[str, Any] | None = None
    _backend: Any = None
    #: Turns pydantic models in a call's arguments into plain data; set by ``pydantic=True``.
    _dump_pydantic_arguments: Any = None

    #: Set on task classes by the app.
    __bound__ = False
    #: Signature check made from `run`, set by the app.
    __header__: Any = None

    #: (attribute, setting) pairs: where attributes that are None get their value.
    from_config: ClassVar[tuple[tuple[str, str], ...]] = (
        ("serializer", "task_serializer"),
        ("rate_limit", "task_default_rate_limit"),
        ("priority", "task_default_priority"),
        ("time_limit", "task_time_limit"),
        ("soft_time_limit", "task_soft_time_limit"),
        ("track_started", "task_track_started"),
        ("acks_late", "task_acks_late"),
        ("acks_on_failure_or_timeout", "task_acks_on_failure_or_timeout"),
        ("acks_on_failure", "task_acks_on_failure"),
        ("acks_on_timeout", "task_acks_on_timeout"),
        ("reject_on_worker_lost", "task_reject_on_worker_lost"),
        ("retry_on_worker_lost", "task_retry_on_worker_lost"),
        ("ignore_result", "task_ignore_result"),
        ("store_eager_result", "task_store_eager_result"),
        ("store_errors_even_if_ignored", "task_store_errors_even_if_ignored"),
    )

    # -- binding to an app

    @classmethod
    def bind(cls, app: Any) -> Any:
        """Bind the class to an app: fill attributes from settings and annotations."""
        was_bound, cls.__bound__ = cls.__bound__, True
        cls._app = app
        conf = app.conf
        cls._exec_options = None
        for attribute, setting in cls.from_config:
            if getattr(cls, attribute, None) is None:
                setattr(cls, attribute, conf[setting])
        for attribute in ("acks_on_failure", "acks_on_timeout"):
            if getattr(cls, attribute) is None:
                setattr(cls, attribute, cls.acks_on_failure_or_timeout)
        if not was_bound:
            cls.annotate()
            cls.request_stack = LocalStack()
        cls.on_bound(app)
        return app

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Do something when the class is bound to an app. Nothing by default."""

    @classmethod
    def _get_app(cls) -> Any:
        if cls._app is None:
            cls._app = _state.get_current_app()
        if not cls.__bound__:
            # The app property isn't used here as it would bind again.
            cls.bind(cls._app)
        return cls._app

    app = class_property(_get_app, bind)

    @classmethod
    def annotate(cls) -> None:
        """Set the attributes that the ``task_annotations`` setting gives this task."""
        for annotation in resolve_all_annotations(cls.app.annotations, cls):
            for key, value in annotation.items():
                if key.startswith("@"):
                    cls.add_around(key[1:], value)
                else:
                    setattr(cls, key, value)

    @classmethod
    def add_around(cls, attr: str, around: Callable[..., Any]) -> None:
        """Wrap a method of the class: ``around(original)`` returns the replacement."""
        original = getattr(cls, attr)
        if getattr(original, "__wrapped__", None):
            original = original.__wrapped__
        wrapped = around(original)
        wrapped.__wrapped__ = original
        setattr(cls, attr, wrapped)

    # -- calling

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the task here and now, without a message. Returns what `run` returns."""
        request = self.request_stack.top if self.request_stack is not None else None
        if request is not None and request._protected == 1:
            # The tracer calls a task that overrides __call__, which calls us in turn: the
            # request of the execution is in place already.
            request._protected = 2
            return self.run(*args, **kwargs)  # type: ignore[no-any-return]
        _task_stack.push(self)
        self.push_request(args=args, kwargs=kwargs)
        try:
            return self.run(*args, **kwargs)  # type: ignore[no-any-return]
        finally:
            self.pop_request()
            _task_stack.pop()

    def __reduce__(self) -> Any:
        # Tasks are pickled by name: the other side has them in its registry.
        module = type(self).__module__
        return _unpickle_task_v2, (self.name, None if module == __name__ else module), None

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The body of the task; overridden by every task.

        Raises NotImplementedError when it is not.
        """
        raise NotImplementedError("Tasks must define the run method.")

    def start_strategy(self, app: Any, consumer: Any, **kwargs: Any) -> Any:
        """Return the function the worker calls with each message of this task."""
        return instantiate(self.Strategy, self, app, consumer, **kwargs)

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send the task with these arguments. Shortcut to `apply_async` without options."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> AsyncResult[R]:
        """Send the task.

        - args, kwargs: arguments of the call.
        - task_id: id of the call; a new one by default.
        - producer: producer to publish with, from the app's pool by default.
        - link, link_error: signature, or list of them, called on success and on failure.
        - shadow: name shown in logs instead of the task's.
        - countdown: seconds until the task may start.
        - eta: datetime before which the task may not start.
        - expires: seconds or datetime after which the task is not run any more.
        - retry, retry_policy: of publishing.
        - queue, exchange, routing_key, priority, serializer, compression, headers: of the message.
        - time_limit, soft_time_limit: in seconds.
        - ignore_result, add_to_parent, connection, router, and the options of `TaskQ.send_task`.

        Returns the `AsyncResult` of the call. Raises TypeError when the arguments don't fit the
        signature, kombu's EncodeError when they can't be serialised, OperationalError when the
        broker can't be reached.
        """
        if self.typing:
            check_arguments = self.__header__
            if check_arguments is not None:
                check_arguments(*(args or ()), **(kwargs or {}))
        if self._dump_pydantic_arguments is not None:
            args, kwargs = self._dump_pydantic_arguments(args, kwargs)
        shadow = shadow or self.shadow_name(args, kwargs, options)
        defaults = self._get_exec_options()
        options = {**defaults, **options} if options else dict(defaults)
        options.setdefault("ignore_result", self.ignore_result)
        app = self._get_app()
        if app.conf.task_always_eager:
            return self._apply_eagerly(args, kwargs, task_id, link, link_error, options)
        result: AsyncResult[R] = app.send_task(
            self.name,
            args,
            kwargs,
            task_id=task_id,
            producer=producer,
            link=link,
            link_error=link_error,
            result_cls=self.AsyncResult,
            shadow=shadow,
            task_type=self,
            **options,
        )
        return result

    def _apply_eagerly(
        self, args: Any, kwargs: Any, task_id: Any, link: Any, link_error: Any, options: Any
    ) -> EagerResult[R]:
        """Run the call here, as ``task_always_eager`` wants it.

        Arguments go through the serializer, so that what would fail on the wire fails here too.
        """
        # Imported when it is needed: it brings every serializer along.
        from kombu import serialization

        serializer = options.get("serializer") or self.app.conf.task_serializer
        try:
            content_type, encoding, data = serialization.dumps((args, kwargs), serializer)
        except exceptions.EncodeError as exc:
            from taskq.app.unserialisable import explained

            raise explained(exc, self.name, args, kwargs, serializer, self) from exc
        args, kwargs = serialization.loads(data, content_type, encoding, accept=[content_type])
        with denied_join_result():
            return self.apply(
                args,
                kwargs,
                task_id=task_id or uuid(),
                link=link,
                link_error=link_error,
                **options,
            )

    def shadow_name(self, args: Any, kwargs: Any, options: dict[str, Any]) -> str | None:
        """Return the name to show for a call instead of the task's, None for the task's."""
        return None

    def _get_exec_options(self) -> dict[str, Any]:
        if self._exec_options is None:
            self._exec_options = _extract_exec_options(self)
        return self._exec_options

    def apply(
        self,
        args: Any = None,
        kwargs: Any = None,
        link: Any = None,
        link_error: Any = None,
        task_id: str | None = None,
        retries: int | None = None,
        throw: bool | None = None,
        logfile: str | None = None,
        loglevel: Any = None,
        headers: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> EagerResult[R]:
        """Run the call here and now with everything a worker does around it.

        - throw: raise the task's exception, ``task_eager_propagates`` by default.
        - retries: how many times it has been retried so far.

        Other parameters are those of `apply_async`. Returns an `EagerResult`.
        """
        # The tracer imports this module, so it is reached through the app.
        build_tracer = self._get_app()._build_tracer
        app = self._get_app()
        args = args or ()
        kwargs = kwargs or {}
        task_id = task_id or uuid()
        retries = retries or 0
        throw = app.either("task_eager_propagates", throw)
        task = app.tasks[self.name]
        limits = options.get("time_limit"), options.get("soft_time_limit")
        request = {
            "id": task_id,
            "task": self.name,
            "parent_id": options.get("parent_id"),
            "root_id": options.get("root_id", task_id),
            "retries": retries,
            "is_eager": True,
            "logfile": logfile,
            "loglevel": loglevel or 0,
            "hostname": gethostname(),
            "callbacks": maybe_list(link),
            "errbacks": maybe_list(link_error),
            "headers": headers,
            "timelimit": limits if limits != (None, None) else None,
            "time_limit": limits[0],
            "soft_time_limit": limits[1],
            "ignore_result": options.get("ignore_result", False),
            "group": options.get("group_id"),
            "group_index": options.get("group_index"),
            "shadow": options.get("shadow"),
            "replaced_task_nesting": options.get("replaced_task_nesting", 0),
            "delivery_info": {
                "is_eager": True,
                "exchange": options.get("exchange"),
                "routing_key": options.get("routing_key"),
                "priority": options.get("priority"),
            },
        }
        if "expires" in options and options["expires"] is not None:
            request["expires"] = options["expires"]
        for source in (options, headers or {}):
            stamped = source.get("stamped_headers")
            if stamped:
                request["stamped_headers"] = stamped
                request["stamps"] = {name: maybe_list(source.get(name)) for name in stamped}
        tracer = build_tracer(task.name, task, eager=True, propagate=throw, app=self._get_app())
        returned = tracer(task_id, args, kwargs, request)
        # Imported when a task runs: clients do without it, and it is slow to import.
        from billiard.einfo import ExceptionInfo, ExceptionWithTraceback

        value = returned.retval
        if isinstance(value, ExceptionInfo):
            value, traceback = value.exception, value.traceback
            if isinstance(value, ExceptionWithTraceback):
                value = value.exc
        else:
            traceback = None
        if isinstance(value, Retry) and value.sig is not None:
            retried: EagerResult[R] = value.sig.apply(retries=retries + 1)
            return retried
        state = states.SUCCESS if returned.info is None else returned.info.state
        return EagerResult(task_id, value, state, traceback=traceback, name=self.name)

    # -- retrying and replacing

    def signature_from_request(
        self,
        request: Context | None = None,
        args: Any = None,
        kwargs: Any = None,
        queue: Any = None,
        **extra_options: Any,
    ) -> Any:
        """Return a signature that calls this task as the given request was called.

        - request: the current one by default.
        - args, kwargs: the request's by default.
        - queue: queue to send it to; by default where the request came from.
        - extra_options: override the request's.
        """
        request = self.request if request is None else request
        args = request.args if args is None else args
        kwargs = request.kwargs if kwargs is None else kwargs
        options = {**request.as_execution_options(), **extra_options}
        delivery_info = request.delivery_info or {}
        priority = delivery_info.get("priority")
        if priority is not None:
            options["priority"] = priority
        if queue:
            options["queue"] = queue
        else:
            exchange = delivery_info.get("exchange")
            routing_key = delivery_info.get("routing_key")
            if exchange == "" and routing_key:
                options["queue"] = routing_key
            else:
                options.update(exchange=exchange, routing_key=routing_key)
        options["ignore_result"] = extra_options.get("ignore_result", request.ignore_result)
        return self.signature(args, kwargs, **options)

    subtask_from_request = signature_from_request

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: Any = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Send the current call again, to the same queue and with the same id.

        - args, kwargs: new arguments, the request's by default.
        - exc: the reason; raised when no retries are left.
        - throw: raise `Retry` (it never returns then), else return it.
        - eta, countdown: when; `default_retry_delay` seconds from now by default.
        - max_retries: overrides the task's for this call.
        - options: of `apply_async`.

        Raises Retry; ``exc`` or MaxRetriesExceededError when no retries are left; when the task
        was called directly ``exc`` or the current exception; Reject when it can't be sent.
        """
        request = self.request
        retries = request.retries + 1
        if max_retries is not None:
            self.override_max_retries = max_retries
        limit = self.max_retries if max_retries is None else max_retries
        if request.called_directly:
            # There is no message to send again: let the caller see the reason.
            raise_with_context(exc or Retry("Task can be retried", None))
        if not eta and countdown is None:
            countdown = self.default_retry_delay
        is_eager = request.is_eager
        sig = self.signature_from_request(
            request, args, kwargs, countdown=countdown, eta=eta, retries=retries, **options
        )
        if limit is not None and retries > limit:
            if exc is not None:
                # Raises the exception being handled when there is one, else ``exc``.
                raise_with_context(exc)
            raise self.MaxRetriesExceededError(
                f"Can't retry {self.name}[{request.id}] args:{sig.args} kwargs:{sig.kwargs}",
                task_args=sig.args,
                task_kwargs=sig.kwargs,
            )
        ret = Retry(exc=exc, when=eta or countdown, is_eager=is_eager, sig=sig)
        if is_eager:
            # `apply` runs the signature.
            if throw:
                raise ret
            return ret
        try:
            sig.apply_async()
        except Exception as send_error:
            raise Reject(send_error, requeue=False) from send_error
        if throw:
            raise ret
        return ret

    override_max_retries: Any

    def replace(self, sig: Any) -> Any:
        """Replace this task by a signature, which takes over its id and what waits for it.

        - sig: a signature, chain, group or chord.

        Raises Ignore, so that nothing is stored for this task; in eager mode returns the result.
        Raises ImproperlyConfigured for a chord with links that no chord can keep.
        """
        request = self.request
        chord = request.chord
        if "chord" in sig.options and sig.options["chord"] is not None:
            raise ImproperlyConfigured("A signature replacing a task must not be part of a chord")
        if request.chord and isinstance(sig, _chain) and not getattr(sig, "tasks", True):
            raise ImproperlyConfigured("Can't replace a task of a chord by an empty chain")
        if isinstance(sig, _chain) and not getattr(sig, "tasks", True):
            raise ImproperlyConfigured("Cannot replace with an empty chain")
        if isinstance(sig, group) or needs_join(sig):
            # A group can't be linked: collect its results so that a chain can go on.
            sig |= self.app.tasks["celery.accumulate"].s(index=0)
        for callback in maybe_list(request.callbacks) or ():
            sig.link(callback)
        for errback in maybe_list(request.errbacks) or ():
            sig.link_error(errback)
        # What remains of the chain this task is in follows the replacement.
        if request.chain:
            for next_task in reversed(list(request.chain)):
                sig |= signature(next_task, app=self.app)
        sig.set(
            chord=chord,
            group_id=request.group,
            group_index=request.group_index,
            root_id=request.root_id,
            replaced_task_nesting=request.replaced_task_nesting + 1,
        )
        # The replacement keeps the parent's stamps and answers under this task's id.
        if request.stamped_headers:
            sig.options.setdefault("stamped_headers", list(request.stamped_headers))
            for header in request.stamped_headers:
                if request.stamps and header in request.stamps:
                    sig.options.setdefault(header, request.stamps[header])
        sig.freeze(request.id)
        if request.is_eager:
            return sig.apply().get()
        sig.delay()
        raise Ignore("Replaced by new task")

    def add_to_chord(self, sig: Any, lazy: bool = False) -> Any:
        """Add a signature to the header of the chord this task is in.

        - lazy: don't send it, only return it.

        Returns the result of sending it, or the signature. Raises ValueError when this task is
        not in a chord.
        """
        if not self.request.chord:
            raise ValueError("Current task is not member of any chord")
        sig.set(group_id=self.request.group, chord=self.request.chord, root_id=self.request.root_id)
        result = sig.freeze()
        self.backend.add_to_chord(self.request.group, result)
        return sig.delay() if not lazy else sig

    def get_publisher(self, connection: Any = None, **options: Any) -> Any:
        """Return a producer on a connection, for ``apply_async(producer=…)`` and its old name."""
        return self._get_app().amqp.Producer(
            connection or self._get_app().connection_for_write(), **options
        )

    # -- signatures

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AsyncResult[R]:  # noqa: N802
        """Return the result handle of the call with this id."""
        result: AsyncResult[R] = self._get_app().AsyncResult(
            task_id, backend=self.backend, task_name=self.name, **kwargs
        )
        return result

    def signature(self, args: Any = None, *starargs: Any, **starkwargs: Any) -> Any:
        """Return a signature of this task: arguments and options of a call to be made."""
        starkwargs.setdefault("app", self.app)
        return signature(self, args, *starargs, **starkwargs)

    subtask = signature

    def s(self, *args: Any, **kwargs: Any) -> Any:
        """Return a signature with these arguments."""
        return self.signature(args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Any:
        """Return an immutable signature with these arguments: results are not added to them."""
        return self.signature(args, kwargs, immutable=True)

    def chunks(self, it: Iterable[Any], n: int) -> Any:
        """Return a signature that calls the task with ``n`` argument tuples per message."""
        return self._get_app()._canvas.chunks(self.s(), it, n, app=self.app)

    def map(self, it: Iterable[Any]) -> Any:
        """Return a signature that calls the task with each element, in one message."""
        return self._get_app()._canvas.xmap(self.s(), it, app=self.app)

    def starmap(self, it: Iterable[Any]) -> Any:
        """Return a signature that calls the task with each argument tuple, in one message."""
        return self._get_app()._canvas.xstarmap(self.s(), it, app=self.app)

    # -- what a running task can say

    def send_event(
        self,
        type_: str,
        retry: bool = True,
        retry_policy: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Any:
        """Send an event about this call to whoever watches the worker's events."""
        request = self.request
        policy = dict(
            self.app.conf.task_publish_retry_policy if retry_policy is None else retry_policy
        )
        with self.app.events.default_dispatcher(hostname=request.hostname) as dispatcher:
            return dispatcher.send(
                type_, uuid=request.id, retry=retry, retry_policy=policy, **fields
            )

    def update_state(
        self,
        task_id: str | None = None,
        state: str | None = None,
        meta: Any = None,
        **kwargs: Any,
    ) -> None:
        """Store a state of this call, one of your own or a built-in one.

        - task_id: this call by default.
        - meta: what `AsyncResult.info` shows with it.
        """
        if task_id is None:
            task_id = self.request.id
        self.backend.store_result(task_id, meta, state, request=self.request, **kwargs)

    def add_trail(self, result: Any) -> Any:
        """Remember a result as a child of this call, and return it."""
        if self.trail:
            self.request.children.append(result)
        return result

    # -- handlers, for subclasses

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Run by the worker before the task starts. The return value is ignored."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Run by the worker when the task has succeeded. The return value is ignored."""

    def on_retry(
        self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Run by the worker when the task is to be retried. The return value is ignored."""

    def on_failure(
        self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Run by the worker when the task has failed. The return value is ignored."""

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Run by the worker when the task has returned, in whatever state."""

    def on_replace(self, sig: Any) -> Any:
        """Run when the task is replaced by a signature, instead of returning `replace`."""
        return self.replace(sig)

    # -- requests

    def push_request(self, *args: Any, **kwargs: Any) -> None:
        """Make a new request the current one of this thread."""
        self.request_stack.push(Context(*args, **kwargs))

    def pop_request(self) -> None:
        """Drop the current request of this thread."""
        self.request_stack.pop()

    def _get_request(self) -> Context:
        stack = self.request_stack
        request = stack.top if stack is not None else None
        if request is None:
            # Task outside of any call: keep one empty request, so that it can be written to.
            if self._default_request is None:
                self._default_request = Context()
            return self._default_request
        return request  # type: ignore[no-any-return]

    @property
    def request(self) -> Context:
        """The request of the call that runs in this thread."""
        return self._get_request()

    @property
    def backend(self) -> Any:
        """The result backend of this task, the app's by default."""
        backend = self._backend
        if backend is None:
            return self.app.backend
        return backend

    @backend.setter
    def backend(self, value: Any) -> None:
        self._backend = value

    def __repr__(self) -> str:
        return f"<@task: {self.name} of {self._get_app().main or '__main__'} at {id(self):#x}>"

    @property
    def __name__(self) -> str:
        return str(type(self).__qualname__.rpartition(".")[2])

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Task) and other.name == self.name)
