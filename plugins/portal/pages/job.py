"""One job: where it is, what it waits for, what it has given, and what can be done with it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache
from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response

from esap_batch.errors import Problem
from esap_batch.jobs import JobState
from esap_batch.workflows import load_workflow, workflow_names
from hooks.errors import BackendRefused, BackendUnavailable
from hooks.settings import config_dir
from hooks.storage_element import StorageElement
from portal.core.jobs import JobView
from portal.core.phases import Phase
from portal.core.refusals import BadRequest, Refusal
from portal.pages.lists import title_of
from portal.pages.picture import Picture, draw
from portal.pages.web import Visit, Visitor, form_of
from portal.results.failures import Failure, failure_of
from portal.results.files import places_of
from portal.results.listing import Result, Stored, results_of, stored
from portal.results.logs import tail
from portal.results.papers import provenances
from portal.results.reports import read_reports, report_places
from portal.results.routes import JobId
from portal.results.run import ACTIVE, Run, Task, read_run

if TYPE_CHECKING:
    from hooks.lake_outputs import LakeFile

MOST_FAILED = 20  # jobs that are shown with the last lines of their logs
MOST_RESULTS = 200
LINES = 15
LARGEST_PROVENANCE = 1 << 20  # that is drawn
GOING = (Phase.QUEUED, Phase.EXECUTING, Phase.HELD, Phase.SUSPENDED, Phase.UNKNOWN)
WORKING = ("running", "deferred")
_drawn: LRUCache[str, Picture] = LRUCache(maxsize=200)  # by LFN: a published file never changes
router = APIRouter(prefix="/jobs/{job_id}", default_response_class=HTMLResponse, tags=["pages"])
SEE: dict[int | str, dict[str, Any]] = {303: {"description": "To the job"}}


@dataclass(frozen=True)
class Now:
    """Where a job is at this moment. `counts` are its jobs by state, `waits` the task that has told so."""

    run: Run
    steps: tuple[Task, ...] = ()
    waits: str = ""
    text: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    asks: str = ""
    log: Sequence[str] = ()


@dataclass(frozen=True)
class Outcome:
    """What has come of a job; `failed` are reports of jobs, `why_not` tells that the lake does not answer."""

    results: Sequence[Result] = ()
    logs: Sequence[Result] = ()
    failed: Sequence[Mapping[str, Any]] = ()
    picture: Picture | None = None
    products: int = 0
    why_not: str = ""


@router.get("")
async def show(visit: Visitor, job_id: JobId) -> Response:
    """Show a job."""
    return await _show(visit, await visit.jobs.get(job_id))


@router.get("/now")
async def now(visit: Visitor, job_id: JobId) -> Response:
    """Show where a job is, to be put into its page."""
    job = await visit.jobs.get(job_id)
    return visit.page("now.html", job=job, now=await _now(visit, job), going=job.phase in GOING)


@router.post("/run", status_code=303, response_class=Response, responses=SEE, openapi_extra=form_of())
async def run(visit: Visitor, job_id: JobId) -> Response:
    """Start a job."""
    await visit.form()
    try:
        await visit.jobs.start(job_id)
    except BadRequest as refusal:
        job = await visit.jobs.get(job_id)
        return await _show(visit, job, status=400, problems=[str(p) for p in refusal.problems])
    return visit.go(f"/jobs/{job_id}")


@router.post("/abort", status_code=303, response_class=Response, responses=SEE, openapi_extra=form_of())
async def abort(visit: Visitor, job_id: JobId) -> Response:
    """End a job."""
    await visit.form()
    await visit.jobs.abort(job_id)
    return visit.go(f"/jobs/{job_id}")


@router.post(
    "/delete",
    status_code=303,
    response_class=Response,
    responses={303: {"description": "To the list of jobs"}},
    openapi_extra=form_of(),
)
async def delete(visit: Visitor, job_id: JobId) -> Response:
    """Take a job out of the list."""
    await visit.form()
    await visit.jobs.delete(job_id)
    return visit.go("/")


@router.post(
    "/destruction",
    status_code=303,
    response_class=Response,
    responses=SEE,
    openapi_extra=form_of("destruction"),
)
async def destruction(visit: Visitor, job_id: JobId) -> Response:
    """Change when the job is taken out of the list."""
    form = await visit.form()
    given = str(form.get("destruction", ""))
    try:
        when = datetime.fromisoformat(given)
    except ValueError:
        allowed = "a date and time (UTC) as YYYY-MM-DDTHH:MM"
        raise BadRequest([Problem("destruction", given, allowed, "")]) from None
    await visit.jobs.set_destruction(job_id, when if when.tzinfo else when.replace(tzinfo=UTC))
    return visit.go(f"/jobs/{job_id}")


async def _show(visit: Visit, job: JobView, status: int = 200, problems: Sequence[str] = ()) -> Response:
    at = await _now(visit, job)
    failure = await failure_of(job, visit.jobs)
    return visit.page(
        "job.html",
        status,
        job=job,
        title=title_of(job.workflow),
        now=at,
        going=job.phase in GOING,
        failure=failure,
        outcome=await _outcome(job, at.run, failure),
        fields=_fields(job, at.run),
        is_owner=job.owner == visit.user.get_name(),
        may_change=job.owner == visit.user.get_name() or visit.user.identity.is_admin,
        problems=problems,
        most=MOST_RESULTS,
    )


async def _now(visit: Visit, job: JobView) -> Now:
    run = await run_in_threadpool(read_run, job)
    if not run.tasks:
        return Now(run)
    steps = await run_in_threadpool(_in_order, job, run)
    told = run.progress()
    active = [t for t in steps if t.state in ACTIVE]
    text = str(told[1].get("text", "")) if told else ""
    asks = next((t.id for t in active if t.state == "awaiting_input"), "")
    log: list[str] = []
    if job.phase in GOING and (working := [t for t in active if t.state in WORKING]):
        try:
            log = await tail(visit.jobs.airflow, job, working[-1], LINES)
        except Refusal as refusal:
            log = [str(refusal)]
    waits = active[-1].id if active else ""
    return Now(run, steps, waits, text, _counts(told[1]) if told else {}, asks, log)


def _counts(told: Mapping[str, Any]) -> dict[str, int]:
    """Give the jobs by state of a task's progress, as far as it has them."""
    if isinstance(told.get("observations"), Mapping):
        return {str(k): int(v) for k, v in told["observations"].items()}
    names = [state.lower() for state in JobState]
    counts = {name: int(told[name]) for name in names if told.get(name)}
    known = sum(counts.values())
    waiting = int(told.get("of") or 0) - known
    return {**counts, "to come": waiting} if waiting > 0 and counts else counts


