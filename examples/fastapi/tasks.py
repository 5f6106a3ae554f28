"""The task behind the page: a coroutine that says how far it is."""

import asyncio

from taskq import TaskQ

app = TaskQ("tasks", broker="sqlite:///fastapi.db", backend="sqlite:///fastapi.db")


@app.task(bind=True)
async def convert(self, pages: int, seconds_per_page: float = 0.3) -> str:
    """Pretend to convert a document, page by page."""
    for page in range(1, pages + 1):
        await asyncio.sleep(seconds_per_page)
        await self.aupdate_state("PROGRESS", {"page": page, "of": pages})
    return f"{pages} pages converted"
