"""How observations are divided among jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from esap_batch.jobs import InputFile
from esap_batch.observations import Observation

Member = tuple[Observation, InputFile]  # a file and the observation that it is of


class Split(StrEnum):
    """Ways to divide."""

    PER_OBSERVATION = "per_observation"
    PER_FILES = "per_files"
    PER_GROUP = "per_group"
    PER_SIZE = "per_size"


@dataclass(frozen=True)
class Splitting:
    """A way to divide.

    `files` a job for per_files, the metadata key `group_by` for per_group, at most `size` bytes a job for
    per_size, where a larger file is a job of its own.
    """

    how: Split
    files: int = 1
    group_by: str = "sb_id"
    size: int = 1_000_000_000


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
        case Split.PER_SIZE:
            return list(_in_units(_filled(_files(ordered), splitting.size)))


def _by_files(observations: Sequence[Observation], count: int) -> Iterator[Unit]:
    yield from _in_units(_chunks(_files(observations), count))


def _files(observations: Sequence[Observation]) -> list[Member]:
    return [(o, f) for o in observations for f in o.files]


def _in_units(groups: Iterable[Sequence[Member]]) -> Iterator[Unit]:
    first = 1
    for some in groups:
        parts = [
            observation.only(file.lfn for _, file in members)
            for observation, members in ((o, list(g)) for o, g in groupby(some, key=lambda pair: pair[0]))
        ]
        yield Unit(f"files {first} to {first + len(some) - 1}", tuple(parts))
        first += len(some)


def _by_group(observations: Sequence[Observation], key: str) -> Iterator[Unit]:
    if lacking := [str(o.obs_id) for o in observations if o.metadata.get(key) is None]:
        raise ValueError(f"group_by = {key!r}: observations {', '.join(lacking)} have no such metadata")
    ordered = sorted(observations, key=lambda o: str(o.metadata[key]))
    for value, members in groupby(ordered, key=lambda o: str(o.metadata[key])):
        yield Unit(f"{key} {value}", tuple(members))


def _chunks(files: Sequence[Member], count: int) -> Iterator[Sequence[Member]]:
    for start in range(0, len(files), count):
        yield files[start : start + count]


def _filled(files: Sequence[Member], size: int) -> Iterator[Sequence[Member]]:
    """Fill groups in the order of the files, each up to `size` bytes."""
    group: list[Member] = []
    for member in files:
        if group and sum(f.size for _, f in group) + member[1].size > size:
            yield group
            group = []
        group.append(member)
    if group:
        yield group
