"""Limits of a real service, as a user of their own runs into them."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from access.settings import limits
from localgrid.grid import Grid
from tests.e2e.tokens import Mint

AT_ONCE = 16


@pytest.fixture
def stranger(grid: Grid) -> Iterator[httpx.Client]:
    """Give a client of a user whom no other test knows."""
    token = Mint(grid.info).token(f"limited-{uuid.uuid4().hex[:8]}")
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=grid.info["airflow"]["url"], headers=headers, timeout=60) as client:
        yield client


def test_changes_at_one_door_count_at_all(stranger: httpx.Client) -> None:
    allowed = limits().changes_per_minute

    def change(_: int) -> int:
        return stranger.post("/esap-api/uws/jobs/0/phase/", json={}).status_code

    with ThreadPoolExecutor(AT_ONCE) as pool:  # all within the minute, however busy the machine is
        answers = Counter(pool.map(change, range(allowed + AT_ONCE)))
    assert set(answers) <= {400, 404, 422, 429}
    assert answers[429] >= AT_ONCE
    for path in ("/uws/jobs", "/esap-api/uws/jobs/", "/api/v2/dags/hello_world/dagRuns", "/batch/new/x"):
        refused = stranger.post(path, json={})
        assert refused.status_code == 429, (path, refused.text)
        assert f"changes_per_minute = {allowed} of limited-" in refused.text
        assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert stranger.get("/uws/jobs").status_code == 200, "reading goes on"


def test_a_body_that_is_too_large_is_not_read(stranger: httpx.Client) -> None:
    allowed = limits().airflow_body_bytes
    conf = {"message": "x" * allowed}
    refused = stranger.post("/api/v2/dags/hello_world/dagRuns", json={"logical_date": None, "conf": conf})
    assert refused.status_code == 413
    assert str(allowed) in refused.json()["detail"]
    pieces = (b"x" * 65536 for _ in range(allowed // 65536 + 2))
    refused = stranger.post("/api/v2/dags/hello_world/dagRuns", content=pieces)
    assert refused.status_code == 413
