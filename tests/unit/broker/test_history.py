"""Who may ask the API server to delete, and which jobs and audit files go; runs are in e2e/workflows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.models.dagrun import DagRun
from airflow.models.tasklog import LogTemplate
from airflow.utils.types import DagRunType

from broker import history
from broker.history import _delete_audit
from hooks.broker import SERVICE
from store.sessions import now
from store.tables import Job
from tests.unit.broker.conftest import Database, Site
from tests.unit.broker.test_tasks import FORGED, task_token

DOORS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("GET", "/history/runs?days=9", {}),
    ("POST", "/history/delete", {"days": 9, "runs": ["a/b"]}),
    ("POST", "/history/records", {"days": 9, "audit_days": 9}),
)


def ask(site: Site, door: tuple[str, str, dict[str, Any]], token: str | None) -> int:
    method, path, body = door
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return int(site.client.request(method, path, json=body or None, headers=headers).status_code)


@pytest.mark.parametrize("door", DOORS, ids=lambda d: d[1])
def test_a_task_of_a_user_may_not(site: Site, door: tuple[str, str, dict[str, Any]]) -> None:
    assert ask(site, door, task_token("alice")) == 403


@pytest.mark.parametrize("door", DOORS, ids=lambda d: d[1])
@pytest.mark.parametrize("forged", FORGED)
def test_nobody_else_may(site: Site, door: tuple[str, str, dict[str, Any]], forged: str) -> None:
    assert ask(site, door, FORGED[forged]) == 401


@pytest.mark.parametrize("days", [0, -1, 10**9])
def test_an_impossible_age_deletes_nothing(site: Site, days: int) -> None:
    token = task_token(SERVICE)
    assert ask(site, ("POST", "/history/delete", {"days": days, "runs": []}), token) == 400
    assert ask(site, ("POST", "/history/records", {"days": days, "audit_days": 9}), token) == 400


@pytest.mark.parametrize("column", ["deleted_at", "archived_at"])
@pytest.mark.parametrize(
    ("age", "run", "goes"),
    [(11, None, True), (11, "gone", True), (11, "there", False), (9, "gone", False), (None, "gone", False)],
)
def test_a_job_goes_that_was_deleted_or_archived_long_ago_and_has_no_run(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    column: str,
    age: int | None,
    run: str | None,
    goes: bool,
) -> None:
    for model in (LogTemplate, DagRun):
        model.__table__.create(database.engine)
    monkeypatch.setattr(history, "transaction", database.transaction)
    moment, dag = now(), "hello_world"
    ended = {} if age is None else {column: moment - timedelta(days=age)}
    with database.transaction() as session:
        session.add(DagRun(dag_id=dag, run_id="there", run_type=DagRunType.MANUAL))
        session.add(
            Job(
                owner="alice", workflow=dag, request={}, dag_id=dag, dag_run_id=run, created_at=moment,
                destruction=moment, notes={}, **ended,
            )
        )  # fmt: skip
    assert history._delete_jobs(10) == goes


def test_of_the_audit_log_only_days_that_are_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESAP_AUDIT_DIR", str(tmp_path))
    today = datetime.now(UTC).date()
    names = [f"audit-{today - timedelta(days=n)}.jsonl" for n in (0, 5, 20)] + ["audit-x.jsonl", "notes.txt"]
    for name in names:
        (tmp_path / name).write_text("{}\n")
    assert _delete_audit(10) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted({*names} - {names[2]})
