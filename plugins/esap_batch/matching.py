"""Which place suits a batch best, and why the others do not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from esap_batch.facilities import AUTO, Facility, FacilityLimits, Requirements
from esap_batch.jobs import Load

# Data near the jobs outweighs any free capacity, which outweighs the order of preference in the file.
NEAR_DATA_POINTS, FREE_CAPACITY_POINTS = 1000.0, 100.0
TELLING = 10  # so many jobs must have ended recently before their failures count: a few say nothing
# What no smaller request changes is further off than any number that is too large.
_FAR, _OFF, _SICK = 1e6, 1e9, 1e8
_NOBODY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Ranked:
    """A facility that fits, and why it stands where it does."""

    facility: Facility
    score: float
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Match:
    """Facilities that fit, the best first, and why each of the others does not."""

    ranked: tuple[Ranked, ...]
    rejected: Mapping[str, tuple[str, ...]]


class NoFacilityFits(LookupError):  # noqa: N818 - says what happened
    """No facility, or not the one that was asked for, can run the batch."""

    def __init__(
        self, message: str, rejected: Mapping[str, tuple[str, ...]], nearest_miss: str | None
    ) -> None:
        super().__init__(message)
        self.rejected = rejected
        self.nearest_miss = nearest_miss


@dataclass(frozen=True)
class _Miss:
    reason: str
    distance: float


def match(
    needs: Requirements,
    facilities: Sequence[Facility],
    load: Mapping[str, Load],
    unfit: Mapping[str, str] = _NOBODY,
) -> Match:
    """Choose among facilities.

    NoFacilityFits when none is left, or when the preferred one is unknown or does not fit.

    :param load: what each has to do now; nothing for one that is not named.
    :param unfit: what else speaks against facilities, by their names, e.g. that one does not answer.
    """
    misses = {f.name: tuple(_misses(needs, f, unfit.get(f.name, ""))) for f in facilities}
    rejected = {name: tuple(m.reason for m in found) for name, found in misses.items() if found}
    fitting = [_ranked(needs, f, load.get(f.name, Load())) for f in facilities if not misses[f.name]]
    ranked = sorted(fitting, key=lambda r: (-r.score, r.facility.name))
    nearest = nearest_miss(misses)
    if needs.preferred not in (None, "", AUTO):
        return Match(tuple(_preferred(str(needs.preferred), ranked, rejected, nearest)), rejected)
    if not ranked:
        raise NoFacilityFits(_none_message(rejected, nearest), rejected, nearest)
    return Match(tuple(ranked), rejected)


def nearest_miss(misses: Mapping[str, Sequence[_Miss]]) -> str | None:
    """Name the facility that is least unsuitable; None when there is none that does not fit."""
    totals = {name: sum(m.distance for m in found) for name, found in misses.items() if found}
    return min(totals, key=lambda name: (totals[name], name), default=None)


def _misses(needs: Requirements, facility: Facility, against: str) -> Iterator[_Miss]:
    if not facility.enabled:
        yield _Miss(f"is switched off: {facility.disabled_reason}", _OFF)
    if against:
        yield _Miss(against, _SICK)
    if facility.experiments.isdisjoint(needs.experiments):
        mine = ", ".join(sorted(needs.experiments)) or "no experiment"
        yield _Miss(f"is open to {', '.join(sorted(facility.experiments))}, the user is in {mine}", _FAR)
    if needs.runtimes and set(needs.runtimes).isdisjoint(facility.types):
        there = ", ".join(facility.types) or "nothing"
        yield _Miss(f"starts payloads by {there}, needed is {' or '.join(needs.runtimes)}", _FAR)
    for name, version in needs.software:
        if version not in facility.software.get(name, ()):
            there = ", ".join(facility.software.get(name, ())) or "not at all"
            yield _Miss(f"needs {name} {version}, which is there as: {there}", _FAR)
    if needs.storage_rse not in (AUTO, *facility.rses):
        yield _Miss(f"leaves files at {' or '.join(facility.rses)}, asked for is {needs.storage_rse}", _FAR)
    yield from _too_much(needs, facility.limits)


def _too_much(needs: Requirements, limits: FacilityLimits) -> Iterator[_Miss]:
    pairs = [
        (needs.memory_mb, limits.max_memory_mb, "MB of memory a job"),
        (needs.wall_time_s, limits.max_wall_time_s, "s of wall time a job"),
        (needs.disk_mb, limits.max_disk_mb, "MB of scratch disk a job"),
        (needs.n_jobs, limits.max_jobs, "jobs in a batch"),
    ]
    for needed, most, what in pairs:
        if needed > most:
            yield _Miss(f"needs {needed} {what}, gives at most {most}", needed / max(most, 1))


def _ranked(needs: Requirements, facility: Facility, load: Load) -> Ranked:
    total, capacity = needs.input_bytes or sum(needs.input_rses.values()), facility.limits.capacity
    near = needs.input_rses.get(facility.storage_rse, 0)
    reasons = []
    if total:
        reasons.append(f"{near} of {total} bytes of input are at {facility.storage_rse}")
    waiting = f", {load.queued} of them wait" if load.queued else ""
    reasons.append(f"{load.active} of {capacity} jobs are taken{waiting}")
    if load.ended_recently:
        reasons.append(f"{load.failed_recently} of {load.ended_recently} recent jobs have failed")
    reasons.append(f"priority {facility.priority}")
    score = NEAR_DATA_POINTS * (near / total if total else 0) + _free_points(load, capacity)
    return Ranked(facility, score + facility.priority, tuple(reasons))


def _free_points(load: Load, capacity: int) -> float:
    """Count a job that waits twice: it says that new ones will. Where all jobs fail nothing is free."""
    free = max(0.0, 1 - (load.running + 2 * load.queued) / capacity)
    failing = load.failure_rate if load.ended_recently >= TELLING else 0.0
    return FREE_CAPACITY_POINTS * free * (1 - failing)


def _preferred(
    name: str, ranked: Sequence[Ranked], rejected: Mapping[str, tuple[str, ...]], nearest: str | None
) -> list[Ranked]:
    first = [r for r in ranked if r.facility.name == name]
    if first:
        chosen = Ranked(first[0].facility, math.inf, ("asked for by name", *first[0].reasons))
        return [chosen, *(r for r in ranked if r is not first[0])]
    others = ", ".join(r.facility.name for r in ranked) or "none"
    if name in rejected:
        why = "; ".join(rejected[name])
        raise NoFacilityFits(f"facility = {name!r}: {why}. Fitting: {others}", rejected, nearest)
    known = ", ".join(sorted([*rejected, *(r.facility.name for r in ranked)]))
    message = f"facility = {name!r}: allowed {AUTO}, {known}. Fitting: {others}"
    raise NoFacilityFits(message, rejected, nearest)


def _none_message(rejected: Mapping[str, tuple[str, ...]], nearest: str | None) -> str:
    if nearest is None:
        return "no facility is configured"
    others = "; ".join(f"{n}: {', '.join(why)}" for n, why in rejected.items() if n != nearest)
    text = f"no facility fits. Nearest is {nearest}: {', '.join(rejected[nearest])}"
    return f"{text}. Others: {others}" if others else text
