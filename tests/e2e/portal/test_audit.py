"""The audit log of a real service: what people have done, and what they were refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from hooks.audit import FILE
from localgrid.grid import Grid
from tests.e2e.conftest import Runs
from tests.e2e.uws import Uws, number
from tests.uws_schema import HREF


@pytest.fixture
def acts(grid: Grid) -> Callable[..., list[dict[str, Any]]]:
    """Give a function that finds the lines of some job or user, the oldest first."""

    def find(**wanted: Any) -> list[dict[str, Any]]:
        files = sorted(Path(grid.home, "airflow", "audit").glob(FILE.format("*")))
        lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        return [line for line in lines if wanted.items() <= line.items()]

    return find


def short(lines: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(line["act"], line["user"], line["outcome"]) for line in lines]


def test_a_job_from_its_making_to_its_end(
    users: Callable[[str], Runs], acts: Callable[..., Any], wait_for: Any
) -> None:
    alice, dave = Uws(users("alice").api), Uws(users("dave").api)
    path = alice.make()
    job = int(number(path))
    alice.post(f"{path}/phase", PHASE="RUN")
    dave.refused("POST", f"{path}/phase", 404, data={"PHASE": "ABORT"})
    wait_for(lambda: alice.phase(path) == "COMPLETED", 240)
    result = next(r for r in alice.results(path).values() if "/results/" in r.get(HREF))
    assert alice.fetch(result).status_code == 200
    # A line is written after the answer has gone out.
    wait_for(lambda: acts(job=job, act="result.download"))
    lines = acts(job=job)
    assert short(lines)[:3] == [
        ("job.create", "alice", "done"),
        ("job.submit", "alice", "done"),
        ("job.phase", "dave", "refused"),
    ]
    assert lines[1]["run"] == f"hello_world/{alice.run_id(path)}"
    assert lines[2]["status"] == 404
    assert short(lines)[-1] == ("result.download", "alice", "done")
    assert {line["address"] for line in lines} == {"127.0.0.1"}
    used = [line for line in acts(act="credential.use", user="alice") if line["time"] > lines[1]["time"]]
    assert used, "the run's tasks have used alice's credentials, or asked for them"
    assert used[0]["system"].startswith(("dirac:", "iam", "x509"))


def test_acts_at_airflows_own_door(
    alice: Runs, users: Callable[[str], Runs], acts: Any, wait_for: Any
) -> None:
    run = alice.start("hello_world", message="for the audit log", behaviour="slow", duration_s=600)
    refused = users("dave").api.call("PATCH", f"/dags/hello_world/dagRuns/{run}", json={"state": "failed"})
    assert refused.status_code in (403, 404)
    alice.api.set_state("hello_world", run, "failed")
    assert alice.end("hello_world", run) == "failed"
    wait_for(lambda: acts(run=f"hello_world/{run}", user="alice"))
    assert short(acts(run=f"hello_world/{run}")) == [
        ("run.end", "dave", "refused"),
        ("run.end", "alice", "done"),
    ]


def test_who_is_nobody_is_told_as_nobody(alice: Runs, acts: Any, wait_for: Any) -> None:
    before = len(acts(user="", outcome="refused"))
    answer = httpx.post(f"{alice.api.url}/uws/jobs", headers={"Authorization": "Bearer forged"})
    assert answer.status_code == 401
    wait_for(lambda: len(acts(user="", outcome="refused")) > before)
    assert len(acts(user="", outcome="refused")) == before + 1


def test_no_line_has_a_secret(grid: Grid, alice: Runs) -> None:
    text = "".join(p.read_text() for p in Path(grid.home, "airflow", "audit").iterdir())
    for secret in (alice.api.token, *grid.layout.passwords.values(), *map(str, grid.layout.secrets.values())):
        assert secret not in text
    assert "eyJ" not in text, "nothing that looks like a token"
