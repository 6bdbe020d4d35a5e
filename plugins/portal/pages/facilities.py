"""Where jobs can run, and whether the user's can."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response

from esap_batch.facilities import Facility, Requirements, load_facilities
from esap_batch.health import Health
from esap_batch.jobs import Load
from esap_batch.matching import NoFacilityFits, match
from hooks.settings import config_dir
from portal.core.standing import standing
from portal.pages.web import Visitor

router = APIRouter(default_response_class=HTMLResponse, tags=["pages"])


@dataclass(frozen=True)
class Place:
    """A facility, the jobs of this service there, why it is not for the user, if so, and its last check."""

    facility: Facility
    load: Load
    reasons: tuple[str, ...]
    health: Health | None


@router.get("/facilities")
async def facilities(visit: Visitor) -> Response:
    """List the facilities, those that are open to the user first."""
    now = await run_in_threadpool(standing)
    known = load_facilities(config_dir() / "facilities.yaml")
    try:
        rejected = match(Requirements(visit.user.identity.experiments), known, now.load, now.faults).rejected
    except NoFacilityFits as none:
        rejected = none.rejected
    places = [
        Place(f, now.load.get(f.name, Load()), tuple(rejected.get(f.name, ())), now.health.get(f.name))
        for f in known
    ]
    places.sort(key=lambda p: (bool(p.reasons), -p.facility.priority, p.facility.name))
    return visit.page("facilities.html", places=places)
