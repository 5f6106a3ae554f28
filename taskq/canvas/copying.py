"""Copies of signatures, with further arguments and options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from taskq.canvas.kinds import AnySignature, simple_signature
from taskq.canvas.making import copied_options

__all__ = ("Copied",)

SignatureType = TypeVar("SignatureType", bound=AnySignature)


class Copied(AnySignature):
    """A signature that can be merged with more arguments and options, which gives a copy."""

    #: Options that keep their first value when others are merged into them.
    _IMMUTABLE_OPTIONS: ClassVar[set[str]] = {"group_id", "stamped_headers"}

    def _merge(
        self, args: Any = None, kwargs: Any = None, options: Any = None, force: bool = False
    ) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """Return arguments and options with others merged in; `force`: even if immutable."""
        own_options = self["options"]
        merged = dict(own_options)
        if options:
            fixed = self._IMMUTABLE_OPTIONS
            for key, value in options.items():
                if key not in fixed or key not in own_options:
                    merged[key] = value
        if self["immutable"] and not force:
            return self["args"], self["kwargs"], merged
        return (
            (*args, *self["args"]) if args else self["args"],
            {**self["kwargs"], **kwargs} if kwargs else self["kwargs"],
            merged,
        )

    def clone(self, args: Any = None, kwargs: Any = None, **opts: Any) -> Any:
        """Return a copy with further arguments and options, as for `apply_async`."""
        # Maps and chunks become plain calls, which work the same.
        return self._cloned(simple_signature(), args, kwargs, **opts)

    partial = clone

    def _cloned(
        self, cls: type[SignatureType], args: Any = None, kwargs: Any = None, **opts: Any
    ) -> SignatureType:
        """Return a copy of this class, with its own arguments and options."""
        if args or kwargs or opts:
            args, kwargs, options = self._merge(args, kwargs, opts)
        else:
            args, kwargs, options = self["args"], self["kwargs"], self["options"]
        copy = dict.__new__(cls)
        copy.update(self)
        copy["args"] = args if args.__class__ is tuple else tuple(args)
        copy["kwargs"] = dict(kwargs)
        copy["options"] = copied_options(options)
        if self._app is not None:
            copy._app = self._app
        if self._type is not None:
            copy._type = self._type
        return copy

    def _as_described(self, d: Mapping[str, Any], app: Any, *parts: str) -> Any:
        """Take over what a dict says besides the signatures in `parts`. Returns the signature."""
        if app is not None:
            self._app = app
        own = self["kwargs"]
        self.update({key: value for key, value in d.items() if key != "kwargs"})
        self["args"] = tuple(d.get("args") or ())
        self["options"] = copied_options(d.get("options") or {})
        self["kwargs"] = {**d["kwargs"], **{part: own[part] for part in parts}}
        return self

    def _partial_arguments(
        self, args: Any, kwargs: Any, *parts: str
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments that a workflow passes on, given these besides its own.

        Parameters:
            args: positional arguments.
            kwargs: keyword arguments.
            parts: names of keyword arguments that belong to the workflow itself.
        """
        own = {key: value for key, value in self["kwargs"].items() if key not in parts}
        if self["immutable"]:
            return tuple(self["args"]), own
        return (*(args or ()), *self["args"]), {**own, **(kwargs or {})}

    def replace(self, args: Any = None, kwargs: Any = None, options: Any = None) -> Any:
        """Return a copy with other arguments or options instead of these."""
        copy = self.clone()
        if args is not None:
            copy["args"] = args
        if kwargs is not None:
            copy["kwargs"] = kwargs
        if options is not None:
            copy["options"] = options
        return copy
