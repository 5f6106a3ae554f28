"""The step for a ``worker_agent``: an object of the user's that lives in the worker."""

from __future__ import annotations

from typing import Any

from taskq import bootsteps
from taskq.worker.consumer.connection import Connection

__all__ = ("Agent",)


class Agent(bootsteps.StartStopStep):
    """Makes the agent that the ``worker_agent`` setting names."""

    conditional = True
    requires = (Connection,)

    def __init__(self, c: Any, **kwargs: Any) -> None:
        self.agent_cls = self.enabled = c.app.conf.worker_agent
        super().__init__(c, **kwargs)

    def create(self, c: Any) -> Any:
        """Return the agent."""
        agent = c.agent = self.instantiate(self.agent_cls, c.connection)
        return agent
