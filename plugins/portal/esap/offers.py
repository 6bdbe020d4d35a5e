"""IVOA's Execution Broker (working draft 1.0, 2025): ask for offers, look at them, accept one.

An offer set and each offer (an execution session) are named by tokens that this service has signed, and
nothing is stored before one is accepted. Then the session shows how its job is doing.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from esap_batch.errors import MISSING, Problem
from esap_batch.offers import Offer, Offers
from portal.core import offers, steering
from portal.core.bodies import JSON_TYPE, require_media
from portal.core.documents import read_object
from portal.core.jobs import JobView
from portal.core.offers import Ask, SignedOffer
from portal.core.phases import Phase
from portal.core.refusals import BadRequest, Conflict
from portal.core.service import Jobs, require_label
from portal.esap.addresses import address, job_address
from portal.esap.callers import UsersJobs
from portal.esap.responses import body, refusals
from portal.esap.shapes import utc
from store import sessions

router = APIRouter(tags=["IVOA Execution Broker"])
TYPES = "urn:esap-batch:"
WORKFLOW, STEERING = f"{TYPES}workflow-1.0", f"{TYPES}steering-file-1.0"  # executables
OFFER_SET, SESSION = f"{TYPES}offer-set-1.0", f"{TYPES}session-1.0"
NOT_SUPPORTED = ("computer", "compute", "storage", "volumes", "data", "schedule", "resources")
DESCRIPTIVE = ("name", "description", "type")
OFFERED, ACCEPTED, EXPIRED, CANCELLED = "OFFERED", "ACCEPTED", "EXPIRED", "CANCELLED"
PHASES = {
    Phase.PENDING: ACCEPTED,
    Phase.QUEUED: "WAITING",
    Phase.EXECUTING: "RUNNING",
    Phase.HELD: "WAITING",
    Phase.SUSPENDED: "WAITING",
    Phase.UNKNOWN: "RUNNING",
    Phase.COMPLETED: "COMPLETED",
    Phase.ERROR: "FAILED",
    Phase.ABORTED: CANCELLED,
    Phase.ARCHIVED: "RELEASING",
}
UPDATE_TYPE = "uri:enum-value-update"
Token = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]{1,8000}$")]
REQUEST_SCHEMA = {
    "type": "object",
    "required": ["executable"],
    "properties": {
        "name": {"type": "string"},
        "description": {"type": "string"},
        "executable": {
            "type": "object",
            "required": ["type"],
            "properties": {
                "type": {"type": "string", "description": f"{WORKFLOW} or {STEERING}; NO to others"},
                "name": {"type": "string"},
                "workflow": {"type": "string"},
                "request": {"type": "object"},
                "steering": {"type": "string", "description": "id, fingerprint or job-<number>"},
            },
        },
    },
}
UPDATE_SCHEMA = {
    "type": "object",
    "required": ["update"],
    "additionalProperties": False,
    "properties": {
        "update": {
            "type": "object",
            "required": ["type", "path", "value"],
            "additionalProperties": False,
            "properties": {
                "type": {"enum": [UPDATE_TYPE]},
                "path": {"enum": ["phase"]},
                "value": {"enum": [ACCEPTED, CANCELLED]},
            },
        },
        "start": {"type": "boolean", "description": "false leaves the job PENDING", "default": True},
        "runId": {"type": ["string", "null"]},
    },
}


class Message(BaseModel):
    """A message, as Message Templates have it."""

    type: str
    time: datetime
    level: str
    template: str
    values: dict[str, str]
    message: str


class Particulars(BaseModel):
    """What this service says of an offer beside the standard."""

    facility: str
    title: str
    reasons: list[str]
    jobs: int
    cpu_hours: float
    move_bytes: dict[str, int]
    lost_bytes: int
    expected_end: datetime


class Session(BaseModel):
    """An offer, and what has become of it."""

    model_config = ConfigDict(extra="allow")

    uuid: str
    href: str
    type: str
    name: str
    phase: str
    state: str
    expires: datetime


class OfferSet(BaseModel):
    """Offers for one request."""

    uuid: str
    href: str
    type: str
    name: str | None
    description: str | None
    created: datetime
    result: str
    messages: list[Message]
    offers: list[Session]


@router.post(
    "/offersets/",
    response_model=OfferSet,
    responses=refusals(404, 409, 413, 415),
    openapi_extra=body(REQUEST_SCHEMA),
)
async def ask(request: Request, mine: UsersJobs) -> JSONResponse:
    """Ask all facilities what they offer for a workflow with a request, or a steering file."""
    require_media(request, (JSON_TYPE,))
    sent = read_object(await request.body())
    about = _described(sent)
    executable = sent.get("executable", MISSING)
    if not isinstance(executable, dict) or not isinstance(executable.get("type"), str):
        raise BadRequest([Problem("executable", executable, "an object with a type", "")])
    if unable := _unable(sent, executable):
        return JSONResponse(_no(request, unable, about))
    asked = await _asked(mine, executable)
    return JSONResponse(await _offer_set(request, mine, asked, about))


@router.get("/offersets/{token}/", response_model=OfferSet, responses=refusals(404))
async def look_again(request: Request, mine: UsersJobs, token: Token) -> JSONResponse:
    """Ask again for what an offer set was for: the same offers, with the load of now."""
    return JSONResponse(await _offer_set(request, mine, offers.read_ask(token, mine.user), {}))


@router.get("/sessions/{token}/", response_model=Session, responses=refusals(404))
async def look_at_session(request: Request, mine: UsersJobs, token: Token) -> JSONResponse:
    """Look at an offer, or how the job is doing that it has become."""
    offer = offers.read_offer(token, mine.user)
    return JSONResponse(_session(request, offer, await offers.job_of(mine, offer)))


@router.post(
    "/sessions/{token}/",
    response_model=Session,
    responses=refusals(404, 409, 413, 415),
    openapi_extra=body(UPDATE_SCHEMA),
)
async def update_session(request: Request, mine: UsersJobs, token: Token) -> JSONResponse:
    """Accept an offer, which makes its job and starts it; or cancel what was accepted."""
    require_media(request, (JSON_TYPE,))
    wanted, start, label = _update(read_object(await request.body()))
    offer = offers.read_offer(token, mine.user)
    if wanted == ACCEPTED:
        job = await offers.accept(mine, offer, start=start, run_label=label)
    elif found := await offers.job_of(mine, offer):
        job = await mine.abort(found.id)
    else:
        raise Conflict("the offer has not been accepted: there is nothing to cancel, it expires by itself")
    return JSONResponse(_session(request, offer, job), HTTPStatus.OK)


def _described(sent: Mapping[str, Any]) -> dict[str, Any]:
    known = (*DESCRIPTIVE, "executable", *NOT_SUPPORTED)
    problems = [
        Problem(n, v, ", ".join(known), "there is no such field") for n, v in sent.items() if n not in known
    ]
    about = {name: sent[name] for name in ("name", "description") if sent.get(name) is not None}
    problems += [Problem(n, v, "text", "") for n, v in about.items() if not isinstance(v, str)]
    if problems:
        raise BadRequest(problems)
    return about


def _unable(sent: Mapping[str, Any], executable: Mapping[str, Any]) -> str:
    """Say why this service makes no offer for a request that is right by the standard; empty if it may."""
    if executable["type"] not in (WORKFLOW, STEERING):
        return f"executable.type = {executable['type'][:200]!r}: this service runs {WORKFLOW}, {STEERING}"
    if asked := [name for name in NOT_SUPPORTED if sent.get(name)]:
        return f"{', '.join(asked)}: workflows know what they need; leave these out"
    return ""


async def _asked(mine: Jobs, executable: Mapping[str, Any]) -> Ask:
    fields = {WORKFLOW: ("workflow", "request"), STEERING: ("steering",)}[executable["type"]]
    known = (*fields, *DESCRIPTIVE, "uuid")
    unknown = [n for n in executable if n not in known]
    if unknown:
        allowed = ", ".join(known)
        raise BadRequest(
            [Problem(f"executable.{n}", executable[n], allowed, "there is no such field") for n in unknown]
        )
    if executable["type"] == STEERING:
        key = executable.get("steering", MISSING)
        if not isinstance(key, str):
            raise BadRequest(
                [Problem("executable.steering", key, "id or fingerprint of a steering file", "")]
            )
        file = await steering.find(mine, key)
        found = steering.read(file.document, mine.user, file.workflow)
        return await offers.new_ask(mine.user, found.workflow, found.request)
    workflow, asked = executable.get("workflow", MISSING), executable.get("request", {})
    if not isinstance(workflow, str):
        raise BadRequest([Problem("executable.workflow", workflow, "the name of a workflow", "")])
    if not isinstance(asked, dict):
        raise BadRequest([Problem("executable.request", asked, "an object", "")])
    return await offers.new_ask(mine.user, workflow, asked)


def _update(sent: Mapping[str, Any]) -> tuple[str, bool, str | None]:
    update, start, label = sent.get("update", MISSING), sent.get("start", True), sent.get("runId")
    if not isinstance(update, dict):
        raise BadRequest([Problem("update", update, "an object with type, path and value", "")])
    allowed = {"type": (UPDATE_TYPE,), "path": ("phase",), "value": (ACCEPTED, CANCELLED)}
    problems = [
        Problem(f"update.{n}", update.get(n, MISSING), ", ".join(values), "")
        for n, values in allowed.items()
        if update.get(n) not in values
    ]
    problems += [
        Problem(f"update.{n}", v, ", ".join(allowed), "") for n, v in update.items() if n not in allowed
    ]
    known = ("update", "start", "runId")
    problems += [Problem(n, v, ", ".join(known), "") for n, v in sent.items() if n not in known]
    if not isinstance(start, bool):
        problems.append(Problem("start", start, "true, false", ""))
    if label is not None and not isinstance(label, str):
        problems.append(Problem("runId", label, "text", ""))
    if problems:
        raise BadRequest(problems)
    require_label(label)
    return update["value"], start, label or None


async def _offer_set(request: Request, mine: Jobs, asked: Ask, about: Mapping[str, Any]) -> dict[str, Any]:
    found = await offers.ask_facilities(mine.user, asked)
    return {
        "uuid": asked.id,
        "href": address(request, f"/offersets/{offers.sign(asked)}/"),
        "type": OFFER_SET,
        "name": about.get("name"),
        "description": about.get("description"),
        "created": utc(asked.made_at),
        "result": "YES" if found.made else "NO",
        "messages": _refused(found, asked),
        "offers": [_offered(request, asked, offer) for offer in found.made],
    }


def _no(request: Request, why: str, about: Mapping[str, Any]) -> dict[str, Any]:
    moment = sessions.now()
    return {
        "uuid": str(uuid.uuid4()),
        "href": address(request, "/offersets/"),
        "type": OFFER_SET,
        "name": about.get("name"),
        "description": about.get("description"),
        "created": utc(moment),
        "result": "NO",
        "messages": [_message("not-able", "WARN", why, {}, moment)],
        "offers": [],
    }


def _refused(found: Offers, asked: Ask) -> list[dict[str, Any]]:
    return [
        _message("no-offer", "INFO", f"{name}: {'; '.join(why)}", {"facility": name}, asked.made_at)
        for name, why in found.refused.items()
    ]


def _message(kind: str, level: str, text: str, values: dict[str, str], moment: datetime) -> dict[str, Any]:
    return {
        "type": f"{TYPES}{kind}",
        "time": utc(moment),
        "level": level,
        "template": text,
        "values": values,
        "message": text,
    }


def _offered(request: Request, asked: Ask, offer: Offer) -> dict[str, Any]:
    signed = SignedOffer(asked, offer.facility.name, offer.start_s, offer.end_s)
    session = _session(request, signed, None)
    needs = {
        "facility": offer.facility.name,
        "title": offer.facility.title,
        "reasons": list(offer.reasons),
        "jobs": offer.jobs,
        "cpu_hours": round(offer.cpu_hours, 3),
        "move_bytes": dict(offer.move),
        "lost_bytes": offer.nowhere,
        "expected_end": utc(signed.quote),
    }
    messages = [
        _message("why", "INFO", reason, {"facility": offer.facility.name}, asked.made_at)
        for reason in offer.reasons
    ]
    return {**session, "messages": messages, "esap": needs}


def _session(request: Request, offer: SignedOffer, job: JobView | None) -> dict[str, Any]:
    phase = PHASES[job.phase] if job else (EXPIRED if offer.ask.expires <= sessions.now() else OFFERED)
    starts = offer.ask.made_at + timedelta(seconds=offer.start_s)
    choices = {OFFERED: [ACCEPTED], ACCEPTED: [CANCELLED], "WAITING": [CANCELLED], "RUNNING": [CANCELLED]}
    document: dict[str, Any] = {
        "uuid": offer.id,
        "href": address(request, f"/sessions/{offers.sign(offer.ask, offer)}/"),
        "type": SESSION,
        "name": offer.facility,
        "created": utc(offer.ask.made_at),
        "phase": phase,
        "state": phase,
        "expires": utc(offer.ask.expires),
        "executable": {
            "type": WORKFLOW,
            "workflow": offer.ask.workflow,
            "request": {**offer.ask.request},
        },
        "schedule": {
            "offered": {
                "preparing": {"start": utc(offer.ask.made_at), "duration": f"PT{offer.start_s}S"},
                "available": {"start": utc(starts), "duration": f"PT{offer.end_s - offer.start_s}S"},
            }
        },
        "options": [
            {"type": "uri:enum-value-option", "path": "phase", "values": values}
            for values in [choices.get(phase)]
            if values
        ],
    }
    if job:
        document["job"] = {"jobId": job.id, "phase": job.phase.value, "url": job_address(request, job.id)}
    return document
