"""One run for each job, whoever else starts, ends, changes or deletes the job at the same time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from airflow.models.dagrun import DagRun
from airflow.utils.state import DagRunState
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from esap_batch.jobs import group_name
from portal.core import jobs, keeper, starts
from portal.core.jobs import JobView
from portal.core.phases import RUN_OF_JOB, Phase
from portal.core.refusals import Conflict, NotFound, TooMany, Unavailable
from portal.core.service import Jobs, Order
from store.sessions import now
from store.tables import Job, Table
from tests.unit.portal.conftest import user

Meanwhile = Callable[[], Awaitable[Any]]
HELLO = "hello_world"


class Airflow:
    """Keeps runs in the database. What else happens just before or after it makes one, a test says."""

    def __init__(self, database: Any) -> None:
        self.database = database
        self.before: list[Meanwhile] = []
        self.after: list[Meanwhile] = []
        self.is_away = False

    async def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any], note: str = "") -> None:
        while self.before:
            await self.before.pop(0)()
        if run_id in self.runs():
            raise Conflict(f"{run_id} is there")
        self.put(run_id, dict(conf), "alice")
        while self.after:
            await self.after.pop(0)()

    async def fail_run(self, dag_id: str, run_id: str, why: str) -> None:
        if self.is_away:
            raise Unavailable(why)
        with Session(self.database) as session, session.begin():
            failing = update(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
            if not session.execute(failing.values(state="failed")).rowcount:  # type: ignore[attr-defined]
                raise NotFound(f"{run_id} is not there")

    def put(self, run_id: str, conf: Mapping[str, Any], whose: str) -> None:
        run = DagRun(
            dag_id=HELLO,
            run_id=run_id,
            run_type="manual",
            state=DagRunState.QUEUED,
            run_after=now(),
            conf=conf,
            triggering_user_name=whose,
        )
        with Session(self.database) as session, session.begin():
            session.add(run)

    def runs(self) -> dict[str, str]:
        with Session(self.database) as session:
            return {run.run_id: str(run.state) for run in session.scalars(select(DagRun))}


@pytest.fixture
def airflow(database: Any) -> Airflow:
    return Airflow(database)


@pytest.fixture
def alice(airflow: Airflow) -> Jobs:
    return Jobs(user("alice"), airflow)  # type: ignore[arg-type]


def made(alice: Jobs, **request: Any) -> JobView:
    return asyncio.run(alice.create(Order(HELLO, request), start=False))


def start(alice: Jobs, job: JobView) -> JobView:
    return asyncio.run(alice.start(job.id))


def row(database: Any, job: JobView) -> Job:
    with Session(database) as session:
        return session.get_one(Job, job.id)


def refuse(error: Exception) -> Meanwhile:
    async def fail() -> None:
        raise error

    return fail


def test_a_number_that_comes_again_after_a_restore_leads_to_no_old_batch(alice: Jobs, database: Any) -> None:
    first = start(alice, made(alice, n_jobs=1))
    Table.metadata.drop_all(database)
    Table.metadata.create_all(database)
    with Session(database) as session, session.begin():
        session.execute(delete(DagRun))
    second = start(alice, made(alice, n_jobs=2))
    assert first.id == second.id
    names = [str(job.dag_run_id) for job in (first, second)]
    assert all(re.fullmatch(f"uws-{first.id}-[0-9a-f]{{8}}", name) for name in names), names
    assert len({group_name(HELLO, name, "submit_jobs") for name in names}) == 2


def test_a_start_that_died_is_taken_up_by_the_next(alice: Jobs, airflow: Airflow, database: Any) -> None:
    for died in (airflow.before, airflow.after):
        job = made(alice, n_jobs=1, message=str(died is airflow.before))
        died.append(refuse(RuntimeError("the process is killed")))
        with pytest.raises(RuntimeError):
            start(alice, job)
        name = row(database, job).dag_run_id
        assert alice._get(job.id).phase is Phase.PENDING
        assert start(alice, job).dag_run_id == name
    assert len(airflow.runs()) == 2


@pytest.mark.parametrize(("whose", "conf"), [("mallory", {"n_jobs": 1}), ("alice", {"n_jobs": 2})])
def test_a_run_that_is_not_the_jobs_does_not_pass_for_it(
    alice: Jobs, airflow: Airflow, database: Any, whose: str, conf: dict[str, Any]
) -> None:
    job = made(alice, n_jobs=1)

    async def squat() -> None:
        airflow.put(str(row(database, job).dag_run_id), conf, whose)

    airflow.before.append(squat)
    with pytest.raises(Conflict, match="is there"):
        start(alice, job)
    assert alice._get(job.id).phase is Phase.PENDING
    (squatted,) = airflow.runs()
    assert start(alice, job).dag_run_id not in (None, squatted)


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_is_aborted_while_it_starts_is_ended(alice: Jobs, airflow: Airflow, when: str) -> None:
    job = made(alice, n_jobs=1)
    getattr(airflow, when).append(lambda: alice.abort(job.id))
    with pytest.raises(Conflict, match="meanwhile"):
        start(alice, job)
    assert set(airflow.runs().values()) == {"failed"}
    found = alice._get(job.id)
    assert (found.phase, found.dag_run_id) == (Phase.ABORTED, *airflow.runs())


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_is_deleted_while_it_starts_is_ended(alice: Jobs, airflow: Airflow, when: str) -> None:
    job = made(alice, n_jobs=1)
    getattr(airflow, when).append(lambda: alice.delete(job.id))
    with pytest.raises(Conflict, match="meanwhile"):
        start(alice, job)
    assert set(airflow.runs().values()) == {"failed"}
    with pytest.raises(NotFound):
        alice._get(job.id)


def test_a_run_that_cannot_be_ended_yet_is_left_to_the_keeper(alice: Jobs, airflow: Airflow) -> None:
    job = made(alice, n_jobs=1)

    async def abort() -> None:
        await alice.abort(job.id)
        airflow.is_away = True

    airflow.before.append(abort)
    with pytest.raises(Unavailable):
        start(alice, job)
    assert alice._get(job.id).phase is Phase.ABORTED
    with Session(airflow.database) as session:
        strays = select(Job.id).outerjoin(DagRun, RUN_OF_JOB).where(keeper._is_stray())
        assert list(session.scalars(strays)) == [job.id]


def test_parameters_stay_while_the_job_starts(alice: Jobs, airflow: Airflow) -> None:
    job = made(alice, n_jobs=1)

    async def change() -> None:
        with pytest.raises(Conflict, match="cannot be changed"):
            await alice.update(job.id, {"n_jobs": 2})

    airflow.before.append(change)
    assert start(alice, job).request == {"n_jobs": 1}


@pytest.mark.parametrize("column", ["aborted_at", "archived_at", "deleted_at", "request"])
def test_nothing_is_started_that_was_changed_since_it_was_read(
    alice: Jobs, database: Any, column: str
) -> None:
    job = made(alice, n_jobs=1)
    with Session(database) as session, session.begin():
        value = {"n_jobs": 2} if column == "request" else now()
        session.execute(update(Job).where(Job.id == job.id).values({column: value}))
    with pytest.raises(Conflict, match="not started"):
        starts.claim(job, "fingerprint")
    assert row(database, job).dag_run_id is None


def test_two_who_start_a_job_start_one_run(alice: Jobs, airflow: Airflow) -> None:
    job = made(alice, n_jobs=1)
    airflow.before.append(lambda: alice.start(job.id))
    assert start(alice, job).phase is Phase.QUEUED
    assert len(airflow.runs()) == 1
    assert starts.claim(job, "fingerprint") is None


def test_a_refused_start_leaves_the_job_as_it_was(alice: Jobs, airflow: Airflow, database: Any) -> None:
    job = made(alice, n_jobs=1)
    airflow.before.append(refuse(TooMany("too many runs", "60")))
    with pytest.raises(TooMany):
        start(alice, job)
    assert row(database, job).dag_run_id is None
    assert asyncio.run(alice.update(job.id, {"n_jobs": 2})).request == {"n_jobs": 2}


def test_a_run_whose_name_was_taken_back_does_not_go_on(alice: Jobs, airflow: Airflow, database: Any) -> None:
    """Another tab's start of the same job was refused, and its request changed, while this one was made."""
    job = made(alice, n_jobs=1)

    async def change() -> None:
        name = str(row(database, job).dag_run_id)
        assert starts.release(job, name)
        await alice.update(job.id, {"n_jobs": 2})

    airflow.before.append(change)
    with pytest.raises(Conflict, match="meanwhile"):
        start(alice, job)
    assert list(airflow.runs().values()) == ["failed"]
    found = alice._get(job.id)
    assert (found.phase, found.request) == (Phase.PENDING, {"n_jobs": 2})
    with Session(database) as session:
        assert jobs.phases(session, [job.id]) == {job.id: Phase.PENDING}
