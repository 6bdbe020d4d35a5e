"""Offers of facilities: asked for, signed, accepted.

Nothing is kept: an offer carries what it was made for.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from esap_batch.offers import HOLDS_S, Offers, Work, offers
from esap_batch.request import resolve
from esap_batch.use_cases.registry import use_case
from hooks.settings import LAKE_CONNECTION, config_dir
from portal.core.refusals import BadRequest, Conflict, NotFound
from portal.core.service import Jobs, Order, problems_of, workflow_for
from portal.core.standing import standing
from store.sessions import now, transaction
from store.tables import Job

if TYPE_CHECKING:
    from access.users import EsapUser
    from esap_batch.workflows import Workflow
    from portal.core.jobs import JobView

SALT = "esap-batch offer"
LONGEST_TOKEN = 6000  # characters: it is part of an address
FACILITY = "facility"  # field of a request that names one


@dataclass(frozen=True)
class Ask:
    """What offers were asked for, by whom and when."""

    id: str
    owner: str
    workflow: str
    request: Mapping[str, Any]
    made_at: datetime

    @property
    def expires(self) -> datetime:
        return self.made_at + timedelta(seconds=HOLDS_S)

    def offer_id(self, facility: str) -> str:
        """Name the offer of a facility, always the same."""
        return str(uuid.uuid5(uuid.UUID(self.id), facility))


@dataclass(frozen=True)
class SignedOffer:
    """An offer as its token has it: the facility, and how long all takes at most (s)."""

    ask: Ask
    facility: str
    start_s: int
    end_s: int

    @property
    def id(self) -> str:
        return self.ask.offer_id(self.facility)

    @property
    def quote(self) -> datetime:
        return self.ask.made_at + timedelta(seconds=self.end_s)


async def new_ask(user: EsapUser, workflow: str, request: Mapping[str, Any]) -> Ask:
    """Check what is to be run; BadRequest with all that is wrong with it."""
    found = workflow_for(user, workflow)
    if problems := problems_of(request, found):
        raise BadRequest(problems)
    return Ask(
        str(uuid.uuid4()), user.get_name(), workflow, typed(request, found), now().replace(microsecond=0)
    )


def typed(request: Mapping[str, Any], workflow: Workflow) -> dict[str, Any]:
    """Turn a request of another shape, as ESAP's flat steering file is, into that of the form."""
    convert = use_case(workflow.name).convert
    return dict(convert(dict(request), workflow).conf if convert else request)


async def ask_facilities(user: EsapUser, ask: Ask) -> Offers:
    """Get the offers for what is asked, with the data looked up in the lake where the workflow reads some."""
    return await run_in_threadpool(_offers, user, ask.workflow, ask.request, look_up=True)


async def quote(user: EsapUser, workflow: str, request: Mapping[str, Any]) -> datetime | None:
    """Give the time at which a job would end at most; None when that cannot be told without its run.

    Never refuses anything, and asks nobody but the database.
    """
    try:
        found = workflow_for(user, workflow)
        if problems_of(request, found):
            return None
        best = (await run_in_threadpool(_offers, user, workflow, typed(request, found), look_up=False)).made
    except (LookupError, NotFound, BadRequest, PermissionError):
        return None
    return now() + timedelta(seconds=best[0].end_s) if best else None


async def accept(jobs: Jobs, offer: SignedOffer, *, start: bool, run_label: str | None = None) -> JobView:
    """Make the job that an offer is for; the one that there is when it has been accepted before."""
    if job := await job_of(jobs, offer):
        return await jobs.start(job.id) if start and not job.started_at else job
    if offer.ask.expires <= now():
        raise Conflict(f"the offer has expired at {offer.ask.expires.isoformat()}: ask for new ones")
    workflow = workflow_for(jobs.user, offer.ask.workflow)
    request = dict(offer.ask.request)
    if FACILITY in workflow.properties:
        request[FACILITY] = offer.facility
    notes = {"offer": offer.id, FACILITY: offer.facility}
    order = Order(workflow.name, request, run_label=run_label, quote=offer.quote, notes=notes)
    job = await jobs.create(order, start=start)
    if job.notes.get("offer") != offer.id:
        there = await run_in_threadpool(_facility_of, job)
        where = f", at {there}" if there else ""
        raise Conflict(
            f"job {job.id} of an equal request is {job.phase}{where}: "
            f"the offer at {offer.facility} makes no other"
        )
    return job


