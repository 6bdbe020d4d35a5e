"""What a job has to give, under /batch/jobs/<id>: all is looked up in its listing, no name becomes a path."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse

from access.observer import note
from access.users import EsapUser, current_user
from hooks.storage_element import StorageElement, local_path
from portal.core.addresses import public_base
from portal.core.airflow_api import AirflowApi
from portal.core.jobs import JobView
from portal.core.refusals import NotFound
from portal.core.service import Jobs
from portal.results import papers
from portal.results.archive import archive
from portal.results.failures import failure_of
from portal.results.files import AS_DATA, AS_IT_IS, Streamed, answer_with
from portal.results.listing import CRATE, STEERING, Stored, file_named, stored
from portal.results.logs import task_log
from portal.results.reports import read_reports, report_places, report_text
from portal.results.run import Run, Task, read_run

LARGEST_ID = 2**63 - 1
JobId = Annotated[int, Path(ge=1, le=LARGEST_ID, description="number of a job")]
Name = Annotated[str, Path(max_length=500)]
BOTH = ["GET", "HEAD"]
DATA: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The content",
        "content": {"*/*": {"schema": {}}},
    },
}
RANGES = {
    **DATA,
    206: {**DATA[200], "description": "The ranges that were asked for"},
    304: {"description": "It is what the caller has"},
    416: {"description": "There is no such range"},
    501: {"description": "It lies on storage that is not served from here"},
    502: {"description": "No copy is what the data lake says it is"},
}
router = APIRouter(prefix="/jobs/{job_id}", tags=["results"])


class Found:
    """A job that the caller may see, with what is asked about it."""

    def __init__(self, request: Request, job: JobView, jobs: Jobs) -> None:
        self.request = request
        self.job = job
        self.jobs = jobs

    async def run(self) -> Run:
        return await run_in_threadpool(read_run, self.job)

    async def stored(self, run: Run) -> Stored:
        return await stored(self.job, run)

    async def task(self, name: str) -> tuple[Run, Task]:
        """Find a task of the run that has a log."""
        run = await self.run()
        for task in run.tasks:
            if task.id == name and task.tries:
                return run, task
        raise NotFound(f"job {self.job.id} has no task {name!r} that has begun")

    def nothing(self, what: str) -> NotFound:
        return NotFound(f"job {self.job.id} is {self.job.phase} and has no {what}")


async def _found(request: Request, job_id: JobId, user: Annotated[EsapUser, Depends(current_user)]) -> Found:
    jobs = Jobs(user, AirflowApi.of(request))
    job = await jobs.get(job_id)
    note(run=job.run_key, owner=job.owner)
    return Found(request, job, jobs)


Asked = Annotated[Found, Depends(_found)]


@router.api_route("/results/{name}", methods=BOTH, responses=RANGES, response_class=FileResponse)
async def result(found: Asked, name: Name) -> Response:
    """Stream a file of the job's product."""
    there = await found.stored(await found.run())
    return await answer_with(found.request, file_named(there.files, name, found.job))


@router.api_route("/results.zip", methods=BOTH, responses=RANGES, response_class=StreamingResponse)
async def results(found: Asked) -> Response:
    """Stream all files of the job as one archive, which is a Workflow Run RO-Crate."""
    run = await found.run()
    there = await found.stored(run)
    if not there.files:
        raise found.nothing("results")
    documents: dict[str, Any] = {CRATE: await _crate(found, run, there)}
    documents[papers.source_name(found.job)] = await run_in_threadpool(papers.source_of, found.job)
    return await archive(found.request, f"{found.job.workflow}-{found.job.id}.zip", there.files, documents)


@router.get(f"/{CRATE}", responses=DATA, response_class=Response)
async def crate(found: Asked) -> Response:
    """Describe the run as a Workflow Run RO-Crate."""
    run = await found.run()
    if not run.steering:
        raise found.nothing("run to describe")
    return _document(await _crate(found, run, await found.stored(run)), CRATE, "application/ld+json")


async def _crate(found: Found, run: Run, there: Stored) -> dict[str, Any]:
    failure = await failure_of(found.job, found.jobs)
    error, base = failure.text if failure else "", public_base(found.request)
    return await run_in_threadpool(papers.crate_of, found.job, run, there.files, error, base)


@router.get(f"/{STEERING}", responses=DATA, response_class=Response)
async def steering(found: Asked) -> Response:
    """Give the steering file: all that is needed to run the job again."""
    document = (await found.run()).steering
    if document is None:
        raise found.nothing("steering file yet")
    return _document(document, STEERING)


@router.api_route("/provenance.json", methods=BOTH, responses=RANGES, response_class=Response)
async def provenance(found: Asked) -> Response:
    """Give where the product comes from (PROV-JSON); of several products as a bundle for each."""
    told = papers.provenances((await found.stored(await found.run())).files)
    if not told:
        raise found.nothing("provenance: it has made no product")
    if len(told) == 1:
        return await answer_with(found.request, told[0])
    pieces = iterate_in_threadpool(papers.bundled(told))
    headers = {**AS_DATA, "Content-Disposition": 'attachment; filename="provenance.json"'}
    return StreamingResponse(pieces, headers=headers, media_type="application/json")


@router.api_route("/reports/{task}", methods=BOTH, responses=RANGES, response_class=FileResponse)
async def reports(found: Asked, task: Name) -> Response:
    """Give the reports of the jobs that a task has submitted, as the runner wrote them."""
    run = await found.run()
    if task not in (await found.stored(run)).reports:
        raise found.nothing(f"kept reports of task {task!r}")
    pfn = (await run_in_threadpool(report_places, run)).get(task)  # what is stored is remembered for a while
    if pfn is None or await run_in_threadpool(StorageElement().size, pfn) is None:
        raise found.nothing(f"reports of task {task!r} any more")
    name = f"{task}.reports.json"
    return Streamed(
        local_path(pfn), headers={**AS_DATA, **AS_IT_IS}, media_type="application/json", filename=name
    )


@router.get("/logs/{task}", responses=DATA, response_class=StreamingResponse)
async def log(found: Asked, task: Name) -> Response:
    """Stream the log of a task, over all its tries."""
    _, one = await found.task(task)
    return _text(task_log(found.jobs.airflow, found.job, one))


@router.get("/logs/{task}/jobs/{number}", responses=DATA, response_class=PlainTextResponse)
async def job_log(found: Asked, task: Name, number: Annotated[int, Path(ge=0, le=10**9)]) -> Response:
    """Give the last lines that a job of a batch has written, under what its report says of it."""
    run = await found.run()
    places = await run_in_threadpool(report_places, run)
    if task not in places:
        allowed = ", ".join(places) or "none"
        raise NotFound(
            f"task {task!r} of job {found.job.id} has submitted no jobs: those that have are {allowed}"
        )
    for report in await run_in_threadpool(read_reports, places[task]):
        if int(report["index"]) == number:
            return PlainTextResponse(report_text(report), headers=AS_DATA)
    raise NotFound(f"job {found.job.id} has no report of job {number} of {task}")


def _document(document: Any, name: str, media_type: str = "application/json") -> Response:
    headers = {**AS_DATA, "Content-Disposition": f'attachment; filename="{name}"'}
    return JSONResponse(document, headers=headers, media_type=media_type)


def _text(lines: AsyncIterator[str]) -> Response:
    return StreamingResponse(lines, headers=AS_DATA, media_type="text/plain")
