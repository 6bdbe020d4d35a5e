"""The places of facilities that take a limited number of jobs: who may submit how many now (ADR 12)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, HTTPException, status
from pydantic import BaseModel, Field
from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError

from broker.tasks import NAME, TaskUser
from esap_batch.facilities import Facility, load_facilities
from esap_batch.fair_share import Claim, Holder, grants
from hooks.settings import config_dir
from store.sessions import now, transaction
from store.tables import Place

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

router = APIRouter(include_in_schema=False)
NUMBER = Field(ge=0, le=1_000_000)
BELIEVED = timedelta(days=7)  # a batch of which nothing was heard for so long has no places any more
WAITING = timedelta(minutes=5)  # and nothing is kept free for one that has not asked again for so long


class Wanted(BaseModel):
    """What a batch has at a facility, and wants; with `look` it only wants to know what it would get."""

    facility: str = NAME
    batch: str = NAME
    experiment: str = NAME
    active: int = NUMBER
    waiting: int = NUMBER
    look: bool = False


@router.post("/places")
def places(wanted: Wanted, task: TaskUser) -> dict[str, int]:
    """Say how many of the waiting jobs may be submitted now.

    They count as active from then on, unless this was but a look.
    """
    facility = _facility(wanted.facility)
    with transaction() as session:
        return {"places": allot(session, facility, task, wanted)}


@router.delete("/places/{facility}/{batch}")
def give_back(facility: str, batch: str, task: TaskUser) -> dict[str, int]:
    """Take back all places of a batch that is over; gives how many batches that were."""
    mine = (Place.facility == facility, Place.batch == batch, Place.owner == task)
    with transaction() as session:
        return {"batches": session.execute(delete(Place).where(*mine)).rowcount}  # type: ignore[attr-defined]


def _facility(name: str) -> Facility:
    for one in load_facilities(config_dir() / "facilities.yaml"):
        if one.name == name:
            return one
    raise HTTPException(status.HTTP_404_NOT_FOUND, f"there is no facility {name!r}")


def allot(session: Session, facility: Facility, owner: str, wanted: Wanted) -> int:
    """Write down what a batch has and wants; give it the places that are its now.

    Callers for one facility go one after the other. What is not limited is given at once.
    """
    limit = facility.limits.max_active_jobs
    if limit is None:
        return wanted.waiting
    moment = now()
    _lock(session, facility.name)
    session.execute(delete(Place).where(Place.facility == facility.name, Place.told_at < moment - BELIEVED))
    own = session.get(Place, (facility.name, wanted.batch))
    if own is None:
        own = Place(facility=facility.name, batch=wanted.batch, owner=owner, waiting=0)
        session.add(own)
    elif own.owner != owner:
        raise HTTPException(status.HTTP_403_FORBIDDEN, f"batch {wanted.batch} is not {owner}'s")
    if not own.since or (wanted.waiting and not own.waiting):
        own.since = moment.timestamp()
    own.experiment, own.told_at = wanted.experiment, moment
    own.active, own.waiting = wanted.active, wanted.waiting
    session.flush()
    here = (Place.facility == facility.name, Place.batch != "")
    session.execute(update(Place).where(*here, Place.told_at < moment - WAITING).values(waiting=0))
    rows = session.scalars(select(Place).where(*here)).all()
    given = _given(rows, limit, facility.fair_share, own)
    if given and not wanted.look:
        own.active, own.waiting, own.since = own.active + given, own.waiting - given, moment.timestamp()
    return given


def _lock(session: Session, facility: str) -> None:
    """Hold the facility's row until the end of the transaction; make it the first time."""
    row = select(Place).where(Place.facility == facility, Place.batch == "").with_for_update()
    if session.scalar(row) is not None:
        return
    try:
        with session.begin_nested():
            forever = now().replace(year=9999)
            session.add(Place(facility=facility, batch="", since=0.0, told_at=forever))
    except IntegrityError:  # somebody else was faster
        pass
    session.execute(row)


def _given(rows: Sequence[Place], limit: int, weights: Any, own: Place) -> int:
    """Divide the free places among holders; of its holder's, a batch gets what older ones leave."""
    held: dict[Holder, list[Place]] = defaultdict(list)
    for row in rows:
        held[Holder(row.experiment, row.owner)].append(row)
    claims = [
        Claim(
            holder,
            sum(r.active for r in mine),
            sum(r.waiting for r in mine),
            min((r.since for r in mine if r.waiting), default=0.0),
        )
        for holder, mine in held.items()
    ]
    me = Holder(own.experiment, own.owner)
    left = grants(limit, claims, weights)[me]
    for row in sorted(held[me], key=lambda r: (r.since, r.batch)):
        if row is own:
            break
        left -= row.waiting
    return max(0, min(left, own.waiting))
