"""What stands before every request."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from access.callers import Caller, caller, serving
from access.middleware import CallerMiddleware, SameOriginMiddleware, reads_only

COOKIE = {"Cookie": "_token=x"}


def app() -> FastAPI:
    made = FastAPI()

    @made.api_route("/{path:path}", methods=["GET", "POST"])
    def look(path: str) -> Any:  # a thread of its own
        who = caller()
        return None if who is None else {"changes": who.changes, "user": who.user}

    for middleware in (CallerMiddleware, SameOriginMiddleware, CallerMiddleware):
        made.add_middleware(middleware)
    return made


def ask(method: str, path: str, **headers: str) -> httpx.Response:
    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app=app())
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow.test") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(call())


def test_a_request_begins_with_nobody_and_ends_with_none() -> None:
    assert ask("GET", "/api/v2/dags").json() == {"changes": False, "user": None}
    assert caller() is None


@pytest.mark.parametrize("path", ["/execution/task-instances/1/run", "/execution"])
def test_tasks_are_not_limited(path: str) -> None:
    assert ask("POST", path).json() is None


def test_a_task_is_not_taken_for_the_caller_before_it() -> None:
    with serving(Caller()):
        assert ask("POST", "/execution/task-instances/1/run").json() is None


@pytest.mark.parametrize("path", ["/executions", "/api/v2/execution/", "/ui/execution", "//execution/x"])
def test_nothing_else_passes_for_a_task(path: str) -> None:
    assert ask("GET", path).json() is not None


@pytest.mark.parametrize(
    ("method", "path", "reads"),
    [
        ("GET", "/api/v2/dags", True),
        ("HEAD", "/api/v2/dags", True),
        ("POST", "/api/v2/dags/~/dagRuns/list", True),
        ("POST", "/api/v2/dags/x/dagRuns", False),
        ("POST", "/uws/jobs/list", False),
        ("PATCH", "/api/v2/dags/x/dagRuns/list", False),
        ("DELETE", "/api/v2/dags/x/dagRuns/y", False),
    ],
)
def test_what_reads(method: str, path: str, reads: bool) -> None:
    assert reads_only(method, path) is reads


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://airflow.test"}, 403),
        ({"Origin": "http://airflow.test"}, 200),
        ({"Origin": "http://airflow.test:81"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://airflow.test.evil"}, 403),
    ],
)
def test_another_sites_page_cannot_use_the_cookie(headers: dict[str, str], status: int) -> None:
    assert ask("POST", "/uws", **COOKIE, **headers).status_code == status
    assert ask("GET", "/uws", **COOKIE, **headers).status_code == 200
    assert ask("POST", "/uws", Authorization="Bearer x", **COOKIE, **headers).status_code == 200
    assert ask("POST", "/uws", **headers).status_code == 200, "no cookie, nothing to misuse"


def test_a_cookie_header_that_cannot_be_read_is_no_way_around() -> None:
    odd = {"Cookie": "a[]=1; _token=x; \x07", "Sec-Fetch-Site": "cross-site"}
    assert ask("POST", "/uws", **odd).status_code == 403


def test_a_refusal_says_how_to_come_in() -> None:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app=CallerMiddleware(refuse))
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow.test") as client:
            return await client.get("/")

    assert asyncio.run(call()).headers["www-authenticate"] == 'Bearer realm="esap-batch"'
