"""Which runs are ended although their job was over before them. The rest is PostgreSQL's: tests/e2e."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from airflow.models.dagrun import DagRun
from airflow.utils.state import DagRunState
from sqlalchemy import select
from sqlalchemy.orm import Session

from portal.core import keeper
from portal.core.phases import RUN_OF_JOB
from store.sessions import now
from store.tables import Job

MOMENT = now()


@pytest.mark.parametrize(
    ("times", "state", "strays"),
    [
        ({"aborted_at": MOMENT}, DagRunState.RUNNING, True),
        ({"deleted_at": MOMENT}, DagRunState.QUEUED, True),
        ({"aborted_at": MOMENT}, DagRunState.FAILED, False),
        ({"aborted_at": MOMENT, "started_at": MOMENT}, DagRunState.RUNNING, False),
        ({}, DagRunState.QUEUED, False),
    ],
    ids=["aborted", "deleted", "ended", "cleared after an abort", "being started"],
)
def test_a_run_strays_that_began_after_its_job_was_over(
    database: Any, times: dict[str, datetime], state: DagRunState, *, strays: bool
) -> None:
    job = Job(
        id=7, owner="alice", workflow="hello_world", request={}, dag_id="hello_world", dag_run_id="uws-7-aa",
        created_at=MOMENT, destruction=MOMENT, notes={}, **times,
    )  # fmt: skip
    run = DagRun(dag_id="hello_world", run_id="uws-7-aa", run_type="manual", state=state, run_after=MOMENT)
    with Session(database) as session, session.begin():
        session.add_all([job, run])
        found = session.scalars(select(Job.id).outerjoin(DagRun, RUN_OF_JOB).where(keeper._is_stray()))
        assert list(found) == ([7] if strays else [])
