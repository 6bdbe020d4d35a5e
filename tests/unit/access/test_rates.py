"""Requests of several users at several doors, counted for real."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Request

from access import rates
from access.callers import Caller, caller, nested, serving
from access.middleware import CallerMiddleware
from access.rates import RateLimits
from access.users import service_user
from esap_batch.limits import Limits

ALLOWED = Limits(5, 3, 65536, 2, 3)


@pytest.fixture
def app(user: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FastAPI]:
    async def who(request: Request) -> Any:
        name = request.headers.get("x-user", "")
        if not name:
            raise HTTPException(401)
        return service_user() if name == "service" else user(name)

    monkeypatch.setattr(rates, "current_user", who)
    monkeypatch.setattr(rates, "limits", lambda: ALLOWED)
    monkeypatch.setattr(rates, "_storage", lambda: "async+memory://")
    monkeypatch.setattr(rates, "_pause", rates._Pause())
    rates._limiter.cache_clear()
    made = FastAPI()

    @made.api_route("/{path:path}", methods=["GET", "POST"])
    async def serve(path: str) -> str:
        if path == "portal":
            transport = httpx.ASGITransport(app=nested(made))
            async with httpx.AsyncClient(transport=transport, base_url="http://airflow") as client:
                assert isinstance(caller(), Caller)
                return str([(await client.get("/x", headers={"x-user": "alice"})).status_code] * 9)
        return path

    made.add_middleware(RateLimits)
    made.add_middleware(CallerMiddleware)
    yield made
    rates._limiter.cache_clear()


def ask(app: FastAPI, *calls: tuple[str, str, str]) -> list[httpx.Response]:
    async def all_of_them() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow.test") as client:
            return [await client.request(m, path, headers={"x-user": who}) for who, m, path in calls]

    return asyncio.run(all_of_them())


def test_all_doors_count_together_and_each_user_apart(app: FastAPI) -> None:
    doors = ["/uws/jobs", "/esap-api/uws/jobs/", "/api/v2/dags", "/batch/jobs", "/ui/x"]
    answers = ask(app, *(("alice", "GET", d) for d in doors), ("alice", "GET", "/x"), ("bob", "GET", "/x"))
    assert [a.status_code for a in answers] == [200] * 5 + [429, 200]
    refused = answers[5]
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.json()["detail"].startswith("requests_per_minute = 5 of alice is used up: try again in ")


def test_changes_have_a_limit_of_their_own(app: FastAPI) -> None:
    answers = ask(app, *[("alice", "POST", "/esap-api/uws/jobs/")] * 4, ("alice", "GET", "/x"))
    assert [a.status_code for a in answers] == [200, 200, 200, 429, 200], "reading goes on"
    assert "changes_per_minute = 3 of alice" in answers[3].json()["detail"]


def test_a_door_that_speaks_text_is_answered_in_text(app: FastAPI) -> None:
    *_, refused = ask(app, *[("alice", "GET", "/uws/jobs")] * 6)
    assert refused.headers["content-type"] == "text/plain; charset=utf-8"
    assert refused.text.startswith("requests_per_minute = 5 of alice")


def test_the_service_and_those_who_are_nobody_are_not_counted(app: FastAPI) -> None:
    for name in ("service", ""):
        assert {a.status_code for a in ask(app, *[(name, "GET", "/x")] * 9)} == {200}


def test_what_the_portal_asks_of_airflow_is_part_of_the_users_request(app: FastAPI) -> None:
    (answer,) = ask(app, ("alice", "GET", "/portal"))
    assert answer.json() == str([200] * 9)


def test_a_request_that_begins_in_the_context_of_another_is_counted(app: FastAPI, user: Any) -> None:
    with serving(Caller(user=user("bob"))):
        answers = ask(app, *[("alice", "GET", "/x")] * 6)
    assert [a.status_code for a in answers] == [200] * 5 + [429]


def test_nobody_asks_who_a_task_of_the_service_is(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_request: Request) -> Any:
        pytest.fail("a task's token is no user's")

    monkeypatch.setattr(rates, "current_user", never)
    for path in ("/batch-broker/tokens", "/batch-broker/users/alice", "/batch-broker/history/runs"):
        assert ask(app, ("", "POST", path))[0].status_code == 200


def test_without_the_redis_that_is_named_nobody_is_turned_away(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rates, "_storage", lambda: "async+redis://:p%40ss@127.0.0.1:1/0")
    assert {a.status_code for a in ask(app, *[("alice", "GET", "/x")] * 9)} == {200}
    assert caplog.text.count("requests are not counted") == 1
    assert "p@ss" not in caplog.text


def test_a_redis_that_says_nothing_is_asked_once_in_a_while(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, nobody answers
        port = silent.getsockname()[1]
        monkeypatch.setattr(rates, "_storage", lambda: f"async+redis://127.0.0.1:{port}/0")
        assert {a.status_code for a in ask(app, *[("alice", "GET", "/x")] * 9)} == {200}
        assert caplog.text.count("requests are not counted for 10 s: Timeout") == 1
        monkeypatch.setattr(rates._pause, "_until", 0.0)
        assert ask(app, ("alice", "GET", "/x"))[0].status_code == 200
        assert caplog.text.count("requests are not counted") == 2, "asked again"
