"""Steering files: stored, found, run again."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import UploadFile

from esap_batch.errors import Problem
from portal.core import steering
from portal.core.bodies import FORM_TYPES, JSON_TYPE, media_type, read_form, require_media
from portal.core.documents import read_object
from portal.core.refusals import BadRequest
from portal.core.service import LABEL_LENGTH, Jobs, Order, require_label, workflow_for
from portal.core.steering import SteeringFile
from portal.esap.addresses import steering_address
from portal.esap.callers import UsersJobs
from portal.esap.jobs import RUN, see
from portal.esap.paging import Page, PageWish, page_of
from portal.esap.responses import answer, body, refusals, to_job
from portal.esap.shapes import SteeringDocument, utc

router = APIRouter(prefix="/batch/steering", tags=["Steering files"])
Key = Annotated[str, Path(pattern=r"^[0-9a-z-]{1,64}$", description="id, fingerprint, or job-<number>")]
FINGERPRINT = "^[0-9a-f]{64}$"
FILE_SCHEMA = {"type": "object", "description": "a steering file"}
UPLOAD_SCHEMA = {
    "type": "object",
    "required": ["file"],
    "properties": {"file": {"type": "string", "format": "binary"}, "workflow": {"type": "string"}},
}
RERUN_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "runId": {"type": ["string", "null"], "maxLength": LABEL_LENGTH},
        "phase": {"enum": [RUN, "PENDING"]},
        "force": {"type": "boolean"},
    },
}


@router.get("/", response_model=Page[SteeringDocument], responses=refusals())
async def list_files(
    request: Request,
    mine: UsersJobs,
    wish: PageWish,
    workflow: Annotated[str | None, Query(max_length=250)] = None,
    fingerprint: Annotated[str | None, Query(pattern=FINGERPRINT)] = None,
    keyword: Annotated[str | None, Query(max_length=200)] = None,
) -> JSONResponse:
    """List the user's own files, the newest first."""
    found, total = await steering.stored(
        mine.user, workflow=workflow, fingerprint=fingerprint, keyword=keyword, skip=wish.skip, most=wish.size
    )
    return JSONResponse(page_of(request, wish, [_document(request, one) for one in found], total))


@router.post(
    "/",
    status_code=HTTPStatus.CREATED,
    response_model=SteeringDocument,
    responses=refusals(404, 409, 413, 415),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {JSON_TYPE: {"schema": FILE_SCHEMA}, FORM_TYPES[1]: {"schema": UPLOAD_SCHEMA}},
        }
    },
)
async def store_file(
    request: Request, mine: UsersJobs, workflow: Annotated[str | None, Query(max_length=250)] = None
) -> JSONResponse:
    """Store a file that could be run as it is."""
    document, named = await _sent(request)
    document = _document(request, await steering.store(mine.user, document, workflow or named))
    return JSONResponse(document, HTTPStatus.CREATED, {"Location": document["url"]})


@router.get("/{key}/", response_model=SteeringDocument, responses=refusals(404, 409))
async def get_file(request: Request, mine: UsersJobs, key: Key) -> JSONResponse:
    """Find a file by its id or fingerprint, or that of a job."""
    return JSONResponse(_document(request, await steering.find(mine, key)))


@router.delete(
    "/{key}/",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    responses={**answer(204, None, "The file is deleted"), **refusals(404, 409)},
)
async def delete_file(mine: UsersJobs, key: Key) -> Response:
    """Delete a stored file."""
    await steering.delete(mine.user, key)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.post(
    "/{key}/rerun/",
    status_code=HTTPStatus.SEE_OTHER,
    responses={**to_job("There is a job of it"), **refusals(404, 409, 413, 415)},
    openapi_extra=body(RERUN_SCHEMA),
)
async def run_again(request: Request, mine: UsersJobs, key: Key) -> JSONResponse:
    """Make a job of a file; the standing one when an equal one runs or is done, unless forced."""
    require_media(request, (JSON_TYPE,))
    wish = read_object(await request.body())
    order, start = _order(await steering.find(mine, key), wish, mine)
    return see(request, await mine.create(order, start=start))


def _order(file: SteeringFile, wish: dict[str, Any], mine: Jobs) -> tuple[Order, bool]:
    label, phase, force = wish.get("runId"), wish.get("phase", "PENDING"), wish.get("force", False)
    allowed = {
        "runId": (label is None or isinstance(label, str), "text"),
        "phase": (phase in (RUN, "PENDING"), f"{RUN}, PENDING"),
        "force": (isinstance(force, bool), "true, false"),
    }
    known = ", ".join(allowed)
    problems = [Problem(k, v, known, "there is no such field") for k, v in wish.items() if k not in allowed]
    problems += [Problem(k, wish.get(k), words, "") for k, (good, words) in allowed.items() if not good]
    if problems:
        raise BadRequest(problems)
    require_label(label)
    asked = steering.read(file.document, mine.user, file.workflow)
    request = dict(asked.request)
    if "force" in workflow_for(mine.user, asked.workflow).properties and (force or file.job_id):
        request["force"] = force  # that a job was forced says nothing about its file
    notes = {"steering": file.id}
    return Order(asked.workflow, request, run_label=label or None, notes=notes), phase == RUN


async def _sent(request: Request) -> tuple[dict[str, Any], str | None]:
    """Read a file that comes as the body, or is uploaded in a form."""
    if media_type(request) == JSON_TYPE:
        return read_object(await request.body()), None
    require_media(request, (JSON_TYPE, FORM_TYPES[1]))
    form = await read_form(request)
    uploads = [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]
    named = [value for name, value in form.multi_items() if name == "workflow" and isinstance(value, str)]
    others = [n for n, v in form.multi_items() if n != "workflow" and not isinstance(v, UploadFile)]
    if len(uploads) != 1 or len(named) > 1 or others:
        given = [name for name, _ in form.multi_items()]
        raise BadRequest([Problem("form", given, "one file, and perhaps workflow", "")])
    name, upload = uploads[0]
    return read_object(await upload.read(), f"file {name}"), next(iter(named), None)


def _document(request: Request, file: SteeringFile) -> dict[str, Any]:
    return {
        "uuid": file.id,
        "url": steering_address(request, file.id),
        "title": file.title,
        "workflow": file.workflow,
        "fingerprint": file.fingerprint,
        "created": utc(file.created_at),
        "jobId": file.job_id,
        "document": dict(file.document),
    }
