from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Request
from starlette.responses import StreamingResponse

from portal.core.airflow_api import AirflowApi
from portal.results.logs import START, LogText, tail, task_log
from tests.unit.portal.results.conftest import job, task

LINES: list[dict[str, Any]] = [
    {"timestamp": None, "event": "::group::Log message source details"},
    {"timestamp": None, "event": "/var/log/airflow/attempt=1.log"},
    {"timestamp": None, "event": "::endgroup::"},
    {"timestamp": "2026-11-21T10:00:00.123Z", "event": "::group::Pre Execute", "level": "info"},
    {"timestamp": "2026-11-21T10:00:00.200Z", "event": "DAG bundles loaded", "level": "info"},
    {"timestamp": "2026-11-21T10:00:00.300Z", "event": "::endgroup::", "level": "info"},
    {"timestamp": "2026-11-21T10:00:01.123Z", "event": "jobs 1 of 2 done", "level": "info"},
    {
        "timestamp": "2026-11-21T10:00:02Z",
        "event": "Task failed with exception",
        "level": "error",
        "error_detail": [
            {
                "exc_type": "AirflowFailException",
                "exc_value": "1 of 2 jobs failed",
                "frames": [{"filename": "jobs.py", "lineno": 7, "name": "execute"}],
            }
        ],
    },
]
WRITTEN = [
    "2026-11-21T10:00:01 INFO jobs 1 of 2 done\n",
    "2026-11-21T10:00:02 ERROR Task failed with exception\n",
    "    jobs.py:7 in execute\n",
    "    AirflowFailException: 1 of 2 jobs failed\n",
]


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> AirflowApi:
    """An API of Airflow's shape that has logs of the first two tries; pieces end in the middle of lines."""
    app = FastAPI()

    @app.get("/api/v2/dags/cta_irf/dagRuns/{run}/taskInstances/{name}/logs/{number}")
    async def log(run: str, name: str, number: int, request: Request) -> StreamingResponse:
        if number > 2 or run != "uws-7" or request.headers["authorization"] != "Bearer alice":
            raise HTTPException(404)
        text = "".join(json.dumps(line) + "\n" for line in LINES).encode()

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(text), 7):
                yield text[start : start + 7]

        return StreamingResponse(pieces())

    monkeypatch.setitem(sys.modules, "airflow.api_fastapi.main", SimpleNamespace(app=app))
    return AirflowApi({"authorization": "Bearer alice"})


def collected(lines: AsyncIterator[str]) -> list[str]:
    async def collect() -> list[str]:
        return [line async for line in lines]

    return asyncio.run(collect())


def test_a_log_is_text_without_paths_of_the_server(airflow: AirflowApi) -> None:
    found = collected(task_log(airflow, job(), task("await_jobs")))
    assert found == ["2026-11-21T10:00:00 INFO DAG bundles loaded\n", *WRITTEN]


def test_every_try_is_in_it_also_those_whose_log_is_gone(airflow: AirflowApi) -> None:
    found = collected(task_log(airflow, job(), task("await_jobs", tries=3)))
    assert [line for line in found if line.startswith("===")] == [
        "=== try 1 of 3 ===\n",
        "=== try 2 of 3 ===\n",
        "=== try 3 of 3 ===\n",
    ]
    assert found.count(WRITTEN[0]) == 2
    assert found[-1] == "(this log is gone)\n"


def test_the_tail_is_of_the_last_try_and_leaves_the_start_out(airflow: AirflowApi) -> None:
    found = asyncio.run(tail(airflow, job(), task("await_jobs", tries=2), 10))
    assert found == [line.rstrip("\n") for line in WRITTEN]
    assert asyncio.run(tail(airflow, job(), task("await_jobs"), 1)) == [WRITTEN[-1].rstrip("\n")]


def test_the_caller_reads_with_the_callers_rights(airflow: AirflowApi) -> None:
    airflow.headers["authorization"] = "Bearer bob"
    assert collected(task_log(airflow, job(), task("await_jobs"))) == ["(this log is gone)\n"]


@pytest.mark.parametrize(
    ("raw", "written"),
    [
        (b"", []),
        (b"not JSON \xff", ["not JSON \ufffd\n"]),
        (b'"just text"', ["just text\n"]),
        (b'{"event": "a"}', ["a\n"]),
        (b'{"event": null, "level": "info"}', ["INFO None\n"]),
    ],
)
def test_lines_of_any_kind_are_shown(raw: bytes, written: list[str]) -> None:
    assert list(LogText().lines(raw)) == written


def test_a_group_that_is_left_out_ends_where_it_ends() -> None:
    text = LogText((START,))
    found = [line for one in LINES for line in text.lines(json.dumps(one).encode())]
    assert "DAG bundles loaded" not in "".join(found)
    assert "attempt=1.log" in found[0]
