"""Signals by name.

Used as ``signals["INT"] = handler`` by the programs, and by pools.
"""

from __future__ import annotations

import signal as _signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Names of all signals of this system.
SIGNAMES = {
    name for name in dir(_signal) if name.startswith("SIG") and "_" not in name and name != "SIG"
}
#: Number of each signal -> its name; of two names, the one that is not just an old one.
SIGMAP: dict[int, str] = {getattr(_signal, name): name for name in sorted(SIGNAMES, reverse=True)}


class Signals:
    """The signals of this process: ``signals["TERM"] = handler`` installs a handler.

    Names may be with or without ``SIG``. Signals that this system lacks are ignored.
    """

    ignored = _signal.SIG_IGN
    default = _signal.SIG_DFL

    def arm_alarm(self, seconds: float) -> None:
        """Send ourselves SIGALRM in ``seconds`` seconds, which may be a fraction."""
        _signal.setitimer(_signal.ITIMER_REAL, seconds)

    def reset_alarm(self) -> int:
        """Send ourselves no SIGALRM any more; return the seconds that were left."""
        return _signal.alarm(0)

    def supported(self, name: str | int) -> bool:
        """Return True if this system has the signal."""
        try:
            self.signum(name)
        except AttributeError:
            return False
        return True

    def signum(self, name: str | int) -> int:
        """Return the number of a signal."""
        if isinstance(name, int):
            return name
        if not str(name).isupper():
            raise TypeError(f"signal name must be uppercase string, not {name!r}")
        if not name.startswith("SIG"):
            name = f"SIG{name}"
        return getattr(_signal, name)  # type: ignore[no-any-return]

    def reset(self, *signal_names: str) -> None:
        """Have signals handled by default."""
        self.update((name, self.default) for name in signal_names)

    def ignore(self, *names: str) -> None:
        """Ignore signals."""
        self.update((name, self.ignored) for name in names)

    def __getitem__(self, name: str) -> Any:
        return _signal.getsignal(self.signum(name))

    def __setitem__(self, name: str, handler: Any) -> None:
        try:
            _signal.signal(self.signum(name), handler)
        except (AttributeError, ValueError):
            pass  # Not on this system, or not in the main thread, where alone this is allowed.

    def update(self, _d_: Mapping[str, Any] | Any = None, **sigmap: Any) -> None:
        """Install several handlers."""
        for name, handler in dict(_d_ or {}, **sigmap).items():
            self[name] = handler


signals = Signals()


def signal_name(signum: int) -> str:
    """Return the name of a signal, without ``SIG``."""
    return SIGMAP[signum][3:]
