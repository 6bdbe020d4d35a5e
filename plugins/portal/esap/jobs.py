"""Jobs in ESAP's dialect of UWS, as django-uws speaks it: JSON, phase commands, job tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from access.rights import visible_owners
from esap_batch.errors import MISSING, Problem
from esap_batch.flat_steering import PARAMETERS
from esap_batch.parameters import typed
from esap_batch.text import is_printable
from portal.core import external, jobs, offers, steering
from portal.core.addresses import public_base
from portal.core.bodies import FORM_TYPES, JSON_TYPE, read_fields, require_media
from portal.core.documents import fields_once, read_json, read_object
from portal.core.jobs import JobView, Wanted
from portal.core.phases import Phase
from portal.core.refusals import BadRequest
from portal.core.service import LABEL_LENGTH, Jobs, Order, require_label, workflow_for
from portal.esap.addresses import job_address
from portal.esap.callers import Caller, JobId, NotAWorker, OnlyTheWorker, UsersJobs, Worker, unlimited
from portal.esap.paging import Page, PageWish, page_of
from portal.esap.responses import answer, body, refusals, to_job
from portal.esap.shapes import BATCH, JobDocument, job_document
from portal.results.failures import failure_of
from store.sessions import transaction

router = APIRouter(prefix="/uws/jobs", tags=["ESAP's UWS"])
RUN, ABORT = "RUN", "ABORT"
TOLD = {"EXECUTING": Phase.EXECUTING, "COMPLETE": Phase.COMPLETED, "ERROR": Phase.ERROR}  # by workers
COMMANDS = (RUN, ABORT, *TOLD)
TYPE, WORKFLOW = "type", "workflow"
LONGEST_KEY, LONGEST_VALUE = 64, 2000
TRUE = (True, "true", "True")
LARGEST_SIZE = 2**63 - 1
PARAMETER_SCHEMA = {
    "type": "object",
    "required": ["key", "value"],
    "additionalProperties": False,
    "properties": {
        "key": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
        "value": {},
        "byReference": {"enum": [True, False, "true", "false", "True", "False"]},
        "isPost": {},
    },
}
CREATE_SCHEMA = {
    "oneOf": [
        {
            "type": "object",
            "required": ["parameters"],
            "additionalProperties": False,
            "properties": {
                "runId": {"type": ["string", "null"], "maxLength": LABEL_LENGTH},
                "phase": {"enum": [RUN, "PENDING"]},
                "parameters": {"type": "array", "items": PARAMETER_SCHEMA, "maxItems": 1000},
            },
        },
        {
            "type": "object",
            "description": "a steering file",
            "properties": {
                "runId": {"type": ["string", "null"], "maxLength": LABEL_LENGTH},
                "phase": {"enum": [RUN, "PENDING"]},
                "workflow": {"type": "string"},
            },
            "required": ["workflow"],
            "anyOf": [{"required": ["request"]}, {"required": [PARAMETERS]}],
        },
    ]
}
PHASE_SCHEMA = {
    "type": "object",
    "required": ["PHASE"],
    "additionalProperties": False,
    "properties": {"PHASE": {"enum": list(COMMANDS)}},
}
RESULT_SCHEMA = {
    "type": "object",
    "required": ["key", "value"],
    "additionalProperties": False,
    "properties": {
        "key": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
        "value": {"type": "string", "maxLength": LONGEST_VALUE},
        "size": {"type": ["integer", "null"], "minimum": 0},
        "mimeType": {"type": ["string", "null"], "maxLength": 128},
    },
}
RESULTS_SCHEMA = {"oneOf": [{"type": "array", "items": RESULT_SCHEMA}, RESULT_SCHEMA]}
ERROR_SCHEMA = {
    "type": "object",
    "required": ["errorSummary"],
    "additionalProperties": False,
    "properties": {"errorSummary": {"type": "string"}},
}


@dataclass(frozen=True)
class Creation:
    """What a body that makes a job says beside the request itself."""

    run_label: str | None
    start: bool


@router.get("/", response_model=Page[JobDocument], responses=refusals())
async def list_jobs(
    request: Request,
    mine: UsersJobs,
    wish: PageWish,
    phase: Annotated[list[Phase] | None, Query()] = None,
    run_id: Annotated[str | None, Query(alias="runId", max_length=LABEL_LENGTH)] = None,
) -> JSONResponse:
    """List jobs, the newest first; results of runs are told by the single job."""
    wanted = Wanted(phases=tuple(phase or ()), run_label=run_id, last=wish.size, skip=wish.skip)

    def look() -> tuple[list[JobView], int]:
        with transaction() as session:
            owners = visible_owners(session, mine.user)
            return jobs.listed(session, wanted, owners), jobs.count(session, wanted, owners)

    found, total = await run_in_threadpool(look)
    documents = [job_document(job, job_address(request, job.id)) for job in reversed(found)]
    return JSONResponse(page_of(request, wish, documents, total))


@router.post(
    "/",
    status_code=HTTPStatus.SEE_OTHER,
    response_model=JobDocument,
    responses={**to_job("The job is made, or there is an equal one"), **refusals(404, 409, 413, 415)},
    openapi_extra=body(CREATE_SCHEMA),
)
async def create_job(request: Request, mine: UsersJobs) -> JSONResponse:
    """Make a job of parameters or of a steering file; the answer tells the job's token, once."""
    require_media(request, (JSON_TYPE,))
    sent = read_object(await request.body())
    creation = _creation(sent)
    if PARAMETERS in sent or "request" in sent:
        document = {k: v for k, v in sent.items() if k not in ("runId", "phase")}
        asked = steering.read(document, mine.user)
        job = await _create(mine, asked.workflow, asked.request, creation)
    else:
        job = await _of_parameters(mine, sent, creation)
    token = None if job.phase.is_final else await run_in_threadpool(external.issue_token, job.id)
    return see(request, job, token)


