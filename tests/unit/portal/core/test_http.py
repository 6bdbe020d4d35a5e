"""Bodies that are too large, at Airflow's own doors and at ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from portal.core.http import AirflowLimits

ALLOWED = 1000


def app() -> FastAPI:
    made = FastAPI()

    @made.post("/{path:path}")
    def take(path: str, body: dict[str, Any]) -> int:
        return len(body)

    made.add_middleware(AirflowLimits, doors=("/uws",), max_body=ALLOWED)
    return made


async def pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 100):
        yield b" " * 100


def post(path: str, content: Any) -> httpx.Response:
    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app=app())
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow.test") as client:
            kind = {"Content-Type": "application/json"}
            return await client.post(path, content=content, headers=kind)

    return asyncio.run(call())


@pytest.mark.parametrize("content", [b" " * (ALLOWED + 1), pieces(2 * ALLOWED)])
def test_too_much_is_refused_announced_or_not(content: Any) -> None:
    refused = post("/api/v2/dags/x/dagRuns", content)
    assert refused.status_code == 413
    assert refused.json() == {"detail": f"body of the request: allowed are at most {ALLOWED} bytes"}


@pytest.mark.parametrize("path", ["/uws/jobs", "/execution/xcoms/1"])
def test_doors_with_limits_of_their_own_and_tasks_pass(path: str) -> None:
    assert post(path, b'{"a": 1}' + b" " * ALLOWED).status_code == 200


def test_what_is_allowed_passes() -> None:
    assert post("/api/v2/variables", b'{"a": "%s"}' % (b"x" * (ALLOWED - 10))).json() == 1
