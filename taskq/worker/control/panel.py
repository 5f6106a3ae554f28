"""The registry of a worker's remote control commands, and the decorators that add to it."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable
from typing import Any, NamedTuple


class controller_info_t(NamedTuple):  # noqa: N801 - the public name
    """What is known of a command."""

    alias: str | None
    type: str
    visible: bool
    default_timeout: float
    help: str | None
    signature: str | None
    args: list[tuple[str, Any]] | None
    variadic: str | None


def ok(value: Any) -> dict[str, Any]:
    """Return an answer that says it went well."""
    return {"ok": value}


def nok(value: Any) -> dict[str, Any]:
    """Return an answer that says what went wrong."""
    return {"error": value}


class Panel(UserDict[str, Callable[..., Any]]):
    """The commands: name -> function."""

    #: Global registry: the functions, and what is known of them.
    data: dict[str, Callable[..., Any]] = {}
    meta: dict[str, controller_info_t] = {}

    @classmethod
    def register(cls, *args: Any, **kwargs: Any) -> Any:
        """Add a function as a command. Used as decorator, with or without options."""
        if args:
            return cls._register(**kwargs)(*args)
        return cls._register(**kwargs)

    @classmethod
    def _register(
        cls,
        name: str | None = None,
        alias: str | None = None,
        type: str = "control",
        visible: bool = True,
        default_timeout: float = 1.0,
        help: str | None = None,
        signature: str | None = None,
        args: list[tuple[str, Any]] | None = None,
        variadic: str | None = None,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def add(fun: Callable[..., Any]) -> Callable[..., Any]:
            control_name = name or fun.__name__
            _help = help or (fun.__doc__ or "").strip().split("\n")[0]
            cls.data[control_name] = fun
            cls.meta[control_name] = controller_info_t(
                alias, type, visible, default_timeout, _help, signature, args, variadic
            )
            if alias:
                cls.data[alias] = fun
            return fun

        return add


def control_command(**kwargs: Any) -> Any:
    """Add a command that changes something."""
    return Panel.register(type="control", **kwargs)


def inspect_command(**kwargs: Any) -> Any:
    """Add a command that answers a question."""
    return Panel.register(type="inspect", **kwargs)
