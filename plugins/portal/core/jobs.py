"""The jobs of the portal in the database: found, listed and changed in a constant number of queries."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.models.dagrun import DagRun
from sqlalchemy import JSON, ColumnElement, Select, case, cast, delete, exists, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from access.quotas import require_room
from access.settings import campaigns
from esap_batch.workflows import workflow_names
from hooks.settings import config_dir
from portal.core.phases import RUN_OF_JOB, Phase, phase_column
from store.sessions import now
from store.tables import Job

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

LIFETIME = timedelta(days=30)  # of a job whose client asks for nothing else
LONGEST_LIFETIME = timedelta(days=365)
STANDING = (Phase.QUEUED, Phase.EXECUTING, Phase.HELD, Phase.SUSPENDED, Phase.UNKNOWN, Phase.COMPLETED)
# The note that tells which end of the run the kept error is about: a run may be cleared and end anew.
ERROR_OF = "error_of"
EXTERNAL = ""  # DAG of a job that a worker outside of Airflow does
Owners = Collection[str] | None  # whose jobs a caller may see; None for everybody's


@dataclass(frozen=True)
class JobView:
    """A job as a caller sees it: its row together with what Airflow knows of its run. Times in UTC."""

    id: int
    owner: str
    workflow: str
    run_label: str | None
    request: dict[str, Any]
    phase: Phase
    dag_id: str
    dag_run_id: str | None
    created_at: datetime
    started_at: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    destruction: datetime
    execution_duration: int
    quote: datetime | None
    error: str | None
    fingerprint: str | None
    notes: dict[str, Any]

    @property
    def is_external(self) -> bool:
        """Whether a worker outside of Airflow does the job (`portal.core.external`)."""
        return self.dag_id == EXTERNAL

    @property
    def run_key(self) -> str:
        """The run's name across DAGs, as products carry it in `esap_run`."""
        return f"{self.dag_id}/{self.dag_run_id}"


@dataclass(frozen=True)
class Wanted:
    """Which jobs of a list a caller wants (UWS 1.1, section 2.2.2.1).

    `after` is exclusive; `last` the number of most recent ones; without phases ARCHIVED ones are left out.
    `skip` so many of the most recent ones.
    """

    workflow: str | None = None
    phases: tuple[Phase, ...] = ()
    after: datetime | None = None
    last: int | None = None
    run_label: str | None = None
    skip: int = 0


def get(session: Session, job_id: int, owners: Owners) -> JobView | None:
    """Find a job; None when there is none that the caller may see."""
    found = session.execute(_views(now(), owners).where(Job.id == job_id)).one_or_none()
    return _view(found) if found else None


def listed(session: Session, wanted: Wanted, owners: Owners) -> list[JobView]:
    """List jobs, the oldest first: one query that makes rows of new runs, and one that lists."""
    adopt_runs(session, owners)
    moment = now()
    query = _chosen(_views(moment, owners), wanted, moment)
    query = query.order_by(Job.created_at.desc(), Job.id.desc()).limit(wanted.last).offset(wanted.skip)
    return [_view(row) for row in reversed(session.execute(query).all())]


def count(session: Session, wanted: Wanted, owners: Owners) -> int:
    """Count the jobs that are wanted, in whatever number of pages."""
    moment = now()
    query = _chosen(_views(moment, owners), wanted, moment)
    return session.scalar(select(func.count()).select_from(query.with_only_columns(Job.id).subquery())) or 0


def _chosen(query: Select[Any], wanted: Wanted, moment: datetime) -> Select[Any]:
    phase = phase_column(moment)
    query = query.where(phase.in_(wanted.phases) if wanted.phases else phase != Phase.ARCHIVED)
    if wanted.workflow:
        query = query.where(Job.workflow == wanted.workflow)
    if wanted.run_label is not None:
        query = query.where(Job.run_label == wanted.run_label)
    if wanted.after:
        query = query.where(Job.created_at > wanted.after)
    return query


def phases(session: Session, job_ids: Sequence[int]) -> dict[int, Phase]:
    """Give the phases of many jobs in one query, whoever they belong to."""
    query = select(Job.id, phase_column(now())).outerjoin(DagRun, RUN_OF_JOB).where(Job.id.in_(job_ids))
    return {number: Phase(phase) for number, phase in session.execute(query)}


def standing(session: Session, owner: str, fingerprint: str) -> JobView | None:
    """Find the user's own job of an equal request that runs or has its result."""
    moment = now()
    query = _views(moment, {owner}).where(Job.fingerprint == fingerprint, phase_column(moment).in_(STANDING))
    found = session.execute(query.order_by(Job.id.desc()).limit(1)).one_or_none()
    return _view(found) if found else None


