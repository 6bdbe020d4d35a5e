"""What stands outermost, before a small app with the other middleware in between."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, HTTPException

from access.callers import caller, nested
from access.middleware import CallerMiddleware, SameOriginMiddleware
from access.observer import Act, Observer, _observing, note
from esap_batch.metrics import REQUESTS, Metric
from hooks import metrics


def app() -> FastAPI:
    made = FastAPI()

    @made.post("/uws/jobs/{number}/phase")
    def abort(number: int) -> str:  # a thread of its own
        who: Any = caller()
        who.user = SimpleNamespace(name="bob")
        note("job.abort", job=number, owner="alice")
        note("job.submit")
        if number == 1:
            raise HTTPException(404)
        if number == 2:
            raise RuntimeError("broken")
        return "done"

    @made.post("/batch/new")
    async def within() -> int:
        transport = httpx.ASGITransport(app=nested(made))
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow") as client:
            return (await client.post("/uws/jobs/7/phase")).status_code

    @made.get("/uws/jobs")
    def look() -> str:
        return "[]"

    for middleware in (CallerMiddleware, SameOriginMiddleware, Observer):
        made.add_middleware(middleware)
    return made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ESAP_AUDIT_DIR", str(tmp_path))
    return tmp_path


def ask(method: str, path: str, **headers: str) -> int:
    async def call() -> int:
        transport = httpx.ASGITransport(app=app(), raise_app_exceptions=False, client=("192.0.2.7", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow.test") as client:
            return (await client.request(method, path, headers=headers)).status_code

    return asyncio.run(call())


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in folder.iterdir() for line in file.read_text().splitlines()]


@pytest.mark.parametrize(
    ("number", "status", "outcome"), [(7, 200, "done"), (1, 404, "refused"), (2, 500, "failed")]
)
def test_an_act_is_told_with_its_end(folder: Path, number: int, status: int, outcome: str) -> None:
    assert ask("POST", f"/uws/jobs/{number}/phase") == status
    (line,) = lines(folder)
    wanted = {"act": "job.abort", "user": "bob", "job": number, "owner": "alice", "outcome": outcome}
    assert wanted.items() <= line.items()
    assert (line["address"], line["status"]) == ("192.0.2.7", status)


def test_what_another_site_tries_is_told(folder: Path) -> None:
    headers = {"Cookie": "_token=x", "Sec-Fetch-Site": "cross-site"}
    assert ask("POST", "/uws/jobs/7/phase", **headers) == 403
    (line,) = lines(folder)
    assert (line["act"], line["user"], line["outcome"]) == ("job.phase", "", "refused")


def test_a_request_of_the_portals_own_is_part_of_the_users(folder: Path) -> None:
    assert ask("POST", "/batch/new") == 200
    (line,) = lines(folder)
    assert (line["act"], line["job"], line["address"]) == ("job.abort", 7, "192.0.2.7")


def test_what_begins_in_the_context_of_another_request_is_told(folder: Path) -> None:
    with _observing(before := Act("job.submit")):
        assert ask("POST", "/uws/jobs/7/phase") == 200
    (line,) = lines(folder)
    assert (line["act"], line["job"]) == ("job.abort", 7)
    assert before.facts == {}


def test_each_of_two_pipelined_requests_is_told(folder: Path) -> None:
    asked = b"POST /uws/jobs/%d/phase HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n%s\r\n"

    async def call() -> bytes:
        server = uvicorn.Server(uvicorn.Config(app(), log_config=None))
        with socket.create_server(("127.0.0.1", 0)) as door:
            running = asyncio.create_task(server.serve([door]))
            reader, writer = await asyncio.open_connection(*door.getsockname())
            writer.write(asked % (7, b"") + asked % (8, b"Connection: close\r\n"))
            answer = await reader.read()
            writer.close()
            server.should_exit = True
            await running
        return answer

    assert asyncio.run(call()).count(b"200 OK") == 2
    assert [line["job"] for line in lines(folder)] == [7, 8]


def test_reading_is_measured_and_not_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[tuple[Metric, dict[str, str]]] = []
    monkeypatch.setattr("access.observer.count", lambda metric, **labels: counted.append((metric, labels)))
    assert ask("GET", "/uws/jobs") == 200
    assert lines(folder) == []
    assert counted == [(REQUESTS, {"door": "uws", "outcome": "accepted"})]


def test_without_monitoring_requests_are_served_and_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_HOST", "statsd.invalid")
    monkeypatch.setattr(metrics, "_sender", metrics._Sender())
    assert ask("POST", "/uws/jobs/7/phase") == 200
    assert len(lines(folder)) == 1


def test_outside_of_requests_there_is_nothing_to_note() -> None:
    note("job.abort", job=1)
