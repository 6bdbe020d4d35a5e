"""What facilities offer for a piece of work, as IVOA's Execution Broker has it (working draft 1.0).

All figures follow from the limits that the jobs have, so they say what happens at most. Nothing is known of
jobs that others have at a facility: those of this service count as if they were like the new ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from esap_batch.facilities import AUTO, Facility, Requirements
from esap_batch.jobs import Load
from esap_batch.matching import NoFacilityFits, Ranked, match

OVERHEAD_S = 60  # what checks, submission and publication take beside the jobs
HOLDS_S = 3600  # for how long an offer can be accepted


@dataclass(frozen=True)
class Work:
    """What a request comes to, as far as it is known before its run.

    `jobs` is the number of jobs in all (`needs.n_jobs` the largest batch), `files` has the bytes of each
    input by LFN, `places` the RSEs that have it. `unknown` says what only the run will find out.
    """

    needs: Requirements
    jobs: int
    files: Mapping[str, int] = field(default_factory=dict)
    places: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unknown: str = ""


@dataclass(frozen=True)
class Offer:
    """What one facility offers. `move` has the bytes to come from each RSE, `nowhere` those that none has."""

    facility: Facility
    reasons: tuple[str, ...]
    move: Mapping[str, int]
    nowhere: int
    jobs: int
    start_s: int
    duration_s: int
    cpu_hours: float

    @property
    def end_s(self) -> int:
        """Seconds from now until all is done, at most."""
        return self.start_s + self.duration_s + OVERHEAD_S


@dataclass(frozen=True)
class Offers:
    """Offers, the best first, and why each other facility makes none."""

    made: tuple[Offer, ...]
    refused: Mapping[str, tuple[str, ...]]


def offers(
    work: Work,
    facilities: Sequence[Facility],
    load: Mapping[str, Load],
    unfit: Mapping[str, str] = MappingProxyType({}),
) -> Offers:
    """Ask all facilities; one that the request names comes first if it fits.

    :param load: the jobs of this service that wait or run at each now.
    :param unfit: what speaks against facilities, by their names.
    """
    preferred, volume = work.needs.preferred, sum(work.files.values())
    needs = replace(work.needs, preferred=AUTO, input_rses=_near(work), input_bytes=volume)
    try:
        found = match(needs, facilities, load, unfit)
    except NoFacilityFits as none:
        return Offers((), none.rejected)
    ranked = sorted(found.ranked, key=lambda r: r.facility.name != preferred)
    return Offers(
        tuple(_offer(work, r, load.get(r.facility.name, Load()).active) for r in ranked), found.rejected
    )


def _offer(work: Work, ranked: Ranked, load: int) -> Offer:
    facility, wall = ranked.facility, work.needs.wall_time_s
    slots = facility.limits.capacity
    before, turns = load // slots, math.ceil((load + work.jobs) / slots)
    move, nowhere = _to_move(work, facility.storage_rse)
    return Offer(
        facility=facility,
        reasons=(*_fits(work.needs, facility), *ranked.reasons, *((work.unknown,) if work.unknown else ())),
        move=move,
        nowhere=nowhere,
        jobs=work.jobs,
        start_s=before * wall,
        duration_s=max(turns - before, 1) * wall,
        cpu_hours=work.jobs * wall / 3600,
    )


def _fits(needs: Requirements, facility: Facility) -> Iterator[str]:
    """Say what makes a facility fit: permission, software, and what one job may use there."""
    limits = facility.limits
    yield f"is open to {', '.join(sorted(facility.experiments & needs.experiments))}"
    if needs.software:
        yield f"has {', '.join(f'{name} {version}' for name, version in needs.software)}"
    yield f"a job takes at most {needs.wall_time_s} of {limits.max_wall_time_s} s"
    yield f"a job takes at most {needs.memory_mb} of {limits.max_memory_mb} MB of memory"


def _near(work: Work) -> dict[str, int]:
    """Sum bytes by RSE; a file at two places counts at both."""
    found: dict[str, int] = {}
    for lfn, size in work.files.items():
        for rse in work.places.get(lfn, ()):
            found[rse] = found.get(rse, 0) + size
    return found


def _to_move(work: Work, near: str) -> tuple[dict[str, int], int]:
    """Sum the bytes that are not at `near`, each file once, at the first of its places."""
    move: dict[str, int] = {}
    nowhere = 0
    for lfn, size in work.files.items():
        places = sorted(work.places.get(lfn, ()))
        if not places:
            nowhere += size
        elif near not in places:
            move[places[0]] = move.get(places[0], 0) + size
    return dict(sorted(move.items())), nowhere