@router.get(
    "/{job_id}/",
    response_model=JobDocument,
    responses=refusals(404),
)
async def get_job(request: Request, job_id: JobId, caller: Caller) -> JSONResponse:
    """Show a job, to its user or its worker."""
    if isinstance(caller, Worker):
        return JSONResponse(await _document(request, caller.job))
    return JSONResponse(await _document(request, await caller.get(job_id), caller))


@router.delete(
    "/{job_id}/",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    responses={**answer(204, None, "The job is deleted"), **refusals(404)},
)
async def delete_job(job_id: JobId, caller: Caller) -> Response:
    """Delete a job; one that runs is ended first. What it has published stays in the data lake."""
    await _user(caller).delete(job_id)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.patch(
    "/{job_id}/",
    response_model=JobDocument,
    responses=refusals(404, 409, 413, 415),
    openapi_extra=body(ERROR_SCHEMA, JSON_TYPE, *FORM_TYPES),
)
async def set_error(request: Request, job_id: JobId, caller: Caller) -> JSONResponse:
    """Say as the job's worker what has gone wrong."""
    fields = await read_fields(request)
    _require_only(fields, "errorSummary")
    summary = fields.get("errorSummary", MISSING)
    if not isinstance(summary, str):
        raise BadRequest([Problem("errorSummary", summary, "text", "")])
    worker = await _worker(job_id, caller)
    return JSONResponse(await _document(request, await unlimited(external.set_error, worker.job, summary)))


@router.post(
    "/{job_id}/phase/",
    status_code=HTTPStatus.SEE_OTHER,
    response_model=JobDocument,
    responses={**to_job("It is done, or was so already"), **refusals(404, 409, 413, 415)},
    openapi_extra=body(PHASE_SCHEMA, JSON_TYPE, *FORM_TYPES),
)
async def command(request: Request, job_id: JobId, caller: Caller) -> JSONResponse:
    """RUN and ABORT a job as its user; say EXECUTING, COMPLETE and ERROR as its worker."""
    fields = {name.upper(): value for name, value in (await read_fields(request)).items()}
    _require_only(fields, "PHASE")
    wanted = fields.get("PHASE", MISSING)
    if wanted not in COMMANDS:
        raise BadRequest([Problem("PHASE", wanted, ", ".join(COMMANDS), "")])
    if wanted in TOLD:
        worker = await _worker(job_id, caller)
        return see(request, await unlimited(external.set_phase, worker.job, TOLD[wanted]))
    mine = _user(caller)
    return see(request, await (mine.start if wanted == RUN else mine.abort)(job_id))


