from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Request
from starlette.responses import StreamingResponse

from portal.core.refusals import NotFound, Unavailable
from portal.results.streams import AHEAD, opened

app = FastAPI()
made: list[int] = []


@app.get("/many/{name}")
async def many(name: str, request: Request) -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(100):
            made.append(number)
            yield f"{name} {request.headers.get('accept')} {number}\n".encode()

    return StreamingResponse(pieces())


@app.get("/broken")
async def broken() -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"some"
        raise RuntimeError("the disk is gone")

    return StreamingResponse(pieces())


@app.get("/refused/{status}")
async def refused(status: int) -> None:
    raise HTTPException(status)


@app.get("/faulty")
async def faulty() -> None:
    raise LookupError("a fault")


def read(path: str, most: int | None = None, **headers: str) -> list[bytes]:
    async def collect() -> list[bytes]:
        found: list[bytes] = []
        async with opened(app, path, headers) as pieces:
            async for piece in pieces:
                found.append(piece)
                if most and len(found) == most:
                    break
        return found

    return asyncio.run(collect())


def test_an_answer_comes_piece_by_piece_with_the_callers_headers() -> None:
    found = [piece for piece in read("/many/x", accept="text/plain") if piece]
    assert found[0] == b"x text/plain 0\n"
    assert len(found) == 100


def test_names_may_hold_anything() -> None:
    assert (
        read("/many/manual__2026-11-21T10%3A00%3A00%2B00%3A00%20%C3%BC")[0]
        .decode()
        .startswith("manual__2026-11-21T10:00:00+00:00 ü ")
    )


def test_no_more_is_made_than_somebody_reads() -> None:
    made.clear()
    read("/many/x", most=1)
    assert len(made) <= AHEAD + 3


@pytest.mark.parametrize(
    ("status", "error"), [(404, NotFound), (500, Unavailable), (403, Unavailable), (503, Unavailable)]
)
def test_a_refusal_is_told_before_anything_is_sent(status: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        read(f"/refused/{status}")


@pytest.mark.parametrize(("path", "error"), [("/broken", RuntimeError), ("/faulty", LookupError)])
def test_an_answer_that_breaks_off_is_an_error_and_no_short_text(path: str, error: Any) -> None:
    with pytest.raises(error):
        read(path)