def adopt_runs(session: Session, owners: Owners) -> None:
    """Make rows of runs that were started in Airflow, so that they are in the job list."""
    by_dag = campaigns()
    workflows = {name: name for name in workflow_names(config_dir())}
    workflows |= {dag_id: campaign.workflow for dag_id, campaign in by_dag.items()}
    owners_by_dag = {dag_id: campaign.owner for dag_id, campaign in by_dag.items()}
    by_campaign = [case(owners_by_dag, value=DagRun.dag_id)] if owners_by_dag else []
    owner = func.coalesce(*by_campaign, DagRun.triggering_user_name)
    created = func.date_trunc("milliseconds", func.coalesce(DagRun.created_at, DagRun.run_after))
    columns: dict[str, Any] = {
        "owner": owner,
        "workflow": case(workflows, value=DagRun.dag_id),
        "request": func.coalesce(cast(DagRun.conf, JSON), cast(literal("{}"), JSON)),
        "dag_id": DagRun.dag_id,
        "dag_run_id": DagRun.run_id,
        "created_at": created,
        "started_at": created,
        "destruction": created + literal(LIFETIME),
        "execution_duration": literal(0),
        "notes": cast(literal("{}"), JSON),
    }
    known = exists().where(Job.dag_id == DagRun.dag_id, Job.dag_run_id == DagRun.run_id)
    new = select(*columns.values()).where(DagRun.dag_id.in_(workflows), owner.is_not(None), ~known)
    if owners is not None:
        new = new.where(owner.in_(list(owners)))
    session.execute(insert(Job).from_select(list(columns), new).on_conflict_do_nothing())


def create(
    session: Session,
    owner: str,
    workflow: str,
    request: dict[str, Any],
    *,
    run_label: str | None = None,
    fingerprint: str | None = None,
    destruction: datetime | None = None,
    execution_duration: int = 0,
    quote: datetime | None = None,
    notes: dict[str, Any] | None = None,
    dag_id: str | None = None,
) -> int:
    """Make a job that is PENDING; give its id. Its DAG is that of its workflow unless one is named.

    HTTPException 429 when the owner has too many that have no run.
    """
    require_room(session, owner)
    moment = now()
    job = Job(
        owner=owner,
        workflow=workflow,
        run_label=run_label,
        request=request,
        fingerprint=fingerprint,
        dag_id=workflow if dag_id is None else dag_id,
        created_at=moment,
        destruction=destruction or moment + LIFETIME,
        execution_duration=execution_duration,
        quote=quote,
        notes=notes or {},
    )
    session.add(job)
    session.flush()
    return job.id


def change(session: Session, job_id: int, *conditions: ColumnElement[bool], **values: Any) -> bool:
    """Set columns of a job while conditions hold; False when they do not (another request was faster)."""
    done = session.execute(update(Job).where(Job.id == job_id, *conditions).values(**values))
    return bool(done.rowcount)  # type: ignore[attr-defined]


def locked(session: Session, job_id: int) -> Job | None:
    """Get a job's row as it is now, which nobody else changes before the end of the transaction."""
    return session.get(Job, job_id, with_for_update=True, populate_existing=True)


def discard(session: Session, job_id: int) -> None:
    """Remove a job that has no run."""
    session.execute(delete(Job).where(Job.id == job_id, Job.dag_run_id.is_(None)))


def fresh_token() -> str:
    """Make a one-time token of a job; only its hash is kept."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """Give what is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def _views(moment: datetime, owners: Owners) -> Select[*tuple[Any, ...]]:
    query = (
        select(Job, phase_column(moment), DagRun.start_date, DagRun.end_date)
        .outerjoin(DagRun, RUN_OF_JOB)
        .where(Job.deleted_at.is_(None))
    )
    return query if owners is None else query.where(Job.owner.in_(list(owners)))


def _view(row: Any) -> JobView:
    job, phase, start, end = row
    phase, told = Phase(phase), job.notes or {}
    start, end = start or _moment(told.get("start")), end or _moment(told.get("end"))
    return JobView(
        id=job.id,
        owner=job.owner,
        workflow=job.workflow,
        run_label=job.run_label,
        request=job.request or {},
        phase=phase,
        dag_id=job.dag_id,
        dag_run_id=job.dag_run_id if job.started_at else None,
        created_at=job.created_at,
        started_at=job.started_at,
        start_time=start,
        end_time=(end or job.aborted_at) if phase.is_final else None,
        destruction=job.destruction,
        execution_duration=job.execution_duration,
        quote=job.quote,
        error=job.error,
        fingerprint=job.fingerprint,
        notes=told,
    )


def _moment(text: str | None) -> datetime | None:
    """Read a time that the worker of an external job has told."""
    return datetime.fromisoformat(text) if text else None