@router.post(
    "/{job_id}/results/",
    status_code=HTTPStatus.CREATED,
    response_model=JobDocument,
    responses=refusals(404, 409, 413, 415),
    openapi_extra=body(RESULTS_SCHEMA),
)
async def add_results(request: Request, job_id: JobId, caller: Caller) -> JSONResponse:
    """Add results as the job's worker."""
    require_media(request, (JSON_TYPE,))
    sent = read_json(await request.body())
    results = _results(sent if isinstance(sent, list) else [sent])
    worker = await _worker(job_id, caller)
    changed = await unlimited(external.add_results, worker.job, results)
    return JSONResponse(await _document(request, changed), HTTPStatus.CREATED)


def see(request: Request, job: JobView, token: str | None = None) -> JSONResponse:
    """Send a client to a job, with the job as the body for those that do not go there.

    What its run has published is told there.
    """
    document = job_document(job, job_address(request, job.id), token=token)
    return JSONResponse(document, HTTPStatus.SEE_OTHER, {"Location": document["url"]})


async def _document(request: Request, job: JobView, mine: Jobs | None = None) -> dict[str, Any]:
    """Describe a job; only for its user what its run has left is looked up, with their rights."""
    results, failure = [], await failure_of(job, mine) if mine else None
    if mine and job.phase.is_final and job.dag_run_id:
        from portal.results.listing import list_results

        results = await list_results(job)
    address, base = job_address(request, job.id), public_base(request)
    return job_document(job, address, results, base, failure=failure)


def _user(caller: Jobs | Worker) -> Jobs:
    if isinstance(caller, Worker):
        allowed = ", ".join(TOLD)
        raise NotAWorker(
            f"the token of job {caller.job.id} is good for reading it, for {allowed} and results"
        )
    return caller


async def _worker(job_id: int, caller: Jobs | Worker) -> Worker:
    if isinstance(caller, Worker):
        return caller
    job = await caller.get(job_id)
    raise OnlyTheWorker(f"only a worker with the token of job {job.id} says this")


def _creation(sent: Mapping[str, Any]) -> Creation:
    label, phase = sent.get("runId"), sent.get("phase", Phase.PENDING)
    if label is not None and not isinstance(label, str):
        raise BadRequest([Problem("runId", label, "text", "")])
    require_label(label)
    if phase not in (RUN, Phase.PENDING):
        raise BadRequest([Problem("phase", phase, f"{RUN}, {Phase.PENDING}", "")])
    return Creation(label or None, start=phase == RUN)


async def _of_parameters(mine: Jobs, sent: Mapping[str, Any], creation: Creation) -> JobView:
    _require_only(sent, "runId", "phase", "parameters")
    given = _parameters(sent.get("parameters", MISSING))
    type_ = _one(given, TYPE, BATCH)
    rest = [(key, value) for key, value, _ in given if key not in (TYPE, WORKFLOW)]
    references = [key for key, _, by_reference in given if by_reference]
    if external.is_external(type_):
        rest += [(WORKFLOW, value) for key, value, _ in given if key == WORKFLOW]
        return await _for_worker(mine, type_, rest, references, creation)
    if type_ != BATCH:
        raise BadRequest([Problem(TYPE, type_, f"{BATCH}, {external.ALLOWED_TYPE}", "")])
    if references:
        told = "values themselves: nothing is fetched from elsewhere"
        raise BadRequest([Problem(key, "by reference", told, "") for key in references])
    named = _one(given, WORKFLOW, MISSING)
    if named is MISSING:
        raise BadRequest([Problem(WORKFLOW, MISSING, "the name of a workflow", "it is required")])
    workflow = workflow_for(mine.user, named)
    request, problems = typed(((k, v) for k, v in rest if isinstance(v, str)), workflow)
    native = {k: v for k, v in rest if not isinstance(v, str)}
    twice = [Problem(k, v, "one value", "it is given twice") for k, v in native.items() if k in request]
    if problems or twice:
        raise BadRequest([*problems, *twice])
    return await _create(mine, named, {**request, **native}, creation)


async def _create(mine: Jobs, workflow: str, request: Mapping[str, Any], creation: Creation) -> JobView:
    quote = await offers.quote(mine.user, workflow, request)
    order = Order(workflow, request, run_label=creation.run_label, quote=quote)
    return await mine.create(order, start=creation.start)


