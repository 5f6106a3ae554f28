"""The fields of a crontab: from ``"*/15"`` or ``"mon-fri"`` to the numbers they mean."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeAlias

from taskq.utils.time import weekday, yearmonth

__all__ = ("Cronspec", "ParseException", "cronfield", "crontab_parser", "expand")

#: What a field may be given as.
Cronspec: TypeAlias = int | str | Iterable[int]


class ParseException(Exception):
    """A field of a crontab cannot be understood."""


class crontab_parser:  # noqa: N801 - the public name
    """Parser of one field.

    ``*`` is every number, ``*/5`` every fifth one, ``3-7`` a range, which may go round
    (``fri-mon``), ``3-7/2`` every second one of it, and ``1,2,8-9`` are several of these. Names of
    days and months are as good as their numbers.

    Parameters:
        max_: how many numbers there are.
        min_: the first one.
    """

    ParseException = ParseException

    _part = re.compile(r"(?:(?P<star>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\w*))?")

    def __init__(self, max_: int = 60, min_: int = 0) -> None:
        self.max_ = max_
        self.min_ = min_

    def parse(self, spec: str) -> set[int]:
        """Return the numbers that `spec` means.

        Raises ParseException if it is not well-formed, ValueError if a number in it is not one of
        the field.
        """
        numbers: set[int] = set()
        for part in spec.split(","):
            if not part:
                raise ParseException(f"empty part in {spec!r}: remove the comma too many")
            numbers.update(self._numbers(part.strip()))
        return numbers

    def _numbers(self, part: str) -> list[int]:
        if part.startswith("-"):
            raise ParseException(f"{part!r}: negative numbers not supported")
        match = self._part.fullmatch(part)
        if match is None:
            raise ValueError(f"Invalid crontab expression {part!r}")
        star, first, last, step = match.group("star", "first", "last", "step")
        if step == "":
            raise ParseException(f"{part!r}: empty filter, put the size of the steps after the /")
        if star:
            numbers = list(range(self.min_, self.min_ + self.max_))
        elif last is not None:
            numbers = self._range(self._number(first), self._number(last))
        elif step is not None:
            raise ValueError(f"Invalid crontab expression {part!r}: steps need a range or *")
        else:
            return [self._number(first)]
        if step is None:
            return numbers
        if int(step) == 0:
            raise ValueError(f"Invalid crontab expression {part!r}: steps of zero")
        return numbers[:: int(step)]

    def _range(self, first: int, last: int) -> list[int]:
        if first <= last:
            return list(range(first, last + 1))
        top = self.min_ + self.max_
        return [*range(first, top), *range(self.min_, last + 1)]

    def _number(self, text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = _named(text)
        last = self.min_ + self.max_ - 1
        if number > last:
            raise ValueError(f"Invalid end range: {number} > {last}.")
        if number < self.min_:
            raise ValueError(f"Invalid beginning range: {number} < {self.min_}.")
        return number


def _named(text: str) -> int:
    """Return the number of a month or a day of the week."""
    for number_of in (yearmonth, weekday):
        try:
            return number_of(text)
        except KeyError:
            continue
    raise ValueError(f"Invalid weekday literal {text!r}.")


def expand(cronspec: Any, max_: int, min_: int = 0) -> set[int]:
    """Return the numbers that a field means.

    Parameters:
        cronspec: a number, an expression, or an iterable of numbers.
        max_: how many numbers the field has.
        min_: its first number.

    Raises ValueError if a number is not one of the field, TypeError if `cronspec` is none of these.
    """
    if isinstance(cronspec, int):
        numbers = {cronspec}
    elif isinstance(cronspec, str):
        numbers = crontab_parser(max_, min_).parse(cronspec)
    elif isinstance(cronspec, Iterable):
        numbers = set(cronspec)
    else:
        raise TypeError(
            f"A field of a crontab must be a number, a string or an iterable of numbers, not "
            f"{cronspec!r} of type {type(cronspec)}"
        )
    last = max_ + min_ - 1
    for number in numbers:
        if not isinstance(number, int):
            raise TypeError(f"A field of a crontab must have numbers, not {number!r}")
        if not min_ <= number <= last:
            raise ValueError(
                f"Invalid crontab pattern. Valid range is {min_}-{last}. {number!r} was found."
            )
    return numbers


def cronfield(s: Cronspec | None) -> Cronspec:
    """Return a field as it is shown: ``*`` if it is None."""
    return "*" if s is None else s
