"""Steering files: stored apart from any job, found by id or fingerprint, and made jobs of again.

A file comes in one of three shapes: `{"workflow", "request"}` as every run's own steering file has it, ESAP's
flat `{"workflow": "CONCORDIA", "Parameters": {...}}`, or the bare fields of a request whose workflow is told.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, or_, select
from starlette.concurrency import run_in_threadpool

from esap_batch import flat_steering
from esap_batch.errors import MISSING, Problem
from esap_batch.request import resolve
from esap_batch.use_cases.registry import use_case
from portal.core.offers import typed
from portal.core.refusals import BadRequest, Conflict, NotFound
from portal.core.service import fingerprint_of, problems_of, workflow_for, workflows_of
from store.sessions import now, transaction
from store.tables import Job, Steering

if TYPE_CHECKING:
    from access.users import EsapUser
    from portal.core.jobs import JobView
    from portal.core.service import Jobs

WORKFLOW, REQUEST, TITLE = "workflow", "request", "title"
VERSION = "steering_version"  # only a run's own file has it, beside much else
MOST_STORED = 1000  # of one user
LONGEST_TITLE = 200
FINGERPRINT = re.compile(r"[0-9a-f]{64}")
OF_JOB = re.compile(r"job-([1-9][0-9]{0,17})")
VALIDATE = "validate_request"


@dataclass(frozen=True)
class Asked:
    """What a steering file asks for: a typed request of a workflow."""

    workflow: str
    request: dict[str, Any]
    title: str = ""


@dataclass(frozen=True)
class SteeringFile:
    """A steering file that is stored, or that of a job (`job_id`)."""

    id: str
    workflow: str
    title: str
    fingerprint: str | None
    document: Mapping[str, Any]
    created_at: datetime
    job_id: int | None = None


def read(document: Mapping[str, Any], user: EsapUser, workflow: str | None = None) -> Asked:
    """Find out what a file asks for; `workflow` is what the caller has named, if anything.

    BadRequest, NotFound or Forbidden when that is not clear, or nothing the user may run. The request itself
    is not checked here.
    """
    named = document.get(WORKFLOW, workflow)
    if not isinstance(named, str) or (workflow and named not in (workflow, flat_steering.WORKFLOW)):
        allowed = workflow or ", ".join(workflows_of(user)) or "none"
        raise BadRequest([Problem(WORKFLOW, document.get(WORKFLOW, MISSING), allowed, "")])
    title = document.get(TITLE, "")
    if not isinstance(title, str) or len(title) > LONGEST_TITLE:
        raise BadRequest([Problem(TITLE, title, f"text of at most {LONGEST_TITLE} characters", "")])
    if flat_steering.PARAMETERS in document:
        return _flat(document, user, workflow or named, title)
    if REQUEST in document:
        request = document[REQUEST]
        _require_known(document)
    else:
        request = {k: v for k, v in document.items() if k not in (WORKFLOW, TITLE)}
    if not isinstance(request, dict):
        raise BadRequest([Problem(REQUEST, request, "an object", "")])
    workflow_for(user, named)
    return Asked(named, request, title)


async def store(user: EsapUser, document: Mapping[str, Any], workflow: str | None = None) -> SteeringFile:
    """Keep a file that could be run as it is; BadRequest with all that is wrong with it."""
    asked = read(document, user, workflow)
    found = workflow_for(user, asked.workflow)
    if problems := problems_of(asked.request, found):
        raise BadRequest(problems)
    row = Steering(
        id=str(uuid.uuid4()),
        owner=user.get_name(),
        workflow=asked.workflow,
        title=asked.title or found.title,
        fingerprint=fingerprint_of(asked.request, found, user.get_name()),
        document=dict(document),
        created_at=now(),
    )

    def keep() -> SteeringFile:
        with transaction() as session:
            mine = select(func.count()).select_from(Steering).where(Steering.owner == row.owner)
            if (session.scalar(mine) or 0) >= MOST_STORED:
                raise Conflict(f"{MOST_STORED} steering files are stored, which is the most: delete some")
            session.add(row)
            session.flush()
            return _of_row(row)

    return await run_in_threadpool(keep)


async def stored(
    user: EsapUser,
    *,
    workflow: str | None,
    fingerprint: str | None,
    keyword: str | None,
    skip: int,
    most: int,
) -> tuple[list[SteeringFile], int]:
    """List the user's own files, the newest first: a page of them, and how many there are in all."""
    mine = [Steering.owner == user.get_name()]
    if workflow:
        mine.append(Steering.workflow == workflow)
    if fingerprint:
        mine.append(Steering.fingerprint == fingerprint)
    if keyword:
        columns = (Steering.title, Steering.workflow)
        mine.append(or_(*(c.icontains(keyword, autoescape=True) for c in columns)))

    def look() -> tuple[list[SteeringFile], int]:
        with transaction() as session:
            total = session.scalar(select(func.count()).select_from(Steering).where(*mine)) or 0
            newest = select(Steering).where(*mine).order_by(Steering.created_at.desc(), Steering.id)
            return [_of_row(row) for row in session.scalars(newest.offset(skip).limit(most))], total

    return await run_in_threadpool(look)


