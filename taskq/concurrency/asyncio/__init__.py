"""The asyncio pool: thousands of coroutine tasks in flight on one event loop.

The worker's main thread takes messages and acknowledges them. Tasks live on a loop in a second
thread, what blocks (plain functions, handlers, the result store) in further ones, so that a task
that blocks the loop holds up other tasks, and nothing else.
"""

from taskq.concurrency.asyncio.pool import TaskPool

__all__ = ("TaskPool",)
