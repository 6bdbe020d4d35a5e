"""Where jobs can run, and whether the user's can."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response

from access.callers import serving
from esap_batch.facilities import Facility, Requirements, load_facilities
from esap_batch.jobs import Load
from esap_batch.matching import NoFacilityFits, match
from hooks.settings import config_dir
from portal.core.offers import load_of_facilities
from portal.pages.web import Visitor
from store.sessions import transaction

router = APIRouter(default_response_class=HTMLResponse, tags=["pages"])


@dataclass(frozen=True)
class Place:
    """A facility, how many jobs of this service wait or run there, and why it is not for the user, if so."""

    facility: Facility
    load: Load
    reasons: tuple[str, ...]


@router.get("/facilities")
async def facilities(visit: Visitor) -> Response:
    """List the facilities, those that are open to the user first."""
    load = await run_in_threadpool(_load)
    known = load_facilities(config_dir() / "facilities.yaml")
    try:
        rejected = match(Requirements(visit.user.identity.experiments), known, load).rejected
    except NoFacilityFits as none:
        rejected = none.rejected
    places = [Place(f, load.get(f.name, Load()), tuple(rejected.get(f.name, ()))) for f in known]
    places.sort(key=lambda p: (bool(p.reasons), -p.facility.priority, p.facility.name))
    return visit.page("facilities.html", places=places)


def _load() -> dict[str, Load]:
    with serving(None), transaction() as session:  # the jobs of all users count
        return load_of_facilities(session)
