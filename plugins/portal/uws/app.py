"""IVOA UWS 1.1 (REC-UWS-1.1-20161024), mounted at /uws.

`/uws/jobs` lists the jobs of all workflows, `/uws/<workflow>/jobs` those of one: the same jobs under the same
ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from access.users import EsapUser, current_user
from esap_batch.errors import MISSING, Problem
from esap_batch.parameters import field_of, text
from esap_batch.workflows import load_workflow, workflow_names
from hooks.settings import config_dir
from portal.core import offers
from portal.core.addresses import public_base
from portal.core.airflow_api import AirflowApi
from portal.core.http import as_text, documented, harden
from portal.core.jobs import JobView, Wanted
from portal.core.phases import Phase
from portal.core.refusals import BadRequest, NotFound
from portal.core.service import Jobs, Order, workflow_for, workflows_of
from portal.results.failures import failure_of
from portal.results.listing import Result, list_results
from portal.results.run import News, news_of
from portal.uws import openapi, representations, values
from portal.uws.asked import Asked, read
from portal.uws.paths import PlainPaths
from portal.uws.waiting import FOREVER, waited

RUN, ABORT = "RUN", "ABORT"
WITH_RESULTS = (Phase.COMPLETED, Phase.ERROR, Phase.ABORTED)
router = APIRouter()


@dataclass
class Call:
    """A request: who makes it, and on which job list. `workflow` is None for the list of all."""

    user: EsapUser
    request: Request
    workflow: str | None

    @property
    def jobs(self) -> Jobs:
        return Jobs(self.user, AirflowApi.of(self.request))

    @property
    def base(self) -> str:
        return public_base(self.request)

    @property
    def list_address(self) -> str:
        return f"{self.base}/uws/{f'{self.workflow}/' if self.workflow else ''}jobs"

    async def job(self, job_id: str) -> JobView:
        """Find a job of this list."""
        number = values.job_id(job_id)
        found = await self.jobs.get(number) if number else None
        if found is None or self.workflow not in (None, found.workflow):
            raise NotFound(f"there is no job {job_id[:50]} here")
        return found

    def see(self, *path: object) -> Response:
        return RedirectResponse("/".join([self.list_address, *map(str, path)]), 303)


def _call(request: Request, user: Annotated[EsapUser, Depends(current_user)]) -> Call:
    return Call(user, request, request.path_params.get("workflow"))


def _known(workflow: str, user: Annotated[EsapUser, Depends(current_user)]) -> None:
    if workflow not in workflow_names(config_dir()):
        allowed = ", ".join(["jobs", *(f"{name}/jobs" for name in workflows_of(user))])
        raise NotFound(f"{workflow[:100]}/jobs: there is no such job list, there are {allowed}")


Caller = Annotated[Call, Depends(_call)]


def create_app() -> FastAPI:
    """Make the app; what it refuses is plain text."""
    app = FastAPI(title="IVOA UWS 1.1", redirect_slashes=False, responses=documented(openapi.TEXT))
    app.include_router(router, prefix="/jobs")
    app.include_router(router, prefix="/{workflow}/jobs", dependencies=[Depends(_known)])
    app.add_middleware(PlainPaths)
    return harden(app, as_text)


@router.get("", **openapi.DOCUMENT, openapi_extra=openapi.FILTERS)
async def list_jobs(call: Caller) -> Response:
    """List jobs (2.2.2.1): by default all but archived ones, the oldest first."""
    asked = _query(call.request, "PHASE", "AFTER", "LAST")
    wanted = Wanted(
        workflow=call.workflow,
        phases=tuple(values.phase("PHASE", p) for p in asked["PHASE"]),
        after=values.moment("AFTER", after) if (after := _single(asked, "AFTER")) is not None else None,
        last=values.whole("LAST", last, 0) if (last := _single(asked, "LAST")) is not None else None,
    )
    found = await call.jobs.list(wanted)
    return _document(await run_in_threadpool(representations.job_list, found, call.list_address))


@router.post("", **openapi.CHANGE)
async def create_job(call: Caller) -> Response:
    """Make a job (2.2.3.1), and start it with PHASE=RUN; an equal request leads to the standing job."""
    asked = await read(call.request)
    phase = asked.phase(RUN)
    _refuse(asked, "action")
    workflow = workflow_for(call.user, _workflow_name(call, asked))
    request = asked.fields(workflow)
    order = Order(
        workflow=workflow.name,
        request=request,
        run_label=asked.controls.get("runid") or None,
        destruction=asked.destruction,
        execution_duration=asked.execution_duration or 0,
        quote=await offers.quote(call.user, workflow.name, request),
    )
    made = await call.jobs.create(order, start=phase == RUN)
    return call.see(made.id)


@router.get("/{job_id}", **openapi.DOCUMENT, openapi_extra=openapi.WAITING)
async def show_job(call: Caller, job_id: str) -> Response:
    """Describe a job (2.2.2.2), with WAIT when its phase has changed (2.2.1.1)."""
    job = await _after_waiting(call, job_id)
    results, failure = await _results(call, job), await failure_of(job, call.jobs)
    news = (await run_in_threadpool(news_of, [job])).get(job.id, News())
    return _document(representations.job(job, results, failure, news, call.base))


@router.post("/{job_id}", **openapi.CHANGE)
async def change_job(call: Caller, job_id: str) -> Response:
    """Change a job: parameters, times, phase; ACTION=DELETE deletes it (2.2.3.2)."""
    job, asked = await call.job(job_id), await read(call.request)
    if asked.action():
        _refuse(asked, "phase", "destruction", "executionduration", "runid", "workflow", fields=True)
        await call.jobs.delete(job.id)
        return call.see()
    await _change(call, job, asked)
    return call.see(job.id)


@router.delete("/{job_id}", **openapi.SEE)
async def delete_job(call: Caller, job_id: str) -> Response:
    """Delete a job (2.2.3.2); one that runs is aborted."""
    job = await call.job(job_id)
    await call.jobs.delete(job.id)
    return call.see()


@router.get("/{job_id}/phase", **openapi.PLAIN, openapi_extra=openapi.WAITING)
async def show_phase(call: Caller, job_id: str) -> Response:
    """Give the phase; WAIT works here too."""
    return PlainTextResponse((await _after_waiting(call, job_id)).phase)


@router.post("/{job_id}/phase", **openapi.CHANGE)
async def change_phase(call: Caller, job_id: str) -> Response:
    """Start (2.2.3.5) or abort (2.2.3.6) a job."""
    return await _change_one(call, job_id, "phase")


@router.get("/{job_id}/executionduration", **openapi.PLAIN)
async def show_execution_duration(call: Caller, job_id: str) -> Response:
    """Give for how long the job may execute, in seconds."""
    return PlainTextResponse(str((await call.job(job_id)).execution_duration))


@router.post("/{job_id}/executionduration", **openapi.CHANGE)
async def change_execution_duration(call: Caller, job_id: str) -> Response:
    """Change for how long the job may execute (2.2.3.4)."""
    return await _change_one(call, job_id, "executionduration")


@router.get("/{job_id}/destruction", **openapi.PLAIN)
async def show_destruction(call: Caller, job_id: str) -> Response:
    """Give the time of destruction."""
    return PlainTextResponse(values.written((await call.job(job_id)).destruction))


@router.post("/{job_id}/destruction", **openapi.CHANGE)
async def change_destruction(call: Caller, job_id: str) -> Response:
    """Change the time of destruction (2.2.3.3)."""
    return await _change_one(call, job_id, "destruction")


@router.get("/{job_id}/quote", **openapi.PLAIN)
async def show_quote(call: Caller, job_id: str) -> Response:
    """Give when the job will probably be done; nothing when nobody knows."""
    quote = (await call.job(job_id)).quote
    return PlainTextResponse(values.written(quote) if quote else "")


@router.get("/{job_id}/owner", **openapi.PLAIN)
async def show_owner(call: Caller, job_id: str) -> Response:
    """Name the owner."""
    return PlainTextResponse((await call.job(job_id)).owner)


@router.get("/{job_id}/error", **openapi.PLAIN)
async def show_error(call: Caller, job_id: str) -> Response:
    """Give the error in full (2.2.2.5); nothing when there is none."""
    failure = await failure_of(await call.job(job_id), call.jobs)
    return PlainTextResponse(failure.text if failure else "")


@router.get("/{job_id}/parameters", **openapi.DOCUMENT)
async def list_parameters(call: Caller, job_id: str) -> Response:
    """List the parameters (2.2.2.4)."""
    return _document(representations.parameters(await call.job(job_id)))


@router.post("/{job_id}/parameters", **openapi.CHANGE)
async def change_parameters(call: Caller, job_id: str) -> Response:
    """Set parameters of a job that is PENDING (2.1.11)."""
    job, asked = await call.job(job_id), await read(call.request)
    _refuse(asked, *asked.controls)
    await _change(call, job, asked)
    return call.see(job.id, "parameters")


@router.get("/{job_id}/parameters/{name}", **openapi.PLAIN)
async def show_parameter(call: Caller, job_id: str, name: str) -> Response:
    """Give the value of a parameter."""
    job = await call.job(job_id)
    field = name if job.is_external else field_of(name, load_workflow(config_dir(), job.workflow))
    if job.request.get(field) is None:
        raise NotFound(f"job {job.id} has no parameter {name[:100]}")
    return PlainTextResponse(text(job.request[field]))


@router.put(
    "/{job_id}/parameters/{name}",
    **openapi.SEE,
    openapi_extra=openapi.VALUE,
)
async def change_parameter(call: Caller, job_id: str, name: str) -> Response:
    """Set a parameter of a job that is PENDING to the text of the body (2.1.11)."""
    job, body = await call.job(job_id), await call.request.body()
    try:
        value = body.decode()
    except UnicodeDecodeError:
        raise BadRequest("body of the request: allowed is UTF-8") from None
    await _change(call, job, Asked(pairs=[(name, value)]))
    return call.see(job.id, "parameters")


@router.get("/{job_id}/results", **openapi.DOCUMENT)
async def show_results(call: Caller, job_id: str) -> Response:
    """List the results (2.2.2.3)."""
    found = await _results(call, await call.job(job_id))
    return _document(representations.results(found, call.base))


@router.get("/{job_id}/results/{result_id}", **openapi.SEE)
async def show_result(call: Caller, job_id: str, result_id: str) -> Response:
    """Lead to a result."""
    job = await call.job(job_id)
    for result in await _results(call, job):
        if result.id == result_id:
            return RedirectResponse(representations.address(result, call.base), 303)
    raise NotFound(f"job {job.id} has no result {result_id[:100]}")


async def _change_one(call: Call, job_id: str, control: str) -> Response:
    """Change what an address of its own stands for."""
    job, asked = await call.job(job_id), await read(call.request)
    _refuse(asked, *(name for name in asked.controls if name != control), fields=True)
    if control not in asked.controls:
        raise BadRequest([Problem(control.upper(), MISSING, f"the parameter {control.upper()}", "")])
    await _change(call, job, asked)
    return call.see(job.id)


async def _change(call: Call, job: JobView, asked: Asked) -> None:
    """Change all that is asked for; what can be refused without a look at the job is refused first."""
    phase, destruction, duration = asked.phase(RUN, ABORT), asked.destruction, asked.execution_duration
    _refuse(asked, "runid", "workflow")
    if not (asked.has_fields or phase or destruction or duration is not None):
        raise BadRequest("the request: allowed are parameters, PHASE, DESTRUCTION, EXECUTIONDURATION, ACTION")
    jobs = call.jobs
    if asked.has_fields:
        await jobs.update(job.id, _fields(job, asked))
    if destruction:
        await jobs.set_destruction(job.id, destruction)
    if duration is not None:
        await jobs.set_execution_duration(job.id, duration)
    if phase == RUN:
        await jobs.start(job.id)
    elif phase == ABORT:
        await jobs.abort(job.id)


def _fields(job: JobView, asked: Asked) -> dict[str, Any]:
    """Give fields of a request; those of a job that a worker elsewhere does are for that worker to judge."""
    if job.is_external:
        return (asked.document or {}) | asked.texts()
    return asked.fields(load_workflow(config_dir(), job.workflow))


def _workflow_name(call: Call, asked: Asked) -> str:
    given = asked.controls.get("workflow")
    if call.workflow and given not in (None, call.workflow):
        raise BadRequest([Problem("WORKFLOW", given, call.workflow, "this is the job list of that workflow")])
    name = call.workflow or given
    if name is None or name not in workflow_names(config_dir()):
        allowed = ", ".join(workflows_of(call.user)) or "none"
        raise BadRequest([Problem("WORKFLOW", MISSING if name is None else name, allowed, "")])
    return name


def _refuse(asked: Asked, *controls: str, fields: bool = False) -> None:
    """Refuse parameters that have no meaning at this address."""
    problems = [
        Problem(c.upper(), asked.controls[c], "", "not here") for c in controls if c in asked.controls
    ]
    if fields:
        problems += [Problem(name, value, "", "not here") for name, value in asked.pairs]
        problems += [Problem(name, v, "", "not here") for name, v in (asked.document or {}).items()]
    if problems:
        raise BadRequest(problems)


async def _after_waiting(call: Call, job_id: str) -> JobView:
    asked = _query(call.request, "WAIT", "PHASE")
    wait, phase = _single(asked, "WAIT"), _single(asked, "PHASE")
    seconds = values.whole("WAIT", wait, FOREVER) if wait is not None else 0
    only = values.phase("PHASE", phase) if phase is not None else None
    job = await call.job(job_id)
    return await waited(job, call.jobs, call.request, seconds, only) if seconds else job


def _query(request: Request, *known: str) -> dict[str, list[str]]:
    """Sort the query's parameters by name, in any case; BadRequest for others."""
    found: dict[str, list[str]] = {name: [] for name in known}
    for name, value in request.query_params.multi_items():
        if name.upper() not in found:
            raise BadRequest([Problem(name, value, f"are {', '.join(known)}", "there is no such parameter")])
        found[name.upper()].append(value)
    return found


def _single(asked: dict[str, list[str]], name: str) -> str | None:
    given = asked[name]
    if len(given) > 1:
        raise BadRequest([Problem(name, given, "one value", f"it is given {len(given)} times")])
    return given[0] if given else None


async def _results(call: Call, job: JobView) -> list[Result]:
    if job.is_external:
        return _of_worker(job)
    return await list_results(job) if job.phase in WITH_RESULTS and job.dag_run_id else []


def _of_worker(job: JobView) -> list[Result]:
    """Give those results that are links, of what a worker elsewhere has told."""
    told = [
        r for r in job.notes.get("results", ()) if str(r.get("value")).startswith(("http://", "https://"))
    ]
    return [
        Result(r["key"], r["key"], r["value"], r.get("size"), r.get("mimeType") or "application/octet-stream")
        for r in told
    ]


def _document(written: bytes) -> Response:
    return Response(written, media_type=representations.MEDIA_TYPE)
