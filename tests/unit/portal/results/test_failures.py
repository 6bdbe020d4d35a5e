"""Errors in Airflow's structured logs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from airflow.models.dagrun import DagRun
from airflow.utils.state import DagRunState
from sqlalchemy import update
from sqlalchemy.orm import Session

from portal.core import jobs as rows
from portal.core import keeper
from portal.core.jobs import EXTERNAL, JobView
from portal.core.phases import Phase
from portal.core.service import Jobs
from portal.results import failures
from portal.results.failures import LINE, Failure, errors_in, failure_of, kept
from store.tables import Job
from tests.unit.portal.conftest import user
from tests.unit.portal.results.conftest import MOMENT
from tests.unit.portal.results.conftest import job as view


def entry(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_an_exception_is_told_by_what_it_says() -> None:
    first, cause = {"exc_type": "E", "exc_value": "no facility fits"}, {"exc_type": "K", "exc_value": "why"}
    line = entry(level="error", event="Task failed with exception", error_detail=[first, cause])
    assert list(errors_in(line)) == ["no facility fits"]


def test_an_error_without_exception_is_told_by_its_event() -> None:
    assert list(errors_in(entry(level="error", event="it broke", error_detail=None))) == ["it broke"]
    assert list(errors_in(entry(level="error", event="it broke", error_detail=[{"exc_value": ""}]))) == [
        "it broke"
    ]


@pytest.mark.parametrize("raw", [b"", b"plain text", b'"text"', b"[1]", entry(level="warning", event="oh")])
def test_everything_else_is_no_error(raw: bytes) -> None:
    assert list(errors_in(raw)) == []


def test_a_summary_is_one_line() -> None:
    assert Failure("a: b\n  c").summary == "a: b c"
    assert len(Failure("x" * 1000).summary) == LINE


class Airflow:
    """Has a run whose one task has failed, of which its log says `why`."""

    def __init__(self) -> None:
        self.why = "first"
        self.asked = 0

    async def tasks(self, _dag: str, _run: str) -> list[dict[str, Any]]:
        self.asked += 1
        return [{"task_id": "await_jobs", "state": "failed", "end_date": "x", "try_number": 1}]


class Run:
    """A job of alice whose run ends again and again."""

    def __init__(self, database: Any) -> None:
        self.database = database
        self.airflow = Airflow()
        self.jobs = Jobs(user("alice"), self.airflow)  # type: ignore[arg-type]
        self.ends = 0
        job = Job(
            id=7, owner="alice", workflow="hello_world", request={}, dag_id="hello_world", dag_run_id="r",
            created_at=MOMENT, started_at=MOMENT, destruction=MOMENT + timedelta(days=9999), notes={},
        )  # fmt: skip
        running = DagRunState.RUNNING
        run = DagRun(dag_id="hello_world", run_id="r", run_type="manual", state=running, run_after=MOMENT)
        with Session(database) as session, session.begin():
            session.add_all([job, run])

    def end(self, state: str, why: str = "") -> None:
        self.airflow.why, self.ends = why, self.ends + 1
        ended = update(DagRun).values(state=state, end_date=MOMENT + timedelta(hours=self.ends))
        with Session(self.database) as session, session.begin():
            session.execute(ended)

    def clear(self) -> None:
        with Session(self.database) as session, session.begin():
            session.execute(update(DagRun).values(state="running", end_date=None))

    @property
    def job(self) -> JobView:
        return self.jobs._get(7)

    def failure(self) -> str | None:
        found = asyncio.run(failure_of(self.job, self.jobs))
        return found.text if found else None


@pytest.fixture
def run(database: Any, monkeypatch: pytest.MonkeyPatch) -> Run:
    async def entries(airflow: Airflow, *_: Any) -> AsyncIterator[bytes]:
        yield entry(level="error", event=airflow.why)

    monkeypatch.setattr(failures, "entries", entries)
    return Run(database)


def test_a_reason_is_looked_up_once_for_each_end_of_a_run(run: Run) -> None:
    run.end("failed", "first")
    assert run.failure() == run.failure() == "await_jobs: first"
    assert run.airflow.asked == 1
    run.clear()
    assert run.failure() is None
    run.end("failed", "second")
    assert run.failure() == run.failure() == "await_jobs: second"
    assert run.airflow.asked == 2
    run.clear()
    run.end("success")
    assert run.failure() is None


def test_what_the_service_says_of_a_run_that_it_has_ended_is_told(run: Run, database: Any) -> None:
    run.end("failed", "first")
    assert run.failure() == "await_jobs: first"
    run.clear()
    with Session(database) as session, session.begin():
        row = rows.locked(session, 7)
        keeper._write(session, row, MOMENT, "its execution duration is over", is_destroyed=False)
    run.end("failed")
    assert run.job.phase is Phase.ABORTED
    assert run.failure() == "The job was ended: its execution duration is over (0 s)."


def test_who_clears_a_run_that_was_ended_gets_the_reason_of_its_own_end(run: Run, database: Any) -> None:
    with Session(database) as session, session.begin():
        row = rows.locked(session, 7)
        keeper._write(session, row, MOMENT, "its execution duration is over", is_destroyed=False)
        session.execute(update(DagRun).values(queued_at=MOMENT + timedelta(hours=1)))
    run.end("failed", "later")
    assert run.job.phase is Phase.ERROR
    assert run.failure() == "await_jobs: later"


def test_the_error_of_a_worker_is_told_as_it_is() -> None:
    for phase in (Phase.EXECUTING, Phase.ERROR):
        told = kept(view(phase=phase, dag_id=EXTERNAL, dag_run_id=None, error="why"))
        assert told == Failure("why")
