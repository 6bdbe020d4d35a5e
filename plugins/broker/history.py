"""What housekeeping's tasks let the API server delete: they have no database of their own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, HTTPException, Query, status
from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select

from access.callers import serving
from access.observer import note
from broker.tasks import TaskUser
from hooks.audit import FILE, audit_dir
from hooks.broker import SERVICE
from store.sessions import now, transaction
from store.tables import Job

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)
router = APIRouter(prefix="/history", include_in_schema=False)
Days = Annotated[int, Field(ge=1, le=36_500)]
LARGEST = 2**63 - 1
ENDED = ("success", "failed")
# Records that belong to no run. Those of a run go with it.
RECORDS = ("job", "import_error", "revoked_token", "callback", "celery_taskmeta", "celery_tasksetmeta")
EVENTS = ("log",)


class Runs(BaseModel):
    """Runs, as `dag_id/run_id`, that ended more than `days` ago."""

    days: Days
    runs: list[Annotated[str, Field(max_length=600)]] = Field(max_length=1000)


class Ages(BaseModel):
    """From which age on records go; those that say who did what have one of their own."""

    days: Days
    audit_days: Days


def _require_service(task: str) -> None:
    note(user=task)
    if task != SERVICE:
        raise HTTPException(status.HTTP_403_FORBIDDEN, f"the task acts for {task}: housekeeping only")


@router.get("/runs")
def runs(
    task: TaskUser,
    days: Annotated[int, Query(ge=1, le=36_500)],
    after: Annotated[int, Query(ge=0, le=LARGEST)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> dict[str, Any]:
    """List old runs, of which `last` is the number to go on after."""
    _require_service(task)
    from airflow.models.dagrun import DagRun

    query = select(DagRun.id, DagRun.dag_id, DagRun.run_id).where(_is_over(days), DagRun.id > after)
    with serving(None), transaction() as session:
        found = session.execute(query.order_by(DagRun.id).limit(limit)).all()
    return {"runs": [f"{dag}/{run}" for _, dag, run in found], "last": found[-1][0] if found else after}


@router.post("/delete")
def delete_runs(task: TaskUser, wanted: Runs) -> dict[str, list[str]]:
    """Delete runs that still are as old as they are said to be; gives those."""
    _require_service(task)
    deleted = []
    for name in wanted.runs:
        dag_id, _, run_id = name.partition("/")
        with serving(None), transaction() as session:
            if _delete(session, dag_id, run_id, wanted.days):
                deleted.append(name)
    note(runs=len(deleted))
    log.info("housekeeping has deleted %d runs", len(deleted))
    return {"deleted": deleted}


def _delete(session: Session, dag_id: str, run_id: str, days: int) -> bool:
    from airflow.models.dagrun import DagRun

    named = select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id, _is_over(days))
    found = session.scalar(named.with_for_update(of=DagRun, skip_locked=True))  # else the scheduler has it
    if found is None:
        return False
    session.delete(found)
    return True


def _is_over(days: int) -> ColumnElement[bool]:
    from airflow.models.dagrun import DagRun

    ended = func.coalesce(DagRun.end_date, DagRun.updated_at)
    return and_(DagRun._state.in_(ENDED), ended < now() - timedelta(days=days))


@router.post("/records")
def delete_records(task: TaskUser, ages: Ages) -> dict[str, int]:
    """Delete old records, jobs that have long been deleted or archived, and old files of the audit log."""
    _require_service(task)
    with serving(None):
        _clean(RECORDS, ages.days)
        _clean(EVENTS, ages.audit_days)
        jobs = _delete_jobs(ages.days)
    return {"jobs": jobs, "audit_files": _delete_audit(ages.audit_days)}


def _delete_jobs(days: int) -> int:
    """Delete jobs that have been deleted or archived for so long; gives how many.

    Not while there is the run: a run without its job would be listed as a new one.
    """
    from airflow.models.dagrun import DagRun

    before = now() - timedelta(days=days)
    run = exists().where(DagRun.dag_id == Job.dag_id, DagRun.run_id == Job.dag_run_id)
    gone = delete(Job).where(or_(Job.deleted_at < before, Job.archived_at < before), ~run)
    with transaction() as session:
        return int(session.execute(gone).rowcount)  # type: ignore[attr-defined]


def _clean(tables: Sequence[str], days: int) -> None:
    from airflow.utils.db_cleanup import run_cleanup
    from pendulum import instance

    run_cleanup(
        table_names=list(tables),
        clean_before_timestamp=instance(now() - timedelta(days=days)),
        confirm=False,
        skip_archive=True,
        error_on_cleanup_failure=True,
    )


def _delete_audit(days: int) -> int:
    """Delete the days of the audit log that are over; gives how many. Other files are left alone."""
    last = datetime.now(UTC).date() - timedelta(days=days)
    old = [path for path in audit_dir().glob(FILE.format("*")) if (day := _day_of(path.name)) and day < last]
    for path in old:
        path.unlink()
    return len(old)


def _day_of(name: str) -> date | None:
    before, after = FILE.split("{}")
    try:
        return date.fromisoformat(name.removeprefix(before).removesuffix(after))
    except ValueError:
        return None
