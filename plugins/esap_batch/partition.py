"""How observations are divided among jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from esap_batch.observations import Observation


class Split(StrEnum):
    """Ways to divide."""

    PER_OBSERVATION = "per_observation"
    PER_FILES = "per_files"
    PER_GROUP = "per_group"


@dataclass(frozen=True)
class Splitting:
    """A way to divide: `files` a job for per_files, the metadata key `group_by` for per_group."""

    how: Split
    files: int = 1
    group_by: str = "sb_id"


@dataclass(frozen=True)
class Unit:
    """What one job gets: observations, each with those of its files that the job reads."""

    label: str
    parts: tuple[Observation, ...]


def divide(observations: Sequence[Observation], splitting: Splitting) -> list[Unit]:
    """Divide observations, in the order of their numbers, so that each file is in exactly one unit.

    ValueError for per_group when an observation lacks the metadata that it is grouped by.
    """
    ordered = sorted(observations, key=lambda o: (o.obs_id, o.dataset))
    match splitting.how:
        case Split.PER_OBSERVATION:
            return [Unit(f"observation {o.obs_id}", (o,)) for o in ordered]
        case Split.PER_FILES:
            return list(_by_files(ordered, splitting.files))
        case Split.PER_GROUP:
            return list(_by_group(ordered, splitting.group_by))


def _by_files(observations: Sequence[Observation], count: int) -> Iterator[Unit]:
    files = [(o, f.lfn) for o in observations for f in o.files]
    for number, some in enumerate(_chunks(files, count)):
        parts = [
            observation.only(lfn for _, lfn in members)
            for observation, members in ((o, list(g)) for o, g in groupby(some, key=lambda pair: pair[0]))
        ]
        yield Unit(f"files {number * count + 1} to {number * count + len(some)}", tuple(parts))


def _by_group(observations: Sequence[Observation], key: str) -> Iterator[Unit]:
    if lacking := [str(o.obs_id) for o in observations if o.metadata.get(key) is None]:
        raise ValueError(f"group_by = {key!r}: observations {', '.join(lacking)} have no such metadata")
    ordered = sorted(observations, key=lambda o: str(o.metadata[key]))
    for value, members in groupby(ordered, key=lambda o: str(o.metadata[key])):
        yield Unit(f"{key} {value}", tuple(members))


def _chunks(
    files: Sequence[tuple[Observation, str]], count: int
) -> Iterator[Sequence[tuple[Observation, str]]]:
    for start in range(0, len(files), count):
        yield files[start : start + count]
