"""ESAP's search for facilities and workflows, over what the caller may use."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from esap_batch.facilities import Facility as Place
from esap_batch.facilities import load_facilities
from esap_batch.request import settings_for
from esap_batch.workflows import Workflow, load_workflow
from hooks.settings import config_dir
from portal.core.addresses import public_base
from portal.core.service import workflows_of
from portal.core.standing import standing
from portal.esap.callers import UsersJobs
from portal.esap.paging import Page, PageWish, page_of
from portal.esap.responses import refusals
from portal.esap.shapes import Facility, WorkflowEntry

router = APIRouter(prefix="/batch", tags=["ESAP's batch page"])
Keyword = Annotated[str, Query(max_length=200, description="part of name, title or description; any case")]


@router.get("/facilities/search/", response_model=Page[Facility], responses=refusals())
async def search_facilities(
    request: Request, mine: UsersJobs, wish: PageWish, keyword: Keyword = ""
) -> JSONResponse:
    """Search the facilities that run jobs of the user's experiments now."""
    experiments, is_admin = mine.user.identity.experiments, mine.user.identity.is_admin
    places = load_facilities(config_dir() / "facilities.yaml")
    usable = [p for p in places if p.enabled and (is_admin or p.experiments & experiments)]
    now = await run_in_threadpool(standing)
    found = [
        _facility(p, public_base(request), now.words(p.name))
        for p in usable
        if _has(keyword, p.name, p.title, described(p))
    ]
    return JSONResponse(page_of(request, wish, found[wish.skip : wish.skip + wish.size], len(found)))


@router.get("/workflows/search/", response_model=Page[WorkflowEntry], responses=refusals())
async def search_workflows(
    request: Request, mine: UsersJobs, wish: PageWish, keyword: Keyword = ""
) -> JSONResponse:
    """Search the workflows that the user may run."""
    workflows = [load_workflow(config_dir(), name) for name in workflows_of(mine.user)]
    found = [
        _workflow(w, public_base(request)) for w in workflows if _has(keyword, w.name, w.title, _about(w))
    ]
    return JSONResponse(page_of(request, wish, found[wish.skip : wish.skip + wish.size], len(found)))


def described(place: Place) -> str:
    """Say in a line what a facility is, and what one job may use there."""
    limits, software = place.limits, ", ".join(sorted(place.software))
    return (
        f"{place.title}: {', '.join(sorted(place.experiments))}; software {software}; at most "
        f"{limits.max_wall_time_s} s, {limits.max_memory_mb} MB memory, {limits.max_disk_mb} MB disk a job, "
        f"{limits.max_jobs} jobs; storage {place.storage_rse}"
    )


def _facility(place: Place, base: str, doing: str) -> dict[str, str]:
    return {
        "name": place.name,
        "description": f"{described(place)}; now: {doing}",
        "url": f"{base}/batch/facilities#{place.name}",
        "facilitytype": place.type,
        "runtimeengine": ", ".join(str(r["type"]) for r in place.runtimes),
    }


def _workflow(workflow: Workflow, base: str) -> dict[str, str]:
    software = settings_for({}, workflow).get("software", ())
    return {
        "name": workflow.name,
        "description": _about(workflow),
        "url": f"{base}/batch/new/{workflow.name}",
        "ref": ", ".join(f"{s['name']} {s['version']}" for s in software) or "by processor",
        "filepath": f"dags/{workflow.name}.py",
        "workflowtype": "airflow",
    }


def _about(workflow: Workflow) -> str:
    text = str(workflow.schema.get("description", ""))
    return f"{workflow.title}. {text}" if text else workflow.title


def _has(keyword: str, *texts: str) -> bool:
    return any(keyword.strip().lower() in text.lower() for text in texts)
