"""What can be done with jobs, whatever dialect asks: made, started, ended, deleted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool

from access.observer import note
from access.rights import visible_owners
from esap_batch import acts
from esap_batch.errors import MISSING, Problem
from esap_batch.flat_steering import Converted, examined
from esap_batch.identity import IdentityRefused
from esap_batch.request import resolve
from esap_batch.use_cases.registry import use_case
from esap_batch.workflows import Workflow, load_workflow, workflow_names
from hooks.settings import config_dir
from portal.core import jobs, starts
from portal.core.airflow_api import AirflowApi
from portal.core.http import MAX_BODY
from portal.core.jobs import ERROR_OF, LONGEST_LIFETIME, JobView, Wanted
from portal.core.phases import Phase
from portal.core.refusals import BadRequest, Conflict, Forbidden, NotFound, Refusal
from store.sessions import now, transaction
from store.tables import Job

if TYPE_CHECKING:
    from access.users import EsapUser

LABEL_LENGTH = 200


@dataclass(frozen=True)
class Order:
    """A job that is asked for. `request` is typed; what is None is left to the service."""

    workflow: str
    request: Mapping[str, Any]
    run_label: str | None = None
    destruction: datetime | None = None
    execution_duration: int = 0
    quote: datetime | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


def workflow_for(user: EsapUser, name: str) -> Workflow:
    """Find a workflow that the user may run; NotFound or Forbidden."""
    if name not in workflow_names(config_dir()):
        allowed = ", ".join(sorted(workflows_of(user))) or "none"
        raise NotFound(f"workflow = {name!r}: allowed are {allowed}")
    try:
        user.identity.require_workflow(name)
    except IdentityRefused as refusal:
        raise Forbidden(str(refusal)) from None
    return load_workflow(config_dir(), name)


def workflows_of(user: EsapUser) -> list[str]:
    """Name the workflows that the user may run."""
    known, may = workflow_names(config_dir()), user.identity.workflows
    return [name for name in known if user.identity.is_admin or name in may]


def problems_of(request: Mapping[str, Any], workflow: Workflow) -> list[Problem]:
    """Check a request as its run will."""
    return list(_examined(request, workflow).problems)


def fingerprint_of(request: Mapping[str, Any], workflow: Workflow, owner: str) -> str:
    """Give the fingerprint of a request that has no problems."""
    return _fingerprint(_examined(request, workflow), workflow, owner)


def _examined(request: Mapping[str, Any], workflow: Workflow) -> Converted:
    case = use_case(workflow.name)
    return examined(dict(request), workflow, case.check, case.convert)


def _fingerprint(request: Converted, workflow: Workflow, owner: str) -> str:
    return str(resolve(request.conf, workflow, owner, "")["fingerprint"])


class Jobs:
    """The jobs that one caller may see and change."""

    def __init__(self, user: EsapUser, airflow: AirflowApi) -> None:
        self.user = user
        self.airflow = airflow

    async def get(self, job_id: int) -> JobView:
        """Find a job; NotFound also for one of somebody else."""
        return await run_in_threadpool(self._get, job_id)

    def _get(self, job_id: int) -> JobView:
        with transaction() as session:
            found = jobs.get(session, job_id, visible_owners(session, self.user))
        if found is None:
            raise NotFound(f"there is no job {job_id}")
        return found

    async def list(self, wanted: Wanted) -> Sequence[JobView]:
        return await run_in_threadpool(self._list, wanted)

    def _list(self, wanted: Wanted) -> Sequence[JobView]:
        with transaction() as session:
            return jobs.listed(session, wanted, visible_owners(session, self.user))

    async def create(self, order: Order, *, start: bool) -> JobView:
        """Make a job, and start it if asked to; an equal one of the same user is given instead.

        A job that is not started may lack fields. Nothing is made of a request with problems.
        """
        note(acts.JOB_SUBMIT if start else acts.JOB_CREATE, workflow=order.workflow)
        workflow = workflow_for(self.user, order.workflow)
        require_label(order.run_label)
        request = _examined(order.request, workflow)
        wrong = [p for p in request.problems if start or p.value is not MISSING]
        if wrong:
            raise BadRequest(wrong)
        fingerprint = None if request.problems else _fingerprint(request, workflow, self.user.get_name())
        found = await run_in_threadpool(self._find_or_make, order, fingerprint)
        _note_job(found)
        if not start or found.phase is not Phase.PENDING:
            return found
        try:
            return await self.start(found.id)
        except Refusal:  # nothing is left of a job that could not be made as asked
            await run_in_threadpool(self._discard, found.id)
            raise

    def _find_or_make(self, order: Order, fingerprint: str | None) -> JobView:
        owner = self.user.get_name()
        with transaction() as session:
            same = jobs.standing(session, owner, fingerprint) if fingerprint else None
            if same and not order.request.get("force"):
                return same
            number = jobs.create(
                session, owner, order.workflow, dict(order.request), run_label=order.run_label,
                fingerprint=fingerprint, destruction=lifetime(order.destruction),
                execution_duration=order.execution_duration, quote=order.quote, notes=dict(order.notes),
            )  # fmt: skip
        return self._get(number)

    async def start(self, job_id: int) -> JobView:
        """Start a job that is PENDING; one that runs, or has its result, is given as it is.

        Clients make a job and then start it: what they were given may be a standing equal one.
        """
        note(acts.JOB_SUBMIT, job=job_id)
        job = await self.get(job_id)
        note(workflow=job.workflow)
        if job.phase is not Phase.PENDING:
            if job.phase is Phase.COMPLETED or (job.started_at and not job.phase.is_final):
                return job
            raise Conflict(f"job {job_id} is {job.phase}: only a PENDING job can be started")
        if job.owner != self.user.get_name():  # its run would be somebody else's
            raise Forbidden(f"job {job_id} belongs to {job.owner}: only its owner starts it")
        if job.is_external:  # its worker goes on from here
            await self._change(job_id, Job.started_at.is_(None), started_at=now())
            return await self.get(job_id)
        workflow = workflow_for(self.user, job.workflow)
        request = _examined(job.request, workflow)
        if request.problems:
            raise BadRequest(request.problems)
        fingerprint = _fingerprint(request, workflow, job.owner)
        run_id = await run_in_threadpool(starts.claim, job, fingerprint)
        if run_id is None:
            return await self.get(job_id)
        note(run=f"{job.dag_id}/{run_id}")
        try:
            await self.airflow.trigger(job.dag_id, run_id, job.request)
        except Refusal:  # Conflict: an earlier try may have started it
            if await run_in_threadpool(starts.release, job, run_id):
                raise
        if not await run_in_threadpool(starts.settle, job_id, run_id):
            await self.airflow.fail_run(job.dag_id, run_id, "its job was ended while it was being started")
            await self._change(job_id, Job.dag_run_id == run_id, started_at=now(), aborted_at=now())
            raise Conflict(f"job {job_id} has been ended or changed meanwhile: its run is ended")
        return await self.get(job_id)

    async def update(self, job_id: int, request: Mapping[str, Any]) -> JobView:
        """Set fields of the request of a job that is PENDING."""
        note(acts.JOB_CHANGE, job=job_id)
        job = await self.get(job_id)
        self._require_owner(job)
        self._require_pending(job)
        workflow = None if job.is_external else workflow_for(self.user, job.workflow)
        if not await run_in_threadpool(_set_fields, job_id, request, workflow):
            raise Conflict(f"job {job_id} has been started: its parameters cannot be changed")
        return await self.get(job_id)

    async def set_destruction(self, job_id: int, when: datetime) -> JobView:
        """Change when the job is destroyed, within a year from now."""
        note(acts.JOB_CHANGE, job=job_id)
        job = await self.get(job_id)
        self._require_owner(job)
        await self._change(job_id, destruction=lifetime(when))
        return await self.get(job_id)

    async def set_execution_duration(self, job_id: int, seconds: int) -> JobView:
        """Change for how long the job may execute (s, 0 for no limit)."""
        note(acts.JOB_CHANGE, job=job_id)
        job = await self.get(job_id)
        self._require_owner(job)
        if job.phase.is_final:
            raise Conflict(f"job {job_id} is {job.phase}: its execution duration cannot be changed")
        await self._change(job_id, execution_duration=seconds)
        return await self.get(job_id)

    async def abort(self, job_id: int) -> JobView:
        """End a job; its run cancels what is on the grid. One that has ended is given as it is."""
        note(acts.JOB_ABORT, job=job_id)
        job = await self.get(job_id)
        _note_job(job)
        self._require_owner(job)
        if job.phase.is_final:
            return job
        if run_id := await run_in_threadpool(starts.end, job_id):
            why = f"aborted by {self.user.get_name()}"
            try:
                await self.airflow.fail_run(job.dag_id, run_id, why)
            except Refusal as refusal:
                # A run that is only about to be made is ended by who makes it.
                if job.started_at or not isinstance(refusal, NotFound):
                    await self._change(job_id, aborted_at=None)
                    raise
        return await self.get(job_id)

    async def delete(self, job_id: int) -> None:
        """Take a job out of every list, ended if it is active. What it has published stays in the lake."""
        note(acts.JOB_DELETE, job=job_id)
        job = await self.get(job_id)
        _note_job(job)
        self._require_owner(job)
        if not job.phase.is_final:
            await self.abort(job_id)
        await self._change(job_id, deleted_at=now())
        await run_in_threadpool(self._discard, job_id)  # the row of a job without a run tells nobody anything

    def _discard(self, job_id: int) -> None:
        with transaction() as session:
            jobs.discard(session, job_id)

    async def keep_error(self, job: JobView, text: str, *, fatal: bool) -> None:
        """Keep why a job has failed, so that nobody need look it up again."""
        unchanged = Job.error.is_not_distinct_from(job.error)
        notes = {**job.notes, "fatal": fatal, ERROR_OF: str(job.end_time)}
        await self._change(job.id, unchanged, error=text, notes=notes)

    def _require_owner(self, job: JobView) -> None:
        """Those whom a group's sharing shows a job may not change it."""
        if job.owner != self.user.get_name() and not self.user.identity.is_admin:
            raise Forbidden(
                f"job {job.id} belongs to {job.owner}: only its owner and administrators change it"
            )

    def _require_pending(self, job: JobView) -> None:
        if job.phase is not Phase.PENDING:
            raise Conflict(f"job {job.id} is {job.phase}: parameters can be changed while it is PENDING")

    async def _change(self, job_id: int, *conditions: Any, **values: Any) -> bool:
        def write() -> bool:
            with transaction() as session:
                return jobs.change(session, job_id, *conditions, **values)

        return await run_in_threadpool(write)


