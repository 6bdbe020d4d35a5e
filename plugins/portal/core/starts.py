"""The run of a job: named before Airflow is asked for it, so that of all who start the job one run comes.

Between the name and Airflow's answer somebody else may end or change the job. Each looks at the row after
the other's step, under its lock, so that no run goes on of which its job does not tell.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from airflow.models.dagrun import DagRun
from sqlalchemy import select, update

from portal.core import jobs
from portal.core.refusals import Conflict
from store.sessions import now, transaction
from store.tables import Job

if TYPE_CHECKING:
    from portal.core.jobs import JobView


def claim(job: JobView, fingerprint: str) -> str | None:
    """Name the run of a job that is about to be started; None when it has been started meanwhile.

    Whoever starts the job again gets the same name. Conflict when the job has ended, or asks for something
    else, since it was read.
    """
    with transaction() as session:
        row = jobs.locked(session, job.id)
        if row is None or _has_ended(row) or (row.request or {}) != job.request:
            raise Conflict(f"job {job.id} has been ended or changed meanwhile: it is not started")
        if row.started_at:
            return None
        # Numbers come again after a restore, and can be foreseen: neither may lead to the run of another job.
        row.dag_run_id = row.dag_run_id or f"uws-{job.id}-{secrets.token_hex(4)}"
        row.fingerprint = fingerprint
        return row.dag_run_id


def release(job: JobView, run_id: str) -> bool:
    """Take the name back of a run that was refused; False when the job has its run all the same."""
    with transaction() as session:
        row = jobs.locked(session, job.id)
        if row is None:
            return True
        mine = select(DagRun.conf).where(DagRun.dag_id == row.dag_id, DagRun.run_id == run_id)
        found = session.execute(mine.where(DagRun.triggering_user_name == row.owner)).one_or_none()
        if found and (found.conf or {}) == job.request:
            return False
        if row.dag_run_id == run_id and row.started_at is None:
            row.dag_run_id = None
        return True


def settle(job_id: int, run_id: str) -> bool:
    """Note that Airflow has made the run; False when it must be ended, since the job was, or has changed."""
    with transaction() as session:
        row = jobs.locked(session, job_id)
        if row is None or row.dag_run_id != run_id:
            return False
        if row.started_at:
            return True
        if _has_ended(row):
            return False  # never started: the keeper ends the run if nobody else does
        row.started_at = now()
        return True


def end(job_id: int) -> str | None:
    """Mark a job as aborted; gives the name of its run, also of one that is only about to be made."""
    with transaction() as session:
        mark = update(Job).where(Job.id == job_id).values(aborted_at=now())
        return session.scalar(mark.returning(Job.dag_run_id))


def _has_ended(row: Job) -> bool:
    return any((row.aborted_at, row.archived_at, row.deleted_at))
