"""Where jobs can run, and which place suits a batch best."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from esap_batch.configuration import read_mapping
from esap_batch.errors import ConfigurationError

AUTO = "auto"
# Data near the jobs outweighs any free capacity, which outweighs the order of preference in the file.
NEAR_DATA_POINTS, FREE_CAPACITY_POINTS = 1000.0, 100.0
# What no smaller request changes is further off than any number that is too large.
_FAR, _OFF = 1e6, 1e9


@dataclass(frozen=True)
class FacilityLimits:
    """What one job may ask for at most (seconds, MB), and how many jobs one batch may have."""

    max_wall_time_s: int
    max_memory_mb: int
    max_disk_mb: int
    max_jobs: int


@dataclass(frozen=True)
class Facility:
    """A place that runs jobs, reached by an Airflow connection.

    `software` maps a name to the versions that are there; `runtimes` are ways to start a payload in order
    of preference; `storage_rse` is the storage element near its worker nodes; a higher `priority` wins.
    """

    name: str
    title: str
    type: str
    connection: str
    enabled: bool
    disabled_reason: str
    experiments: frozenset[str]
    vo: str
    group: str
    site: str
    runtimes: tuple[Mapping[str, Any], ...]
    software: Mapping[str, tuple[str, ...]]
    limits: FacilityLimits
    storage_rse: str
    priority: int = 0

    def runtime(self, kind: str) -> Mapping[str, Any]:
        """Give the preferred runtime of a type; LookupError when the facility has none."""
        for one in self.runtimes:
            if one["type"] == kind:
                return one
        raise LookupError(f"facility {self.name} has no runtime {kind}")


@dataclass(frozen=True)
class Requirements:
    """What a batch needs of a facility.

    `experiments` are the user's; `software` pairs of name and version; `runtimes` types of which one must be
    there, none for any; `preferred` a facility's name or auto; `input_rses` bytes of input at each RSE,
    `input_bytes` all together where a file at two places counts once.
    """

    experiments: frozenset[str]
    software: tuple[tuple[str, str], ...] = ()
    runtimes: tuple[str, ...] = ()
    memory_mb: int = 0
    wall_time_s: int = 0
    disk_mb: int = 0
    n_jobs: int = 1
    preferred: str | None = AUTO
    input_rses: Mapping[str, int] = field(default_factory=dict)
    input_bytes: int = 0


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


def load_facilities(path: Path) -> list[Facility]:
    """Read facilities.yaml; ConfigurationError when it is missing or against facilities.schema.json."""
    document = read_mapping(path, path.with_name("facilities.schema.json"))
    facilities = [_facility(entry) for entry in document["facilities"]]
    names = [f.name for f in facilities]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ConfigurationError(path, f"two facilities have the name {', '.join(twice)}")
    return facilities


def match(needs: Requirements, facilities: Sequence[Facility], load: Mapping[str, int]) -> Match:
    """Choose among facilities; `load` has the jobs that wait or run at each now.

    NoFacilityFits when none is left, or when the preferred one is unknown or does not fit.
    """
    misses = {f.name: tuple(_misses(needs, f)) for f in facilities}
    rejected = {name: tuple(m.reason for m in found) for name, found in misses.items() if found}
    fitting = [_ranked(needs, f, load.get(f.name, 0)) for f in facilities if not misses[f.name]]
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


def _misses(needs: Requirements, facility: Facility) -> Iterator[_Miss]:
    if not facility.enabled:
        yield _Miss(f"is switched off: {facility.disabled_reason}", _OFF)
    if facility.experiments.isdisjoint(needs.experiments):
        mine = ", ".join(sorted(needs.experiments)) or "no experiment"
        yield _Miss(f"is open to {', '.join(sorted(facility.experiments))}, the user is in {mine}", _FAR)
    types = [str(r["type"]) for r in facility.runtimes]
    if needs.runtimes and not set(needs.runtimes) & set(types):
        yield _Miss(f"starts payloads by {', '.join(types)}, needed is {' or '.join(needs.runtimes)}", _FAR)
    for name, version in needs.software:
        if version not in facility.software.get(name, ()):
            there = ", ".join(facility.software.get(name, ())) or "not at all"
            yield _Miss(f"needs {name} {version}, which is there as: {there}", _FAR)
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


def _ranked(needs: Requirements, facility: Facility, load: int) -> Ranked:
    total = needs.input_bytes or sum(needs.input_rses.values())
    near = needs.input_rses.get(facility.storage_rse, 0)
    free = max(0.0, 1 - load / facility.limits.max_jobs)
    reasons = [f"{load} of {facility.limits.max_jobs} jobs are taken", f"priority {facility.priority}"]
    if total:
        reasons.insert(0, f"{near} of {total} bytes of input are at {facility.storage_rse}")
    score = NEAR_DATA_POINTS * (near / total if total else 0) + FREE_CAPACITY_POINTS * free
    return Ranked(facility, score + facility.priority, tuple(reasons))


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


def _facility(entry: Mapping[str, Any]) -> Facility:
    return Facility(
        name=entry["name"],
        title=entry["title"],
        type=entry["type"],
        connection=entry["connection"],
        enabled=entry.get("enabled", True),
        disabled_reason=entry.get("disabled_reason", ""),
        experiments=frozenset(entry["experiments"]),
        vo=entry["vo"],
        group=entry["group"],
        site=entry["site"],
        runtimes=tuple(entry["runtimes"]),
        software={name: tuple(versions) for name, versions in entry["software"].items()},
        limits=FacilityLimits(**entry["limits"]),
        storage_rse=entry["storage_rse"],
        priority=entry.get("priority", 0),
    )
