"""Representations that never raise, never recurse for ever, and stop at a maximum length.

Called with the arguments of each published task, so ordinary small values take a short cut.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ("is_repr_of", "reprstream", "saferepr")

#: Types whose repr is short and cannot fail (ints are checked for size).
_ATOMS = frozenset({int, float, bool, type(None)})
#: Containers that the short cut looks into.
_CONTAINERS = frozenset({tuple, list})
#: Most items and characters the short cut lets the interpreter represent.
_SHORT_ITEMS = 32
_SHORT_TEXT = 512
_SHORT_INT_BITS = 512


def saferepr(
    o: Any, maxlen: int | None = None, maxlevels: int = 3, seen: set[int] | None = None
) -> str:
    """Return a representation of ``o`` for log lines and events.

    Parameters:
        o: anything.
        maxlen: characters after which the rest is left out, shown as ``...`` (None: no limit).
        maxlevels: how many containers deep to go.
        seen: ids of objects not to show again.
    """
    if not o and o.__class__ in _EMPTY:
        return _EMPTY[o.__class__]
    if seen is None and maxlevels >= 3 and _is_short(o, 3):
        text = repr(o)
        if maxlen is None or len(text) <= maxlen:
            return text
    return "".join(_limited(o, maxlen, maxlevels, seen))


def is_repr_of(text: str, value: Any, maxlevels: int = 3) -> bool:
    """Return whether ``text`` is what `saferepr` made of ``value``, before it was sent.

    For telling what somebody wrote in place of arguments from what was made of them. Serializers
    turn tuples into lists and keys into text, so brackets and quotes don't count.
    """
    shown = saferepr(value, _COMPARED, maxlevels)
    own, other = shown.translate(_NOISE), text.translate(_NOISE)
    if not other:
        # Nothing but brackets and dots: these might stand for what is hidden.
        arguments = tuple(value) if isinstance(value, list) else value
        return text in (shown, saferepr(arguments, _COMPARED, maxlevels))
    if len(text) >= _CUT_OFF:
        return own.startswith(other) or other.startswith(own)
    return own == other


#: What serializers may change in a representation, and what stands for what was left out.
_NOISE = str.maketrans("", "", "[](){}'\", .")
#: Characters of a representation that are compared, and after how many it may have been cut off.
_COMPARED = 4096
_CUT_OFF = 512

_EMPTY: dict[type, str] = {tuple: "()", dict: "{}", list: "[]", str: "''"}


def _is_short(o: Any, levels: int) -> bool:
    """Return True if ``repr(o)`` is certainly quick and safe."""
    kind = o.__class__
    if kind is int:
        return -_SMALL < o < _SMALL  # type: ignore[no-any-return]
    if kind in _ATOMS:
        return True
    if kind is str or kind is bytes:
        return len(o) <= _SHORT_TEXT
    if levels == 0 or (kind is not dict and kind not in _CONTAINERS):
        return False
    if len(o) > _SHORT_ITEMS:
        return False
    # Loops, since all() with a generator takes twice as long.
    if kind is dict:
        for key, value in o.items():  # noqa: SIM110
            if not (_is_short(key, 0) and _is_short(value, levels - 1)):
                return False
        return True
    for item in o:  # noqa: SIM110
        if not _is_short(item, levels - 1):
            return False
    return True


_SMALL = 1 << _SHORT_INT_BITS


# -- the long way: a stream of tokens, cut off where the limit is


# Not dataclasses, whose making takes longer than importing all the rest of this module.
class _Literal:
    """Punctuation; ``direction`` is 1 where a container begins and -1 where it ends."""

    __slots__ = ("direction", "value")

    def __init__(self, value: str, direction: int = 0) -> None:
        self.value = value
        self.direction = direction


class _Quoted:
    """Text or bytes, to be shown in quotes."""

    __slots__ = ("value",)

    def __init__(self, value: str | bytes) -> None:
        self.value = value


_SEPARATOR = _Literal(", ")
_COLON = _Literal(": ")
_ELLIPSIS = _Literal("...")
_ONE_TUPLE_END = _Literal(",)", -1)


def _limited(o: Any, maxlen: int | None, maxlevels: int, seen: set[int] | None) -> Iterator[str]:
    left = maxlen
    closing: list[str] = []
    for token, _ in reprstream(deque([iter((o,))]), seen, maxlevels):
        if left is not None and _is_past_limit(token, left):
            break
        if isinstance(token, _Literal):
            text = token.value
            if token.direction > 0:
                closing.append(_CLOSERS[text])
            elif token.direction < 0:
                closing.pop()
        elif isinstance(token, _Quoted):
            text = _cut_quoted(token.value, left)
        else:
            text = _cut(token, left)
        yield text
        if left is not None:
            left -= len(text)
    if closing:
        yield ", ..."
        yield from reversed(closing)


def _is_past_limit(token: Any, left: int) -> bool:
    """Return True if ``token`` cannot be shown any more; what is open may always be closed."""
    if isinstance(token, _Literal) and token.direction < 0:
        return False
    return left <= (len(token.value) if token is _SEPARATOR else -1)


_CLOSERS = {"[": "]", "(": ")", "{": "}", "frozenset({": "})"}


def _cut(text: str, left: int | None) -> str:
    if left is None or len(text) <= left:
        return text
    return text[: max(left, 0)].rsplit(" ", 1)[0] + "..."


def _cut_quoted(value: str | bytes, left: int | None) -> str:
    if left is None or len(value) <= left:
        return repr(value)
    # Cut before the repr, which would take the time and the memory of the whole.
    shown = repr(value[: max(left, 0)])
    return f"{shown[:-1]}...{shown[-1]}"


def reprstream(
    stack: deque[Any],
    seen: set[int] | None = None,
    maxlevels: int = 3,
    level: int = 0,
    isinstance: Callable[[Any, Any], bool] = isinstance,
) -> Iterator[Any]:
    """Yield the parts of the representations of the values that the iterators in ``stack`` give.

    Parameters:
        stack: iterators over values, the last one first; used up.
        seen: ids of the containers that we are inside of.
        maxlevels: containers deeper than this are shown as ``...``.
        level: the level to begin with.
        isinstance: tells types.

    Each part comes with the iterator it is from: a plain text is a repr, other parts have a
    ``value``.
    """
    seen = set() if seen is None else seen
    # For each iterator: the id of the container it runs over (or None), leaving which forgets it.
    owners: list[int | None] = [None] * len(stack)
    while stack:
        it = stack[-1]
        for value in it:
            if isinstance(value, (_Literal, _Quoted)):
                yield value, it
            elif isinstance(value, (str, bytes)):
                yield _Quoted(value), it
            elif isinstance(value, _CONTAINER_TYPES):
                if id(value) in seen:
                    yield _recursion(value), it
                    continue
                if not value:
                    yield _empty(value), it
                    continue
                opening, parts, ending = _parts_of(value)
                yield opening, it
                if level >= maxlevels:
                    yield _ELLIPSIS, it
                    yield ending, it
                    continue
                seen.add(id(value))
                stack.append(_followed_by(parts, ending))
                owners.append(id(value))
                level += 1
                break
            else:
                yield _repr(value), it
        else:
            stack.pop()
            owner = owners.pop() if owners else None
            if owner is not None:
                seen.discard(owner)
                level -= 1


_CONTAINER_TYPES = (dict, list, tuple, set, frozenset)


def _parts_of(value: Any) -> tuple[_Literal, Iterator[Any], _Literal]:
    if isinstance(value, dict):
        return _Literal("{", 1), _items(value), _Literal("}", -1)
    if isinstance(value, list):
        return _Literal("[", 1), _separated(value), _Literal("]", -1)
    if isinstance(value, tuple):
        ending = _ONE_TUPLE_END if len(value) == 1 else _Literal(")", -1)
        return _Literal("(", 1), _separated(value), ending
    if isinstance(value, frozenset):
        return _Literal("frozenset({", 1), _separated(value), _Literal("})", -1)
    return _Literal("{", 1), _separated(value), _Literal("}", -1)


def _separated(values: Any) -> Iterator[Any]:
    separate = False
    for value in _steadily(values):
        if separate:
            yield _SEPARATOR
        separate = True
        yield value


def _items(mapping: dict[Any, Any]) -> Iterator[Any]:
    separate = False
    for key, value in _steadily(mapping.items()):
        if separate:
            yield _SEPARATOR
        separate = True
        yield key
        yield _COLON
        yield value


def _steadily(values: Any) -> Iterator[Any]:
    """Iterate, and end quietly if another thread changes the container meanwhile."""
    try:
        yield from values
    except RuntimeError:
        yield from ()


def _followed_by(parts: Iterator[Any], ending: _Literal) -> Iterator[Any]:
    yield from parts
    yield ending


def _recursion(value: Any) -> str:
    return f"<Recursion on {type(value).__name__} with id={id(value)}>"


def _empty(value: Any) -> str:
    return _EMPTY.get(type(value)) or {dict: "{}", list: "[]", tuple: "()"}.get(
        next(kind for kind in _CONTAINER_TYPES if isinstance(value, kind)),
        f"{'frozenset' if isinstance(value, frozenset) else 'set'}()",
    )


def _repr(obj: Any) -> str:
    try:
        return repr(obj)
    except Exception as exc:
        return f"<Unrepresentable {type(obj)!r}{id(obj):#x}: {type(exc).__name__}>"
