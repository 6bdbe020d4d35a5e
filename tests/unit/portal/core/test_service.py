"""Jobs that no run stands behind; the start of a run is in test_starts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import HTTPException
from sqlalchemy.orm import Session

from access import quotas
from esap_batch.limits import Limits
from portal.core import external
from portal.core.http import MAX_BODY
from portal.core.jobs import JobView
from portal.core.refusals import BadRequest
from portal.core.service import Jobs, Order
from store.tables import Job
from tests.unit.portal.conftest import user


@pytest.fixture
def alice(database: Any) -> Jobs:
    return Jobs(user("alice"), airflow=None)  # type: ignore[arg-type]  # nothing is started


def test_deleting_jobs_without_a_run_makes_room_for_others(
    alice: Jobs, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "limits", lambda: Limits(jobs_per_user=1))

    async def make() -> int:
        return (await alice.create(Order("hello_world", {"n_jobs": 1}), start=False)).id

    first = asyncio.run(make())
    with pytest.raises(HTTPException, match="jobs_per_user = 1 of alice"):
        asyncio.run(make())
    asyncio.run(alice.delete(first))
    with Session(database) as session:
        assert session.query(Job).count() == 0
    asyncio.run(make())


def test_fields_of_a_workers_job_are_together_no_more_than_one_request(alice: Jobs, database: Any) -> None:
    number = external.create("alice", "external.sum", {"first": "1"}, None, {})
    half = "x" * (MAX_BODY // 2)
    asyncio.run(alice.update(number, {"second": half}))
    asyncio.run(alice.update(number, {"second": half}))  # takes the place of the one before
    with pytest.raises(BadRequest, match=f"size of the parameters = .*: allowed at most {MAX_BODY} bytes"):
        asyncio.run(alice.update(number, {"third": half}))
    assert set(asyncio.run(alice.get(number)).request) == {"first", "second"}


def test_fields_that_another_tab_has_set_stay(alice: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    read = asyncio.run(alice.create(Order("hello_world", {"n_jobs": 1}), start=False))
    asyncio.run(alice.update(read.id, {"message": "of the other tab"}))
    views = [read]

    async def stale_first(job_id: int) -> JobView:
        return views.pop() if views else await Jobs.get(alice, job_id)

    monkeypatch.setattr(alice, "get", stale_first)
    changed = asyncio.run(alice.update(read.id, {"n_jobs": 3}))
    assert changed.request == {"n_jobs": 3, "message": "of the other tab"}
