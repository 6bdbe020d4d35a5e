"""JSON as ESAP has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from esap_batch.parameters import text
from portal.core.phases import Phase
from portal.results.failures import Failure, kept

if TYPE_CHECKING:
    from portal.core.jobs import JobView
    from portal.results.listing import Result

BATCH = "batch"  # ESAP's type of the jobs that workflows of this service do
STATUS = "JobStatus"
# ESAP's monitor shows DIRAC's words.
STATUSES = {
    Phase.QUEUED: "Waiting",
    Phase.EXECUTING: "Running",
    Phase.HELD: "Held",
    Phase.SUSPENDED: "Stalled",
    Phase.UNKNOWN: "Unknown",
    Phase.COMPLETED: "Done",
    Phase.ERROR: "Failed",
    Phase.ABORTED: "Killed",
    Phase.ARCHIVED: "Deleted",
}


class Told(BaseModel):
    """Why something was refused."""

    model_config = ConfigDict(extra="forbid")

    detail: str
    problems: list[Problem] | None = None


class Problem(BaseModel):
    """One thing wrong with a request."""

    field: str
    value: str
    allowed: str
    reason: str


class Parameter(BaseModel):
    """A parameter of a job."""

    key: str
    value: str
    byReference: bool = False  # noqa: N815 - ESAP's names
    isPost: bool = True  # noqa: N815


class JobResult(BaseModel):
    """A result of a job: usually an address."""

    key: str
    value: str
    size: int | None = None
    mimeType: str | None = None  # noqa: N815


class JobToken(BaseModel):
    """The one-time token of a job, told once."""

    key: str
    created: datetime


class JobDocument(BaseModel):
    """A job as django-uws has it, and what its client's job class reads besides."""

    url: str
    jobId: int  # noqa: N815
    runId: str  # noqa: N815
    jobToken: JobToken | None = None  # noqa: N815
    creationTime: datetime  # noqa: N815
    phase: Phase
    parameters: list[Parameter]
    results: list[JobResult]
    errorSummary: str | None = None  # noqa: N815
    ownerId: str  # noqa: N815
    quote: datetime | None = None
    startTime: datetime | None = None  # noqa: N815
    endTime: datetime | None = None  # noqa: N815
    executionDuration: int  # noqa: N815
    destruction: datetime


class Facility(BaseModel):
    """A facility as ESAP's batch page shows it."""

    name: str
    description: str
    url: str
    facilitytype: str
    runtimeengine: str


class WorkflowEntry(BaseModel):
    """A workflow as ESAP's batch page shows it."""

    name: str
    description: str
    url: str
    ref: str
    filepath: str
    workflowtype: str


class SteeringDocument(BaseModel):
    """A steering file: stored, or that of a job."""

    uuid: str
    url: str
    title: str
    workflow: str
    fingerprint: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    created: datetime
    jobId: int | None = None  # noqa: N815
    document: dict[str, Any]


def job_document(
    job: JobView,
    url: str,
    results: Iterable[Result] = (),
    base: str = "",
    *,
    token: str | None = None,
    failure: Failure | None = None,
) -> dict[str, Any]:
    """Describe a job. `results` are those of its run; a worker's own are in the job.

    Without a `failure` that has been looked up, the error is the one that is kept.
    """
    failure = failure or kept(job)
    return {
        "url": url,
        "jobId": job.id,
        "runId": job.run_label or "",
        "jobToken": {"key": token, "created": utc(datetime.now(UTC))} if token else None,
        "creationTime": utc(job.created_at),
        "phase": job.phase.value,
        "parameters": parameters_of(job),
        "results": [*_status(job), *_told_results(job), *(_result(r, base) for r in results)],
        "errorSummary": failure.text if failure else None,
        "ownerId": job.owner,
        "quote": utc(job.quote),
        "startTime": utc(job.start_time),
        "endTime": utc(job.end_time),
        "executionDuration": job.execution_duration,
        "destruction": utc(job.destruction),
    }


def parameters_of(job: JobView) -> list[dict[str, Any]]:
    """Give a job's parameters: type and workflow, then the fields of the request."""
    references = job.notes.get("references", ())
    if job.is_external:
        named = [("type", job.workflow), *job.request.items()]
    else:
        named = [("type", BATCH), ("workflow", job.workflow), *sorted(job.request.items())]
    return [
        {"key": key, "value": text(value), "byReference": key in references, "isPost": True}
        for key, value in named
    ]


def utc(moment: datetime | None) -> str | None:
    """Write a time as ESAP does, in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None


def _status(job: JobView) -> list[dict[str, Any]]:
    if job.is_external or job.phase not in STATUSES:
        return []
    return [{"key": STATUS, "value": STATUSES[job.phase], "size": None, "mimeType": None}]


def _told_results(job: JobView) -> list[Mapping[str, Any]]:
    return list(job.notes.get("results", ()))


def _result(result: Result, base: str) -> dict[str, Any]:
    address = result.href if "://" in result.href else f"{base}{result.href}"
    return {"key": result.id, "value": address, "size": result.size, "mimeType": result.mime_type}
