"""Answers of Airflow's own API that are too long to be held: passed on piece by piece, in-process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote

from portal.core.refusals import NotFound, Unavailable

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Scope

AHEAD = 4  # pieces that wait for a slow reader


@asynccontextmanager
async def opened(app: ASGIApp, path: str, headers: Mapping[str, str]) -> AsyncIterator[AsyncIterator[bytes]]:
    """Call an app with GET and give the body as it comes; NotFound or Unavailable unless it answers 200.

    `path` is percent-encoded. (`httpx.ASGITransport` would collect the whole body first.)
    """
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue(AHEAD)
    status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    asked = asyncio.Event()

    async def receive() -> Message:
        if asked.is_set():
            await asyncio.Event().wait()  # the reader is there until the call is cancelled
        asked.set()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            status.set_result(message["status"])
        else:
            await pieces.put(message.get("body", b""))

    async def serve() -> None:
        try:
            await app(_scope(path, headers), receive, send)
        except Exception as error:
            if status.done():
                raise
            status.set_exception(error)
        finally:
            await pieces.put(None)

    task = asyncio.create_task(serve())
    try:
        _require_ok(await status, path)
        yield _body(pieces, task)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _body(pieces: asyncio.Queue[bytes | None], task: asyncio.Task[None]) -> AsyncIterator[bytes]:
    while (piece := await pieces.get()) is not None:
        yield piece
    await task  # an answer that broke off is an error here too, never a short text


def _require_ok(status: int, path: str) -> None:
    if status == HTTPStatus.NOT_FOUND:
        raise NotFound(f"{path}: it is not there (any more)")
    if status != HTTPStatus.OK:
        raise Unavailable(f"Airflow answers {status}: try again")


def _scope(path: str, headers: Mapping[str, str]) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()],
        "client": None,
        "server": ("airflow", 80),
    }