def _in_order(job: JobView, run: Run) -> tuple[Task, ...]:
    """Put the tasks of a run into the order of the workflow."""
    from airflow.api_fastapi.main import app

    from store.sessions import transaction

    with transaction() as session:
        dag = app.state.dag_bag.get_latest_version_of_dag(job.dag_id, session=session)
        nodes = dag.task_group.topological_sort() if dag else []
    order = {node.node_id: number for number, node in enumerate(nodes)}
    return tuple(sorted(run.tasks, key=lambda t: order.get(t.id, len(order))))


async def _outcome(job: JobView, run: Run, failure: Failure | None) -> Outcome:
    try:
        there = await stored(job, run)
        results = results_of(job, run, there) if job.dag_run_id else []
        failed = await run_in_threadpool(_failed, run, there) if failure or run.outcome.get("missing") else []
        picture = await run_in_threadpool(_picture, there)
    except (BackendUnavailable, BackendRefused, Refusal) as error:
        return Outcome(why_not=str(error))
    products = len({f.dataset for f in there.files})
    papers = {r.name for r in results if r.kind == "paper"}
    logs = [r for r in results if r.kind == "log"]
    shown = [r for r in results if r.kind in ("product", "paper") or (r.name not in papers and r not in logs)]
    return Outcome(shown, logs, failed, picture, products)


def _failed(run: Run, there: Stored) -> list[Mapping[str, Any]]:
    """Read the reports of the jobs that have failed, of each batch."""
    places = report_places(run)
    found: list[Mapping[str, Any]] = [
        {"task": task, **report}
        for task in there.reports
        if task in places
        for report in read_reports(places[task])
        if report["reason"] != "OK"
    ]
    return found[:MOST_FAILED]


def _picture(there: Stored) -> Picture | None:
    told: list[LakeFile] = [f for f in provenances(there.files) if f.size <= LARGEST_PROVENANCE]
    if not told:
        return None
    lfn = told[0].lfn
    if lfn not in _drawn:
        _drawn[lfn] = draw(json.loads(StorageElement().read(places_of(told[:1])[lfn])))
    return _drawn[lfn]


def _fields(job: JobView, run: Run) -> list[tuple[str, Any, str]]:
    """Give title, value and unit of the request's fields; defaults are in it once the run has begun."""
    request = (run.steering or {}).get("request") or job.request
    known = load_workflow(config_dir(), job.workflow).properties if _is_known(job) else {}
    names = [n for n in known if n in request] + sorted(n for n in request if n not in known)
    return [
        (str(known.get(n, {}).get("title", n)), request[n], str(known.get(n, {}).get("x-esap-unit", "")))
        for n in names
        if request[n] is not None
    ]


def _is_known(job: JobView) -> bool:
    return job.workflow in workflow_names(config_dir())
