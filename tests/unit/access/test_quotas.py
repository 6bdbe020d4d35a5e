"""Runs written to a real database (SQLite) for somebody's request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from airflow.models.dagrun import DagRun
from airflow.models.tasklog import LogTemplate
from airflow.utils.state import DagRunState, State
from airflow.utils.types import DagRunType
from fastapi import HTTPException
from sqlalchemy import create_engine, event, select
from sqlalchemy.orm import Session

from access import people, quotas
from access.callers import Caller, serving
from access.quotas import guard_runs
from access.users import service_user
from esap_batch.limits import Limits
from store.sessions import now
from store.tables import Job

MEMBERS = {"alice": {"ctao/users"}, "bob": {"ctao/users"}, "dave": {"km3net/users"}}


@pytest.fixture
def session(known: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    engine = create_engine("sqlite://")
    for model in (DagRun, LogTemplate):
        model.__table__.create(engine)
    monkeypatch.setattr(quotas, "limits", lambda: Limits(9, 9, 65536, 2, 3, 4))
    monkeypatch.setattr(quotas, "identities", lambda: known)
    groups = {name: frozenset(own) for name, own in MEMBERS.items()}
    monkeypatch.setattr(quotas, "groups_by_user", lambda _session: groups)
    monkeypatch.setattr(people, "_groups", None)
    guard_runs()
    with Session(engine) as session:
        yield session
    event.remove(Session, "before_flush", quotas._before_flush)


def start(session: Session, user: Any, number: int, state: DagRunState = DagRunState.QUEUED) -> None:
    with serving(Caller(changes=True, user=user)):
        name = user.get_name() if user else None
        session.add(
            DagRun(
                dag_id="hello_world", run_id=f"{(name or 'nobody').strip('()')}-{number}",
                run_type=DagRunType.MANUAL, state=state, triggering_user_name=name,
            )
        )  # fmt: skip
        session.flush()
    session.commit()


def test_the_third_run_of_a_user_at_a_time_is_one_too_many(session: Session, user: Any) -> None:
    for number in (1, 2):
        start(session, user("alice"), number)
    with pytest.raises(HTTPException) as refused:
        start(session, user("alice"), 3)
    assert (refused.value.status_code, refused.value.headers) == (429, {"Retry-After": "60"})
    assert refused.value.detail == "runs_per_user = 2 of alice is used up: try again in 60 s"
    session.rollback()
    start(session, user("dave"), 1)


def test_members_of_an_experiment_share_its_limit(session: Session, user: Any) -> None:
    start(session, user("alice"), 1)
    start(session, user("alice"), 2)
    start(session, user("bob"), 1)
    with pytest.raises(HTTPException, match="runs_per_experiment = 3 of ctao"):
        start(session, user("bob"), 2)


def test_what_has_ended_does_not_count(session: Session, user: Any) -> None:
    for number in range(4):
        start(session, user("alice"), number, DagRunState.SUCCESS)
    start(session, user("alice"), 9)


def test_jobs_that_have_no_run_are_limited(session: Session) -> None:
    def make(number: int, owner: str, run: str | None = None) -> None:
        quotas.require_room(session, owner)
        job = Job(
            owner=owner, workflow="hello_world", request={}, dag_id="hello_world", dag_run_id=run,
            created_at=now(), destruction=now(), notes={}, id=number,
        )  # fmt: skip
        session.add(job)
        session.flush()

    Job.metadata.create_all(session.get_bind())
    for number in range(8):
        make(number, "alice", f"run {number}")
    for number in range(10, 14):
        make(number, "alice")
    with pytest.raises(HTTPException, match="jobs_per_user = 4 of alice is used up") as refused:
        make(20, "alice", "another")
    assert refused.value.status_code == 429
    for deleted in session.scalars(select(Job).where(Job.id >= 10)):
        deleted.deleted_at = now()
    make(20, "alice")
    make(30, "bob")
    session.delete(session.get(Job, 10))
    make(40, "alice")


def clear(session: Session, by: Any, *, state: DagRunState = DagRunState.QUEUED, again: bool = True) -> None:
    """Do what Airflow's "clear" does to all runs, or end them."""
    with serving(None):
        runs = session.scalars(select(DagRun).order_by(DagRun.run_id)).all()
    with serving(Caller(changes=True, user=by)):
        for run in runs:
            if again is (run.state in State.finished_dr_states):
                run.state = state
        session.flush()
    session.commit()


def test_a_run_that_begins_again_counts(session: Session, user: Any) -> None:
    for number in range(3):
        start(session, user("alice"), number, DagRunState.SUCCESS)
    with pytest.raises(HTTPException, match="runs_per_user = 2 of alice"):
        clear(session, user("alice"))
    session.rollback()
    with pytest.raises(HTTPException, match="runs_per_user = 2 of alice"):
        clear(session, user("olga"))
    session.rollback()
    clear(session, service_user())


def test_begun_again_and_new_runs_count_together(session: Session, user: Any) -> None:
    start(session, user("alice"), 1, DagRunState.FAILED)
    clear(session, user("alice"))
    start(session, user("alice"), 2)
    clear(session, user("alice"), state=DagRunState.RUNNING, again=False)
    with pytest.raises(HTTPException, match="runs_per_user = 2 of alice"):
        start(session, user("alice"), 3)
    session.rollback()
    clear(session, user("alice"), state=DagRunState.FAILED, again=False)
    start(session, user("alice"), 4)


def test_an_experiments_runs_that_begin_again_count(session: Session, user: Any) -> None:
    for name in ("alice", "bob"):
        for number in (1, 2):
            start(session, user(name), number, DagRunState.FAILED)
    with pytest.raises(HTTPException, match="runs_per_experiment = 3 of ctao"):
        clear(session, user("olga"))


def test_nobodys_runs_and_the_services_are_not_limited(session: Session) -> None:
    for number in range(4):
        start(session, service_user(), number)
        start(session, None, number)
