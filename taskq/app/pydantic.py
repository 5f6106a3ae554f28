"""Pydantic models as task arguments and results.

Used by tasks defined with ``pydantic=True``. Pydantic itself is imported only then.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from taskq.exceptions import ImproperlyConfigured

__all__ = ("ArgumentDumper", "wrap_with_models")

_DEFAULT_DUMP = {"mode": "json"}


def _base_model() -> Any:
    try:
        from pydantic import BaseModel
    except ModuleNotFoundError as exc:
        raise ImproperlyConfigured(
            "Tasks with pydantic=True need pydantic: pip install taskq[pydantic]"
        ) from exc
    return BaseModel


def _model_of(annotation: Any, base: Any) -> Any:
    """Return the model class an annotation asks for: ``Model`` or ``Model | None``."""
    origin = typing.get_origin(annotation)
    if origin is typing.Union or origin is types.UnionType:
        members = [arg for arg in typing.get_args(annotation) if arg is not type(None)]
        if len(members) != 1 or len(typing.get_args(annotation)) != 2:
            return None
        annotation = members[0]
    return annotation if inspect.isclass(annotation) and issubclass(annotation, base) else None


class ArgumentDumper:
    """Turns model instances among a call's arguments into plain data before it is sent.

    - dump_kwargs: arguments of ``model_dump``, ``mode="json"`` by default.
    """

    def __init__(self, dump_kwargs: Mapping[str, Any] | None = None) -> None:
        self.dump_kwargs = dict(_DEFAULT_DUMP if dump_kwargs is None else dump_kwargs)

    def __call__(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        base = _base_model()

        def dump(value: Any) -> Any:
            return value.model_dump(**self.dump_kwargs) if isinstance(value, base) else value

        return (
            args if args is None else tuple(dump(value) for value in args),
            kwargs if kwargs is None else {key: dump(value) for key, value in kwargs.items()},
        )


def wrap_with_models(
    app: Any,
    fun: Callable[..., Any],
    name: str,
    *,
    strict: bool = False,
    context: Mapping[str, Any] | None = None,
    dump_kwargs: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """Return ``fun`` with arguments validated into the models its annotations name.

    - strict: pydantic's strict mode.
    - context: added to the validation context, which has ``celery_app`` and ``celery_task_name``.
    - dump_kwargs: for ``model_dump`` of a returned model, ``mode="json"`` by default.

    A returned model becomes plain data when it is of the annotated class.
    """
    base = _base_model()
    signature = inspect.signature(fun)
    validation_context = {"celery_app": app, "celery_task_name": name, **(context or {})}
    dump_options = dict(_DEFAULT_DUMP if dump_kwargs is None else dump_kwargs)

    @functools.cache
    def hints() -> dict[str, Any]:
        # Looked up on the first call: annotations may name what is defined further below.
        return typing.get_type_hints(fun)

    def validated(args: Any, kwargs: Any) -> inspect.BoundArguments:
        bound = signature.bind(*args, **kwargs)
        for parameter, value in bound.arguments.items():
            model = _model_of(hints().get(parameter), base)
            if model is None or value is None:
                continue
            bound.arguments[parameter] = model.model_validate(
                value, strict=strict, context=validation_context
            )
        return bound

    def dumped(returned: Any) -> Any:
        model = _model_of(hints().get("return"), base)
        if model is not None and isinstance(returned, model):
            return returned.model_dump(**dump_options)
        return returned

    @functools.wraps(fun)
    def run(*args: Any, **kwargs: Any) -> Any:
        bound = validated(args, kwargs)
        return dumped(fun(*bound.args, **bound.kwargs))

    @functools.wraps(fun)
    async def run_coroutine(*args: Any, **kwargs: Any) -> Any:
        bound = validated(args, kwargs)
        return dumped(await fun(*bound.args, **bound.kwargs))

    return run_coroutine if inspect.iscoroutinefunction(fun) else run
