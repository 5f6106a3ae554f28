"""A page that starts tasks and shows how they get on; no request blocks the server's event loop."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from tasks import app as queue
from tasks import convert

PAGE = Path(__file__).with_name("page.html").read_text()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Close the queue's connections with the server."""
    async with queue:
        yield


web = FastAPI(lifespan=lifespan)


@web.get("/", response_class=HTMLResponse)
async def page() -> str:
    """The page."""
    return PAGE


@web.post("/conversions")
async def start(pages: int) -> dict[str, str]:
    """Start a conversion."""
    result = await convert.adelay(pages)
    return {"id": result.id}


@web.get("/conversions/{task_id}")
async def progress(task_id: str) -> dict[str, Any]:
    """How far a conversion is."""
    result = convert.AsyncResult(task_id)
    state, info = await result.astate(), await result.ainfo()
    if isinstance(info, Exception):
        info = repr(info)
    return {"state": state, "info": info}


@web.get("/conversions/{task_id}/result")
async def wait(task_id: str) -> dict[str, str]:
    """The result, as soon as there is one: thousands of requests may wait here."""
    return {"result": await convert.AsyncResult(task_id).aget(timeout=60)}


@web.delete("/conversions/{task_id}")
async def stop(task_id: str) -> dict[str, str]:
    """Cancel a conversion, also one that runs."""
    await convert.AsyncResult(task_id).arevoke(terminate=True)
    return {"id": task_id}