def _facility_of(job: JobView) -> str:
    """Name the facility of a job: that of its run, or what was asked for."""
    from portal.results.run import read_run

    return str(read_run(job).facility or job.notes.get(FACILITY) or job.request.get(FACILITY) or "")


async def job_of(jobs: Jobs, offer: SignedOffer) -> JobView | None:
    """Find the job that an offer has become."""

    def find() -> int | None:
        with transaction() as session:
            same = (Job.owner == offer.ask.owner, Job.notes["offer"].as_string() == offer.id)
            return session.scalar(select(Job.id).where(*same, Job.deleted_at.is_(None)).order_by(Job.id))

    number = await run_in_threadpool(find)
    return await jobs.get(number) if number else None


def sign(ask: Ask, offer: SignedOffer | None = None) -> str:
    """Make the token of an offer, or of all offers for an ask; BadRequest when it becomes too long."""
    when = int(ask.made_at.timestamp())
    content = {"i": ask.id, "u": ask.owner, "t": when, "w": ask.workflow, "r": dict(ask.request)}
    if offer:
        content |= {"f": offer.facility, "s": offer.start_s, "e": offer.end_s}
    token = str(_signer().dumps(content))
    if len(token) > LONGEST_TOKEN:
        raise BadRequest("the request is too long for offers: create the job without; its run selects")
    return token


def read_ask(token: str, user: EsapUser) -> Ask:
    """Read the token of an ask; NotFound for one of somebody else, or that was never given."""
    return _read(token, user)[0]


def read_offer(token: str, user: EsapUser) -> SignedOffer:
    """Read the token of an offer; NotFound for one of somebody else, or that was never given."""
    ask, content = _read(token, user)
    if "f" not in content:
        raise NotFound("there is no such offer")
    return SignedOffer(ask, content["f"], content["s"], content["e"])


def _offers(user: EsapUser, workflow: str, request: Mapping[str, Any], *, look_up: bool) -> Offers:
    from esap_batch.workflows import load_workflow

    steering = resolve(request, load_workflow(config_dir(), workflow), user.get_name(), "")
    work = _work(user, steering, look_up=look_up)
    now_there = standing()
    return offers(work, now_there.facilities, now_there.load, now_there.faults)


def _work(user: EsapUser, steering: dict[str, Any], *, look_up: bool) -> Work:
    """Say what a steering file comes to; LookupError when only the lake could tell and is not asked."""
    from portal.core.inputs import SURVEYS

    survey = SURVEYS.get(steering["workflow"])
    if survey is not None:
        if not look_up:
            raise LookupError(f"{steering['workflow']}: its data decide")
        return survey(steering, user.identity, LAKE_CONNECTION)
    needs = use_case(steering["workflow"]).requirements(steering, user.identity)
    return Work(needs, needs.n_jobs)


def _read(token: str, user: EsapUser) -> tuple[Ask, dict[str, Any]]:
    try:
        content = _signer().loads(token)
    except BadData:
        raise NotFound("there is no such offer") from None
    if content["u"] != user.get_name():
        raise NotFound("there is no such offer")
    made_at = datetime.fromtimestamp(content["t"], UTC)
    return Ask(content["i"], content["u"], content["w"], content["r"], made_at), content


def _signer() -> URLSafeSerializer:
    from airflow.configuration import conf

    return URLSafeSerializer(conf.get_mandatory_value("api", "secret_key"), salt=SALT)
