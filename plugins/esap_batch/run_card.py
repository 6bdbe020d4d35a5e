"""CORSIKA's run card: what must hold between its fields, its text, and its division into runs.

Sources: CORSIKA user guide 7.5, chapter 4; for CURVED the notes of its author (F. Schroeder, 2000), who names
89 degrees. Units are CORSIKA's: GeV, cm, degrees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from esap_batch.errors import Problem
from esap_batch.use_cases.event_numbers import split_evenly

HIGHEST_RUN = HIGHEST_EVENT = 999_999
HIGHEST_SEED = 900_000_000
FIRST_NUCLEUS, LAST_PARTICLE = 200, 195
NUCLEON_GEV, PROTON_GEV, PROTON = 0.9315, 0.938272, 14
MOST_USES = 20
STEEPEST_DEG = 70  # zenith angle to which the atmosphere may be taken for flat
CURVED = ("CURVED", "VOLUMEDET_CURVED")  # geometries with a curved atmosphere
# In the order in which cards are written; SEED and OBSLEV take a line for each sequence and level.
ONCE = (
    *("PRMPAR", "ESLOPE", "ERANGE", "THETAP", "PHIP", "VIEWCONE"),
    *("FIXHEI", "ATMOD", "MAGNET", "ECUTS", "CSCAT"),
)
PAIRS = ("ERANGE", "THETAP", "PHIP", "VIEWCONE")


@dataclass(frozen=True)
class Run:
    """One run of a production. `seeds` has three numbers for each random sequence."""

    number: int
    showers: int
    seeds: tuple[tuple[int, ...], ...]

    @property
    def file(self) -> str:
        return f"DAT{self.number:06d}"


def card_problems(request: Mapping[str, Any]) -> list[Problem]:
    """Check across the fields of a card whose single fields are sound."""
    return [
        *_range_problems(request),
        *_primary_problems(request),
        *_number_problems(request),
        *_geometry_problems(request),
    ]


def runs_of(request: Mapping[str, Any]) -> list[Run]:
    """Divide a production into runs with their own numbers and seeds; equal requests give equal runs."""
    shares = split_evenly(request["NSHOW"], request["n_jobs"])
    seeds = job_seeds(request["SEED"], len(shares))
    return [Run(request["RUNNR"] + n, share, seeds[n]) for n, share in enumerate(shares)]


def job_seeds(lines: Sequence[Sequence[int]], jobs: int) -> list[tuple[tuple[int, ...], ...]]:
    """Give each job its seeds: the first has the request's, no other shares one with any.

    Later ones are hashed from the request's, so that neither order nor number of jobs changes them.
    """
    lines = [[int(n) for n in line] for line in lines]
    seeds = [tuple(tuple(line) for line in lines)]
    used = {line[0] for line in lines}
    for job in range(1, jobs):
        fresh = []
        for sequence, line in enumerate(lines):
            start = _hashed(lines, job, sequence)
            while start in used:
                start = start % HIGHEST_SEED + 1
            used.add(start)
            fresh.append((start, *line[1:]))
        seeds.append(tuple(fresh))
    return seeds


def card_text(request: Mapping[str, Any], run: Run) -> str:
    """Write the card of one run as CORSIKA reads it from its standard input."""
    lines = [("RUNNR", run.number), ("EVTNR", request["EVTNR"]), ("NSHOW", run.showers)]
    lines += [(key, request[key]) for key in ONCE if request.get(key) is not None]
    lines += [("SEED", list(seed)) for seed in run.seeds]
    lines += [("OBSLEV", level) for level in request["OBSLEV"]]
    return "".join(f"{key:<8}{_written(value)}\n" for key, value in lines) + "EXIT\n"


def _written(value: Any) -> str:
    values = value if isinstance(value, list) else [value]
    return "  ".join(f"{v:d}" if isinstance(v, int) else f"{v:.9g}" for v in values)


def _hashed(lines: Sequence[Sequence[int]], job: int, sequence: int) -> int:
    text = f"{lines} {job} {sequence}"
    return int(hashlib.sha256(text.encode()).hexdigest()[:15], 16) % HIGHEST_SEED + 1


def _range_problems(request: Mapping[str, Any]) -> Iterator[Problem]:
    for key in PAIRS:
        if (pair := request.get(key)) and pair[0] > pair[1]:
            yield Problem(key, pair, "a lower value first", "lower bound is above upper bound")


def _primary_problems(request: Mapping[str, Any]) -> Iterator[Problem]:
    primary, low = request["PRMPAR"], request["ERANGE"][0]
    mass, charge = divmod(primary, 100)
    if LAST_PARTICLE < primary < FIRST_NUCLEUS:
        yield Problem("PRMPAR", primary, f"1 to {LAST_PARTICLE}, or 100 A + Z from {FIRST_NUCLEUS}", "")
    elif primary >= FIRST_NUCLEUS and not 1 <= charge <= mass:
        allowed = f"100 A + Z with Z from 1 to A = {mass}"
        yield Problem("PRMPAR", primary, allowed, "there is no such nucleus")
    rest = mass * NUCLEON_GEV if primary >= FIRST_NUCLEUS else PROTON_GEV if primary == PROTON else 0.0
    if low <= rest:
        what = f"PRMPAR {primary} has a rest energy of {rest:.4g} GeV"
        yield Problem("ERANGE", request["ERANGE"], f"above {rest:.4g} GeV", what)


def _number_problems(request: Mapping[str, Any]) -> Iterator[Problem]:
    showers, jobs, run = request["NSHOW"], request["n_jobs"], request["RUNNR"]
    if jobs > showers:
        yield Problem("n_jobs", jobs, f"at most NSHOW = {showers}", "each job needs a shower")
    if run + jobs - 1 > HIGHEST_RUN:
        allowed = f"at most {HIGHEST_RUN - jobs + 1} with {jobs} jobs"
        yield Problem("RUNNR", run, allowed, f"the last run would have number {run + jobs - 1}")
    last = request["EVTNR"] + max(split_evenly(showers, jobs)) - 1
    if last > HIGHEST_EVENT:
        allowed = f"at most {HIGHEST_EVENT - last + request['EVTNR']} with {showers} showers in {jobs} jobs"
        yield Problem("EVTNR", request["EVTNR"], allowed, f"the last shower would have number {last}")
    firsts = [line[0] for line in request["SEED"]]
    if len(set(firsts)) < len(firsts):
        yield Problem("SEED", request["SEED"], "another first number in each line", "two sequences are one")


def _geometry_problems(request: Mapping[str, Any]) -> Iterator[Problem]:
    cone, theta = request.get("VIEWCONE"), request["THETAP"]
    if cone and cone[1] > 0 and theta[0] != theta[1]:
        allowed = "two equal angles with a VIEWCONE"
        yield Problem("THETAP", theta, allowed, "a cone needs one direction as its axis")
    if theta[1] > STEEPEST_DEG and request["GEOMETRY"] not in CURVED:
        allowed = f"at most {STEEPEST_DEG} deg with GEOMETRY = {request['GEOMETRY']}"
        reason = f"its atmosphere is flat: {' and '.join(CURVED)} go to 89 deg"
        yield Problem("THETAP", theta, allowed, reason)
    scatter = request.get("CSCAT")
    if scatter and (scatter[0] != int(scatter[0]) or not 1 <= scatter[0] <= MOST_USES):
        yield Problem("CSCAT", scatter, f"a whole number from 1 to {MOST_USES} first", "uses of a shower")
