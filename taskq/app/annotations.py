"""Task annotations: attributes set on tasks from the ``task_annotations`` setting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from taskq.utils.imports import instantiate

__all__ = ("MapAnnotation", "prepare", "resolve_all")


class _ByName:
    """An annotation given by its import path, imported when it is first asked."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._made: Any = None

    def __call__(self) -> Any:
        if self._made is None:
            self._made = instantiate(self.path)
        return self._made


class MapAnnotation(dict[str, Any]):
    """Annotation given as a dict: task name (or ``"*"``) -> attributes."""

    def annotate_any(self) -> dict[str, Any] | None:
        """Return the attributes for every task, or None."""
        try:
            return dict(self["*"])
        except KeyError:
            return None

    def annotate(self, task: Any) -> dict[str, Any] | None:
        """Return the attributes for this task, or None."""
        try:
            return dict(self[task.name])
        except KeyError:
            return None


def prepare(annotations: Any) -> list[Any]:
    """Turn the setting's value into a list of objects with ``annotate`` and ``annotate_any``.

    - annotations: a dict, an object, an import path, or a sequence of these.
    """

    def expand(annotation: Any) -> Any:
        if isinstance(annotation, Mapping):
            return MapAnnotation(annotation)
        if isinstance(annotation, str):
            return _ByName(annotation)
        return annotation

    if annotations is None:
        return []
    if not isinstance(annotations, list | tuple):
        annotations = (annotations,)
    return [expand(annotation) for annotation in annotations]


def _first_answer(annotations: list[Any], method: str, *args: Any) -> Any:
    for annotation in annotations:
        evaluated = annotation() if isinstance(annotation, _ByName) else annotation
        answer = getattr(evaluated, method, lambda *_: None)(*args)
        if answer is not None:
            return answer
    return None


def resolve_all(anno: list[Any], task: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the attribute mappings that apply to ``task``, the general one last."""
    for answer in (
        _first_answer(anno, "annotate", task),
        _first_answer(anno, "annotate_any"),
    ):
        if answer:
            yield answer
