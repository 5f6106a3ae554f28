"""Values computed when they are first needed; apart from the rest because it needs kombu.

Found as ``taskq.utils.functional.mlazy``.
"""

from __future__ import annotations

from typing import Any

from kombu.utils.functional import lazy


class mlazy(lazy):
    """A ``lazy`` that computes its value once."""

    #: True after the value was computed.
    evaluated = False
    _value: Any = None

    def evaluate(self) -> Any:
        """Return the value, computing it at the first call."""
        if not self.evaluated:
            self._value = super().evaluate()
            self.evaluated = True
        return self._value
