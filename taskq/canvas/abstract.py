"""What counts as a task or a signature, whatever its class: for `isinstance` and annotations.

Used by code that takes either and must not import the classes.
"""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

__all__ = ("CallableSignature", "CallableTask")


def _has_all(cls: type, names: frozenset[str]) -> bool:
    return all(any(name in base.__dict__ for base in cls.__mro__) for name in names)


class _Structural(Callable, metaclass=ABCMeta):  # type: ignore[misc]
    """A class that has the required attributes counts as a subclass."""

    __required_attributes__: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def _matches(cls, parent: type, candidate: type) -> Any:
        if cls is not parent:
            return NotImplemented
        return _has_all(candidate, cls.__required_attributes__) or NotImplemented


class CallableTask(_Structural):
    """Interface of a task."""

    __required_attributes__: ClassVar[frozenset[str]] = frozenset({"delay", "apply_async", "apply"})

    @abstractmethod
    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Send the task with these arguments."""

    @abstractmethod
    def apply_async(self, *args: Any, **kwargs: Any) -> Any:
        """Send the task with arguments and options."""

    @abstractmethod
    def apply(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task here and now."""

    @classmethod
    def __subclasshook__(cls, candidate: type) -> Any:
        return cls._matches(CallableTask, candidate)


class CallableSignature(CallableTask):
    """Interface of a signature."""

    __required_attributes__: ClassVar[frozenset[str]] = frozenset(
        {"clone", "freeze", "set", "link", "link_error", "__or__"}
    )

    @property
    @abstractmethod
    def name(self) -> Any:
        """Name of the task."""

    @property
    @abstractmethod
    def type(self) -> Any:
        """The task itself."""

    @property
    @abstractmethod
    def app(self) -> Any:
        """App the task is sent with."""

    @property
    @abstractmethod
    def id(self) -> Any:
        """Id of the call, once it is frozen."""

    @property
    @abstractmethod
    def task(self) -> Any:
        """Name of the task."""

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
        """Options of the call."""

    @property
    @abstractmethod
    def subtask_type(self) -> Any:
        """Kind of the signature: None, "chain", "group" or "chord"."""

    @property
    @abstractmethod
    def chord_size(self) -> Any:
        """How many tasks the header of the chord has whose body this is."""

    @property
    @abstractmethod
    def immutable(self) -> Any:
        """Whether partial arguments are left out."""

    @abstractmethod
    def clone(self, args: Any = None, kwargs: Any = None) -> Any:
        """Return a copy with further arguments."""

    @abstractmethod
    def freeze(
        self,
        id: Any = None,
        group_id: Any = None,
        chord: Any = None,
        root_id: Any = None,
        group_index: Any = None,
    ) -> Any:
        """Give the call its id; return its result handle."""

    @abstractmethod
    def set(self, immutable: Any = None, **options: Any) -> Any:
        """Set options; return the signature."""

    @abstractmethod
    def link(self, callback: Any) -> Any:
        """Add a signature to call with the result."""

    @abstractmethod
    def link_error(self, errback: Any) -> Any:
        """Add a signature to call when the task fails."""

    @abstractmethod
    def __or__(self, other: Any) -> Any:
        """Return a chain of both."""

    @abstractmethod
    def __invert__(self) -> Any:
        """Send the task and wait for its result."""

    @classmethod
    def __subclasshook__(cls, candidate: type) -> Any:
        return cls._matches(CallableSignature, candidate)