async def find(jobs: Jobs, key: str) -> SteeringFile:
    """Find a file by id or fingerprint, or that of a job by `job-<id>`; NotFound for files of others."""
    if of_job := OF_JOB.fullmatch(key):
        return await of(jobs, await jobs.get(int(of_job[1])))
    if row := await run_in_threadpool(_stored, jobs.user, key):
        return row
    if FINGERPRINT.fullmatch(key) and (number := await run_in_threadpool(_job_with, jobs.user, key)):
        return await of(jobs, await jobs.get(number))
    raise NotFound(f"there is no steering file {key[:80]!r}: allowed are an id, a fingerprint, job-<number>")


async def of(jobs: Jobs, job: JobView) -> SteeringFile:
    """Give the steering file of a job: what its run has written, or would write if it began now."""
    if job.is_external:
        raise NotFound(f"job {job.id} is done by a worker outside: it has no steering file")
    document = await _written(jobs, job) if job.dag_run_id else None
    document = document or _would_be(jobs, job)
    if job.fingerprint and document["fingerprint"] != job.fingerprint and not job.dag_run_id:
        raise NotFound(f"the steering file of job {job.id} is gone: its software is not that of today")
    title = job.run_label or f"job {job.id}"
    return SteeringFile(
        f"job-{job.id}", job.workflow, title, document["fingerprint"], document, job.created_at, job.id
    )


async def delete(user: EsapUser, key: str) -> None:
    """Forget a stored file; Conflict for that of a job."""
    if OF_JOB.fullmatch(key):
        raise Conflict(f"{key} belongs to a job: delete the job")

    def forget() -> bool:
        with transaction() as session:
            row = session.get(Steering, key)
            if row is None or row.owner != user.get_name():
                return False
            session.delete(row)
            return True

    if not await run_in_threadpool(forget):
        raise NotFound(f"there is no steering file {key[:80]!r}")


def _flat(document: Mapping[str, Any], user: EsapUser, named: str, title: str) -> Asked:
    mine = [name for name in workflows_of(user) if use_case(name).convert]
    if named == flat_steering.WORKFLOW:
        if len(mine) != 1:
            why = "several take this file" if mine else "you may run none that takes this file"
            raise BadRequest([Problem(WORKFLOW, named, ", ".join(mine) or "none", why)])
        named = mine[0]
    workflow = workflow_for(user, named)
    if named not in mine:
        raise BadRequest([Problem(WORKFLOW, named, ", ".join(mine) or "none", "it takes no flat file")])
    flat = {**document, WORKFLOW: flat_steering.WORKFLOW}
    converted = flat_steering.convert(flat, workflow)
    if converted.problems:
        raise BadRequest(problems_of(flat, workflow))
    return Asked(named, dict(converted.conf), title)


def _require_known(document: Mapping[str, Any]) -> None:
    if VERSION in document:
        return
    known = (WORKFLOW, REQUEST, TITLE, *flat_steering.DESCRIPTIVE)
    unknown = [
        Problem(n, v, ", ".join(known), "no such field") for n, v in document.items() if n not in known
    ]
    if unknown:
        raise BadRequest(unknown)


async def _written(jobs: Jobs, job: JobView) -> dict[str, Any] | None:
    """Give what the first task of the job's run has written; None when it has not, or the run is gone."""
    path = f"/dags/{job.dag_id}/dagRuns/{job.dag_run_id}/taskInstances/{VALIDATE}/xcomEntries/return_value"
    try:
        answer = await jobs.airflow.get(path, deserialize="true")
    except NotFound:
        return None
    return dict(answer["value"]) if isinstance(answer["value"], dict) else None


def _would_be(jobs: Jobs, job: JobView) -> dict[str, Any]:
    workflow = workflow_for(jobs.user, job.workflow)
    if problems := problems_of(job.request, workflow):
        told = "; ".join(str(p) for p in problems)
        raise Conflict(f"job {job.id} is {job.phase}, and its request is not complete: {told}")
    return resolve(typed(job.request, workflow), workflow, job.owner, job.run_key)


def _stored(user: EsapUser, key: str) -> SteeringFile | None:
    with transaction() as session:
        same = or_(Steering.id == key, Steering.fingerprint == key)
        newest = select(Steering).where(Steering.owner == user.get_name(), same)
        row = session.scalars(newest.order_by(Steering.created_at.desc()).limit(1)).first()
        return _of_row(row) if row else None


def _job_with(user: EsapUser, fingerprint: str) -> int | None:
    with transaction() as session:
        mine = (Job.owner == user.get_name(), Job.fingerprint == fingerprint, Job.deleted_at.is_(None))
        return session.scalar(select(Job.id).where(*mine).order_by(Job.id.desc()).limit(1))


def _of_row(row: Steering) -> SteeringFile:
    return SteeringFile(row.id, row.workflow, row.title, row.fingerprint, row.document, row.created_at)
