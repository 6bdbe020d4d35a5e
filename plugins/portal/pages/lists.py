"""My jobs, and finding one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response

from esap_batch.errors import Problem
from esap_batch.workflows import load_workflow, workflow_names
from hooks.settings import config_dir
from portal.core.jobs import Wanted
from portal.core.phases import Phase
from portal.core.refusals import BadRequest, NotFound
from portal.core.service import workflows_of
from portal.pages.web import Visitor
from portal.results.routes import LARGEST_ID
from portal.results.run import news_of

PAGE = 25
MOST_PAGES = 10_000
router = APIRouter(default_response_class=HTMLResponse, tags=["pages"])


@router.get("/", responses={303: {"description": "To the login"}})
async def my_jobs(
    visit: Visitor,
    phase: str = "",
    workflow: str = "",
    page: Annotated[int, Query(ge=1, le=MOST_PAGES)] = 1,
) -> Response:
    """List the jobs that the user may see, the newest first."""
    if phase and phase not in Phase.__members__:
        raise BadRequest([Problem("phase", phase, ", ".join(Phase), "")])
    if workflow and workflow not in workflow_names(config_dir()):
        raise BadRequest([Problem("workflow", workflow, ", ".join(workflow_names(config_dir())), "")])
    wanted = Wanted(
        workflow=workflow or None,
        phases=(Phase(phase),) if phase else (),
        last=PAGE + 1,
        skip=(page - 1) * PAGE,
    )
    found = (await visit.jobs.list(wanted))[::-1]
    shown = found[:PAGE]
    return visit.page(
        "jobs.html",
        jobs=shown,
        news=await run_in_threadpool(news_of, shown),
        titles={job.workflow: title_of(job.workflow) for job in shown},
        phase=phase,
        phases=list(Phase),
        workflow=workflow,
        workflows=workflows_of(visit.user),
        page=page,
        has_more=len(found) > PAGE,
    )


@router.get("/find", status_code=303, responses={404: {"description": "There is no such job"}})
async def find(visit: Visitor, id: str = "") -> Response:  # noqa: A002 - as the standard calls it
    """Lead to a job by its number."""
    number = id.strip()
    if not (number.isascii() and number.isdigit() and 0 < int(number[:20]) <= LARGEST_ID):
        raise BadRequest([Problem("id", id, "the number of a job", "")])
    try:
        job = await visit.jobs.get(int(number))
    except NotFound:
        raise NotFound(f"there is no job {number} that you may see") from None
    return visit.go(f"/jobs/{job.id}")


@router.get("/credentials", status_code=303, response_class=Response)
async def credentials(visit: Visitor) -> Response:
    """Lead to the broker's page."""
    return visit.away("/batch-broker/credentials")


def title_of(workflow: str) -> str:
    """Give the title of a workflow, or its name when it is not configured any more."""
    known = workflow in workflow_names(config_dir())
    return load_workflow(config_dir(), workflow).title if known else workflow
