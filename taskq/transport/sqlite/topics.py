"""Matching of routing keys against the patterns of topic bindings."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ("topic_matches",)

#: Pattern word -> expression for words that each end with a dot.
WILDCARDS = {"*": r"[^.]*\.", "#": r"(?:[^.]*\.)*"}


def topic_matches(pattern: str, routing_key: str) -> bool:
    """Tell whether the key matches: ``*`` stands for one word, ``#`` for any number of words."""
    return _compile(pattern).fullmatch(f"{routing_key}.") is not None


@lru_cache(maxsize=1024)
def _compile(pattern: str) -> re.Pattern[str]:
    words: list[str] = []
    for word in pattern.split("."):
        # "#.#" means the same as "#", and would try every way to split the key between the two.
        if word != "#" or words[-1:] != [WILDCARDS["#"]]:
            words.append(WILDCARDS.get(word) or re.escape(word) + r"\.")
    return re.compile("".join(words))
