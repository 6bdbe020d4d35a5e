"""Jobs that a worker outside of Airflow does, as ESAP's own workers do: the worker tells their phase.

A worker has no login. It shows the job's one-time token, which is good for this one job until it is final.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from portal.core import jobs
from portal.core.jobs import EXTERNAL, JobView
from portal.core.phases import Phase
from portal.core.refusals import BadRequest, Conflict, Refusal
from store.sessions import now, transaction
from store.tables import Job

TYPE = re.compile(r"external(\.[A-Za-z0-9_-]{1,40})?")  # `external`, or `external.` and what its worker does
ALLOWED_TYPE = "external, or external. and a name of at most 40 letters, digits, _ and -"
MAX_RESULTS = 200
LONGEST_ERROR = 20_000  # characters of a worker's own report
_FROM = {
    Phase.EXECUTING: (Phase.QUEUED, Phase.EXECUTING),
    Phase.COMPLETED: (Phase.EXECUTING,),
    Phase.ERROR: (Phase.QUEUED, Phase.EXECUTING),
}


class TokenRefused(Refusal):
    """The token is not, or no more, that of this job."""

    status = 401


def is_external(type_: str) -> bool:
    """Tell whether jobs of this type are done by somebody else's worker."""
    return TYPE.fullmatch(type_) is not None


def create(
    owner: str, type_: str, parameters: Mapping[str, Any], run_label: str | None, notes: Mapping[str, Any]
) -> int:
    """Make a job for a worker; it is PENDING until its owner starts it."""
    with transaction() as session:
        return jobs.create(
            session, owner, type_, dict(parameters), run_label=run_label, notes=dict(notes), dag_id=EXTERNAL
        )


def issue_token(job_id: int) -> str | None:
    """Give a job its token; None when it has one, which nobody can be told again."""
    with transaction() as session:
        token = jobs.fresh_token()
        free = Job.token_hash.is_(None)
        return token if jobs.change(session, job_id, free, token_hash=jobs.token_hash(token)) else None


def job_of(job_id: int, token: str) -> JobView:
    """Find the job of a token; TokenRefused for a wrong one, and for any when the job is final."""
    with transaction() as session:
        known = select(Job.id).where(Job.id == job_id, Job.token_hash == jobs.token_hash(token))
        found = jobs.get(session, job_id, None) if session.scalar(known) else None
    if found is None or found.phase.is_final:
        raise TokenRefused(f"this token is not good for job {job_id}, or the job is over")
    return found


def set_phase(job: JobView, phase: Phase) -> JobView:
    """Tell the phase of a job as its worker; Conflict for one that does not follow."""
    if not job.is_external:
        if phase is job.phase:
            return job
        raise Conflict(f"job {job.id} is {job.phase}, which its run in Airflow decides: it cannot be {phase}")

    def step(row: Job) -> dict[str, Any]:
        moment = now().isoformat()
        notes = {**row.notes, "phase": phase.value}
        notes.setdefault("start", moment)
        return {**notes, "end": moment} if phase.is_final else notes

    return _write(job.id, _FROM[phase], f"be {phase}", step)


def add_results(job: JobView, results: Sequence[Mapping[str, Any]]) -> JobView:
    """Add results to a job as its worker; one of a known key takes the place of the earlier one."""
    if not job.is_external:
        raise Conflict(f"job {job.id} is {job.phase}: its results are those of its run")

    def step(row: Job) -> dict[str, Any]:
        known = {r["key"]: dict(r) for r in row.notes.get("results", ())}
        known |= {str(r["key"]): dict(r) for r in results}
        if len(known) > MAX_RESULTS:
            raise BadRequest(f"results: allowed are at most {MAX_RESULTS} for a job")
        return {**row.notes, "results": list(known.values())}

    return _write(job.id, (Phase.QUEUED, Phase.EXECUTING), "get results", step)


def set_error(job: JobView, summary: str) -> JobView:
    """Say as the worker what went wrong; the phase is told apart."""
    if not job.is_external:
        raise Conflict(f"job {job.id} is {job.phase}: what goes wrong in it is told by its run")

    def step(row: Job) -> dict[str, Any]:
        row.error = summary[-LONGEST_ERROR:]
        return dict(row.notes)

    return _write(job.id, (Phase.QUEUED, Phase.EXECUTING), "get an error", step)


def _write(job_id: int, allowed: Sequence[Phase], what: str, step: Any) -> JobView:
    """Change a row that nobody else changes meanwhile, if its phase allows it."""
    with transaction() as session:
        row = jobs.locked(session, job_id)
        found = jobs.get(session, job_id, None)
        if row is None or found is None or found.phase not in allowed:
            phase = found.phase if found else "gone"
            wanted = " or ".join(allowed)
            raise Conflict(f"job {job_id} is {phase}: it can {what} while it is {wanted}")
        row.notes = step(row)
        session.flush()
        changed = jobs.get(session, job_id, None)
        assert changed is not None
        if changed.phase.is_final:
            row.token_hash = None
        return changed
