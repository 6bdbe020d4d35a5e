"""The addresses of results where what is remembered and what is there differ; the rest is in tests/e2e."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from hooks.storage_element import StorageElement
from portal.core.http import as_text, harden
from portal.pages.job import _failed
from portal.results import routes
from portal.results.listing import Stored
from tests.unit.portal.results.conftest import finished, job


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Where reports are now; that there are some is remembered."""
    places: dict[str, str] = {}

    async def stored(*_: Any) -> Stored:
        return Stored(reports={"submit_jobs": 10})

    monkeypatch.setattr(routes, "read_run", lambda _job: finished())
    monkeypatch.setattr(routes, "stored", stored)
    monkeypatch.setattr(routes, "report_places", lambda _run: places)
    monkeypatch.setattr("portal.pages.job.report_places", lambda _run: places)
    return places


@pytest.fixture
def http(places: dict[str, str]) -> TestClient:
    app = FastAPI()
    app.include_router(routes.router)
    found = routes.Found(None, job(), None)  # type: ignore[arg-type]
    app.dependency_overrides[routes._found] = lambda: found
    return TestClient(harden(app, as_text))


def test_reports_whose_place_is_not_known_any_more_are_not_there(http: TestClient) -> None:
    answer = http.get("/jobs/7/reports/submit_jobs")
    assert answer.status_code == 404
    assert "no reports of task 'submit_jobs' any more" in answer.text
    assert _failed(finished(), Stored(reports={"submit_jobs": 10})) == []


def test_storage_that_is_slow_holds_up_nobody_else(
    http: TestClient, places: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def size(_self: StorageElement, _pfn: str) -> None:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()

    monkeypatch.setattr(StorageElement, "size", size)
    places["submit_jobs"] = "file://localhost:0/nowhere"
    assert http.get("/jobs/7/reports/submit_jobs").status_code == 404
