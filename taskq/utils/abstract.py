"""What counts as a task or a signature: a class with the right methods, whatever its bases.

Used where canvas and the app must tell signatures from plain data.
"""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from typing import Any

__all__ = ("CallableSignature", "CallableTask")


def _hasattr(C: type, attr: str) -> bool:
    return any(attr in base.__dict__ for base in C.__mro__)


class _AbstractClass(metaclass=ABCMeta):  # noqa: B024 - subclasses add the methods
    __required_attributes__: frozenset[str] = frozenset()

    @classmethod
    def _subclasshook_using(cls, parent: type, C: type) -> Any:
        if cls is not parent:
            return NotImplemented
        return all(_hasattr(C, attr) for attr in cls.__required_attributes__) or NotImplemented

    @classmethod
    def register(cls, other: type) -> type:
        """Say that class ``other`` counts as this one; returns ``other``, so it can decorate."""
        # ABCMeta's method of this name is hidden by ours.
        return ABCMeta.register(cls, other)


class CallableTask(_AbstractClass, Callable):  # type: ignore[misc,type-arg]
    """Something with ``delay``, ``apply_async`` and ``apply``."""

    __required_attributes__ = frozenset({"delay", "apply_async", "apply"})

    @abstractmethod
    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Call the task in a worker, with these arguments."""

    @abstractmethod
    def apply_async(self, *args: Any, **kwargs: Any) -> Any:
        """Call the task in a worker, with options."""

    @abstractmethod
    def apply(self, *args: Any, **kwargs: Any) -> Any:
        """Call the task in this process."""

    @classmethod
    def __subclasshook__(cls, C: type) -> Any:
        return cls._subclasshook_using(CallableTask, C)


class CallableSignature(CallableTask):
    """Something with all that a signature has."""

    __required_attributes__ = frozenset({"clone", "freeze", "set", "link", "link_error", "__or__"})

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the task."""

    @property
    @abstractmethod
    def type(self) -> Any:
        """The task."""

    @property
    @abstractmethod
    def app(self) -> Any:
        """The app."""

    @property
    @abstractmethod
    def id(self) -> str | None:
        """The task id, once there is one."""

    @property
    @abstractmethod
    def task(self) -> str:
        """Name of the task, as in the signature's dict."""

    @property
    @abstractmethod
    def args(self) -> Any:
        """Positional arguments."""

    @property
    @abstractmethod
    def kwargs(self) -> Any:
        """Keyword arguments."""

    @property
    @abstractmethod
    def options(self) -> Any:
        """Options of ``apply_async``."""

    @property
    @abstractmethod
    def subtask_type(self) -> Any:
        """Kind of signature: ``chain``, ``group`` and so on, None for a plain one."""

    @property
    @abstractmethod
    def chord_size(self) -> int | None:
        """How many tasks the chord's header has."""

    @property
    @abstractmethod
    def immutable(self) -> bool:
        """True if the result of the task before is not passed on to this one."""

    @abstractmethod
    def clone(self, args: Any = None, kwargs: Any = None) -> Any:
        """Return a copy with more arguments."""

    @abstractmethod
    def freeze(
        self,
        id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Give the signature its task id; return the result it will have."""

    @abstractmethod
    def set(self, immutable: bool | None = None, **options: Any) -> Any:
        """Set options; return the signature."""

    @abstractmethod
    def link(self, callback: Any) -> Any:
        """Add a callback."""

    @abstractmethod
    def link_error(self, errback: Any) -> Any:
        """Add an errback."""

    @abstractmethod
    def __or__(self, other: Any) -> Any:
        """Return a chain of this signature and another."""

    @abstractmethod
    def __invert__(self) -> Any:
        """Apply the signature and wait for the result."""

    @classmethod
    def __subclasshook__(cls, C: Any) -> Any:
        return cls._subclasshook_using(CallableSignature, C)