def _set_fields(job_id: int, fields: Mapping[str, Any], workflow: Workflow | None) -> bool:
    """Set fields beside those that another request sets now; False when the job has been started."""
    with transaction() as session:
        row = jobs.locked(session, job_id)
        if row is None or row.dag_run_id or row.started_at:
            return False
        together = {**row.request, **fields}
        problems = problems_of(together, workflow) if workflow else _too_much(together)
        if wrong := [p for p in problems if p.value is not MISSING]:
            raise BadRequest(wrong)
        row.request, row.fingerprint = together, None
        return True


def _too_much(fields: Mapping[str, Any]) -> list[Problem]:
    """Give the problem of fields that came piece by piece and together are more than one request may be."""
    size = len(json.dumps(fields, ensure_ascii=False).encode())
    allowed = f"at most {MAX_BODY} bytes of JSON"
    return [Problem("size of the parameters", size, allowed, "")] if size > MAX_BODY else []


def _note_job(job: JobView) -> None:
    note(
        job=job.id,
        workflow=job.workflow,
        owner=job.owner,
        **({"run": job.run_key} if job.dag_run_id else {}),
    )


def lifetime(when: datetime | None) -> datetime | None:
    """Bring a destruction time into the limits: a later one than allowed becomes the latest."""
    if when is not None and when <= now():
        raise BadRequest(
            [Problem("DESTRUCTION", when.isoformat(), "a time to come", "DELETE ends a job now")]
        )
    return min(when, now() + LONGEST_LIFETIME) if when else None


def require_label(label: str | None) -> None:
    """Refuse a run id that could not be shown in a header or a line."""
    if label is not None and (len(label) > LABEL_LENGTH or not label.isprintable()):
        allowed = f"text of at most {LABEL_LENGTH} printable characters"
        raise BadRequest([Problem("runId", label, allowed, "it has others, or is too long")])
