"""How a request is shown: to remote control and in logs."""

from __future__ import annotations

from typing import Any

from taskq.worker.request.facts import Facts

__all__ = ("Described",)


class Described(Facts):
    """A request that can be shown."""

    __slots__ = ()

    def info(self, safe: bool = False) -> dict[str, Any]:
        """Return what remote control tells about the request.

        - safe: arguments as representations.
        """
        return {
            "id": self.id,
            "name": self.name,
            "args": self.argsrepr if safe else self.args,
            "kwargs": self.kwargsrepr if safe else self.kwargs,
            "type": self.type,
            "hostname": self.hostname,
            "time_start": self.time_start,
            "acknowledged": self.acknowledged,
            "delivery_info": self.delivery_info,
            "worker_pid": self.worker_pid,
        }

    def humaninfo(self) -> str:
        """Return name and id."""
        return f"{self.name}[{self.id}]"

    def __str__(self) -> str:
        parts = [self.humaninfo()]
        if self._request_dict.get("eta"):
            parts.append(f"ETA:[{self.eta}]")
        if self._request_dict.get("expires"):
            parts.append(f"expires:[{self.expires}]")
        return " ".join(parts)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.humaninfo()} {self.argsrepr} {self.kwargsrepr}>"