async def _for_worker(
    mine: Jobs, type_: str, given: Sequence[tuple[str, Any]], references: Sequence[str], creation: Creation
) -> JobView:
    parameters = fields_once(given)
    bad = [k for k in references if not _is_http(parameters.get(k))]
    if bad:
        raise BadRequest(
            [Problem(k, parameters.get(k), "an http address", "it is by reference") for k in bad]
        )
    notes = {"references": list(references)} if references else {}
    owner = mine.user.get_name()
    number = await run_in_threadpool(external.create, owner, type_, parameters, creation.run_label, notes)
    return await (mine.start if creation.start else mine.get)(number)


def _is_http(value: Any) -> bool:
    try:
        return urlsplit(str(value)).scheme in ("http", "https")
    except ValueError:  # as of http://[
        return False


def _parameters(sent: Any) -> list[tuple[str, Any, bool]]:
    """Read ESAP's list of `{"key", "value", "byReference"}`."""
    if not isinstance(sent, list):
        raise BadRequest([Problem("parameters", sent, "a list of key and value", "")])
    found = []
    for n, one in enumerate(sent):
        where = f"parameters.{n}"
        if not isinstance(one, dict) or "value" not in one:
            raise BadRequest([Problem(where, one, "an object with key, value and perhaps byReference", "")])
        _require_only(one, "key", "value", "byReference", "isPost", where=where)
        key, by_reference = one.get("key", MISSING), one.get("byReference", False)
        if not _is_key(key):
            allowed = f"text of 1 to {LONGEST_KEY} printable characters"
            raise BadRequest([Problem(f"{where}.key", key, allowed, "")])
        if by_reference not in (True, False, "true", "false", "True", "False"):
            raise BadRequest([Problem(f"{where}.byReference", by_reference, "true, false", "")])
        found.append((key, one["value"], by_reference in TRUE))
    return found


def _one(given: Sequence[tuple[str, Any, bool]], name: str, default: Any) -> Any:
    """Give the one value of a parameter that says what kind of job it is."""
    values = [value for key, value, _ in given if key == name]
    if len(values) > 1 or (values and not isinstance(values[0], str)):
        raise BadRequest([Problem(name, values, "one text", "")])
    return values[0] if values else default


def _results(sent: Sequence[Any]) -> list[dict[str, Any]]:
    found = []
    for n, one in enumerate(sent):
        where = f"results.{n}"
        if not isinstance(one, dict):
            raise BadRequest([Problem(where, one, "an object with key, value, size and mimeType", "")])
        _require_only(one, "key", "value", "size", "mimeType", where=where)
        size = one.get("size")
        wrong = {
            "key": not _is_key(one.get("key")),
            "value": not _is_line(one.get("value"), LONGEST_VALUE),
            "size": size is not None and (type(size) is not int or not 0 <= size <= LARGEST_SIZE),
            "mimeType": one.get("mimeType") is not None and not _is_line(one["mimeType"], 128),
        }
        allowed = {
            "key": f"text of 1 to {LONGEST_KEY} printable characters",
            "value": f"text of at most {LONGEST_VALUE} printable characters",
            "size": "a number of bytes, or null",
            "mimeType": "a media type, or null",
        }
        if problems := [
            Problem(f"{where}.{k}", one.get(k, MISSING), allowed[k], "") for k, bad in wrong.items() if bad
        ]:
            raise BadRequest(problems)
        found.append({k: one.get(k) for k in allowed})
    return found


def _is_key(text: Any) -> bool:
    return _is_line(text, LONGEST_KEY) and bool(text)


def _is_line(text: Any, longest: int) -> bool:
    return (
        isinstance(text, str)
        and len(text) <= longest
        and is_printable(text)
        and text.splitlines() in ([], [text])
    )


def _require_only(sent: Mapping[str, Any], *known: str, where: str = "") -> None:
    prefix = f"{where}." if where else ""
    if unknown := [n for n in sent if n not in known]:
        allowed = ", ".join(known)
        raise BadRequest(
            [Problem(f"{prefix}{n}", sent[n], allowed, "there is no such field") for n in unknown]
        )
