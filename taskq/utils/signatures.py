"""Questions about a function's parameters, and copies of its head that only check arguments.

Used for tasks (``typing``), signal receivers and worker callbacks.
"""

from __future__ import annotations

import inspect
from inspect import Parameter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_EMPTY: Any = Parameter.empty


#: What is assumed of functions that do not tell, such as some written in C.
_ANYTHING = [
    Parameter("args", Parameter.VAR_POSITIONAL),
    Parameter("kwargs", Parameter.VAR_KEYWORD),
]


def _parameters(fun: Callable[..., Any]) -> list[Parameter]:
    try:
        return list(inspect.signature(fun, follow_wrapped=False).parameters.values())
    except ValueError:
        return _ANYTHING


def head_from_fun(fun: Callable[..., Any], bound: bool = False) -> Callable[..., Any]:
    """Return a function that takes the arguments of ``fun`` and does nothing but return 1.

    Calling it checks arguments at the speed of a call, much faster than ``Signature.bind``.

    Parameters:
        fun: function, method or object that can be called.
        bound: leave out the first parameter, which the caller does not pass.

    Defaults are not kept, only that there are some.
    """
    parameters = _parameters(fun)
    if bound and parameters and parameters[0].kind is not Parameter.VAR_POSITIONAL:
        parameters = parameters[1:]
    name = getattr(fun, "__name__", type(fun).__name__)
    if not name.isidentifier():
        name = "head"
    namespace: dict[str, Any] = {"__name__": getattr(fun, "__module__", None) or __name__}
    source = f"def {name}({_head(parameters)}):\n    return 1\n"
    exec(source, namespace)
    return namespace[name]  # type: ignore[no-any-return]


def _head(parameters: list[Parameter]) -> str:
    plain = [_without_default(parameter) for parameter in parameters]
    return str(inspect.Signature(plain))[1:-1]


def _without_default(parameter: Parameter) -> Parameter:
    default = _EMPTY if parameter.default is _EMPTY else None
    return Parameter(parameter.name, parameter.kind, default=default)


def arity_greater(fun: Callable[..., Any], n: int) -> Any:
    """Return true if ``fun`` takes more than ``n`` positional arguments."""
    positional = 0
    for parameter in _parameters(fun):
        if parameter.kind is Parameter.VAR_POSITIONAL:
            return parameter.name
        if parameter.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD):
            positional += 1
    return positional > n


def fun_takes_argument(name: str, fun: Callable[..., Any], position: int | None = None) -> Any:
    """Return true if ``fun`` can be given an argument called ``name``.

    Parameters:
        name: the argument's name.
        fun: the function.
        position: the argument may also be passed as the ``position``-th, under any name.
    """
    parameters = _parameters(fun)
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    for kind in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL):
        for parameter in parameters:
            if parameter.kind is kind:
                return parameter.name
    if position is not None:
        return len(positional) >= position
    return any(parameter.name == name for parameter in parameters)


def fun_accepts_kwargs(fun: Callable[..., Any]) -> bool:
    """Return True if ``fun`` takes keyword arguments of any name."""
    return any(p.kind is Parameter.VAR_KEYWORD for p in inspect.signature(fun).parameters.values())
