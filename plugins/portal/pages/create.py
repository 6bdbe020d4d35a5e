"""A new job: choose a workflow, fill in its form or upload a steering file, look at offers, run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.datastructures import UploadFile
from starlette.responses import HTMLResponse, Response

from esap_batch.errors import Problem
from esap_batch.offers import Offers
from esap_batch.workflows import Workflow, load_workflow
from hooks.settings import config_dir
from portal.core import offers, steering
from portal.core.documents import read_object
from portal.core.jobs import JobView
from portal.core.refusals import BadRequest, Refusal
from portal.core.service import Order, problems_of, workflow_for, workflows_of
from portal.pages import forms
from portal.pages.forms import Filled
from portal.pages.web import Visit, Visitor, form_of
from portal.results.routes import LARGEST_ID

LABEL = "job_name"  # the field that names a run, where a workflow has one
RUN_ID = "runId"  # which is how clients call it
CHECK, CREATE, RUN = "check", "create", "run"
router = APIRouter(prefix="/new", default_response_class=HTMLResponse, tags=["pages"])


@dataclass(frozen=True)
class Looked:
    """What a check has found: offers of facilities, or why there are none to show."""

    offers: Offers | None = None
    why: str = ""


@router.get("")
async def choose(visit: Visitor) -> Response:
    """List the workflows that the user may run."""
    return _choice(visit)


@router.post(
    "",
    responses={400: {"description": "The file cannot be used"}},
    openapi_extra=form_of("workflow", file=True),
)
async def upload(visit: Visitor) -> Response:
    """Show the form of a workflow as a steering file fills it in."""
    form = await visit.form()
    file, named = form.get("file"), str(form.get("workflow", "")) or None
    if not isinstance(file, UploadFile) or not file.filename:
        return _choice(visit, "Choose a file first.")
    try:
        document = read_object(await file.read(), where=f"file {file.filename[:100]}")
        asked = steering.read(document, visit.user, named)
        workflow = workflow_for(visit.user, asked.workflow)
    except Refusal as refusal:
        return _choice(visit, str(refusal), named or "")
    filled = forms.filled_with(asked.request, workflow)
    return _form(visit, workflow, replace(filled, problems=tuple(problems_of(asked.request, workflow))))


@router.get("/{workflow}")
async def show(
    visit: Visitor, workflow: str, like: Annotated[int | None, Query(ge=1, le=LARGEST_ID)] = None
) -> Response:
    """Show the form of a workflow, filled with its defaults or as another job was."""
    found = workflow_for(visit.user, workflow)
    request: dict[str, Any] = {}
    if like is not None:
        request = _request_of(await visit.jobs.get(like), found)
    return _form(visit, found, forms.filled_with(request, found))


@router.post(
    "/{workflow}",
    responses={
        303: {"description": "To the job"},
        400: {"description": "The form again, with what is wrong"},
    },
    openapi_extra=form_of("action"),
)
async def order(visit: Visitor, workflow: str) -> Response:
    """Check a filled form, and make a job of it if asked to."""
    found, form = workflow_for(visit.user, workflow), await visit.form()
    action = str(form.get("action", CHECK))
    if action not in (CHECK, CREATE, RUN):
        raise BadRequest([Problem("action", action, ", ".join((CHECK, CREATE, RUN)), "")])
    filled = forms.read(form.multi_items(), found)
    if problems := (*filled.problems, *problems_of(filled.request, found)):
        return _form(visit, found, replace(filled, problems=problems), HTTPStatus.BAD_REQUEST)
    if action == CHECK:
        return _form(visit, found, filled, looked=await _look(visit, found, filled))
    label = filled.request.get(LABEL)
    try:
        made = await visit.jobs.create(
            Order(
                found.name,
                filled.request,
                run_label=str(label) if label else None,
                quote=await offers.quote(visit.user, found.name, filled.request),
            ),
            start=action == RUN,
        )
    except BadRequest as refusal:
        problems = tuple(replace(p, field=LABEL) if p.field == RUN_ID else p for p in refusal.problems)
        return _form(visit, found, replace(filled, problems=problems), HTTPStatus.BAD_REQUEST)
    return visit.go(f"/jobs/{made.id}")


async def _look(visit: Visit, workflow: Workflow, filled: Filled) -> Looked:
    try:
        ask = await offers.new_ask(visit.user, workflow.name, filled.request)
        return Looked(await offers.ask_facilities(visit.user, ask))
    except Refusal as refusal:
        return Looked(why=str(refusal))


def _request_of(job: JobView, workflow: Workflow) -> dict[str, Any]:
    return offers.typed(job.request, workflow) if job.workflow == workflow.name else {}


def _choice(visit: Visit, problem: str = "", named: str = "") -> Response:
    workflows = [load_workflow(config_dir(), name) for name in workflows_of(visit.user)]
    status = HTTPStatus.BAD_REQUEST if problem else HTTPStatus.OK
    return visit.page("choose.html", status, workflows=workflows, problem=problem, named=named)


def _form(
    visit: Visit,
    workflow: Workflow,
    filled: Filled,
    status: int = HTTPStatus.OK,
    looked: Looked | None = None,
) -> Response:
    return visit.page(
        "new.html",
        status,
        workflow=workflow,
        sections=forms.sections(workflow, filled),
        problems=filled.problems,
        others=filled.others(workflow),
        looked=looked,
    )
