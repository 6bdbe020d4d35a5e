"""Many submissions of one user in the same moment, in a real PostgreSQL: not one run more than allowed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from airflow.models.dagrun import DagRun
from airflow.models.tasklog import LogTemplate
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunType
from fastapi import HTTPException
from sqlalchemy import Engine, create_engine, event, func, select
from sqlalchemy.orm import Session
from sqlalchemy.schema import CreateSchema, CreateTable, DropSchema

from access import quotas
from access.callers import Caller, serving
from access.quotas import guard_runs
from access.users import EsapUser
from esap_batch.identity import load_identities
from esap_batch.limits import Limits
from hooks.settings import config_dir
from localgrid.grid import Grid
from localgrid.setup import postgres

SCHEMA, ALLOWED, AT_ONCE = "quota_test", 3, 12


@pytest.fixture
def engine(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Make Airflow's table of runs once more, in a schema of the test's own and bound to nothing else."""
    url = postgres.url(grid.layout, "airflow", "psycopg2")
    made = create_engine(url, connect_args={"options": f"-csearch_path={SCHEMA}"}, pool_size=AT_ONCE)
    with made.begin() as connection:
        connection.execute(DropSchema(SCHEMA, cascade=True, if_exists=True))
        connection.execute(CreateSchema(SCHEMA))
        for model in (LogTemplate, DagRun):
            connection.execute(CreateTable(model.__table__, include_foreign_key_constraints=[]))
    monkeypatch.setattr(quotas, "limits", lambda: Limits(9, 9, 65536, ALLOWED, 100))
    monkeypatch.setattr(quotas, "groups_by_user", lambda _session: {"alice": frozenset({"ctao/users"})})
    guard_runs()
    yield made
    event.remove(Session, "before_flush", quotas._before_flush)
    with made.begin() as connection:
        connection.execute(DropSchema(SCHEMA, cascade=True))
    made.dispose()


def test_submissions_at_once_do_not_overshoot(engine: Engine) -> None:
    identity = load_identities(config_dir() / "identity.yaml").identity_from_groups("alice", ["ctao/users"])
    alice = EsapUser("alice", identity)

    def submit(number: int) -> int:
        run = DagRun(
            dag_id="hello_world", run_id=f"r{number}", run_type=DagRunType.MANUAL,
            state=DagRunState.QUEUED, triggering_user_name="alice",
        )  # fmt: skip
        with serving(Caller(changes=True, user=alice)), Session(engine) as session:
            session.add(run)
            try:
                session.commit()
            except HTTPException as refused:
                return refused.status_code
            return 200

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(submit, range(AT_ONCE)))
    assert sorted(answers) == [200] * ALLOWED + [429] * (AT_ONCE - ALLOWED)
    with Session(engine) as session:
        assert session.scalar(select(func.count()).select_from(DagRun)) == ALLOWED
