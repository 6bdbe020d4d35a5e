"""Observations in the data lake: what a selection asks for, and what is known of each."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from esap_batch.jobs import InputFile

MAX_NUMBERS = 100_000  # that one list of numbers may stand for
DIGEST_DIGITS = 8  # of an LFN's SHA-256, in names of files in a job's directory
KIND = "observation"  # metadata `kind` of an observation's dataset, as against its files


@dataclass(frozen=True)
class Observation:
    """One observation at one data level: a dataset of the lake.

    `files` are its files in the order of their names, or with `is_partial` some of them; `metadata` the
    dataset's.
    """

    obs_id: int
    dataset: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[InputFile, ...] = ()
    is_partial: bool = False

    @property
    def size(self) -> int:
        """Volume of all files in bytes."""
        return sum(f.size for f in self.files)

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Observation:
        """Read what `document` gave."""
        return cls(**{**document, "files": tuple(InputFile(**f) for f in document["files"])})

    def lacks(self, names: Iterable[str]) -> list[str]:
        """Name the metadata that it ought to have and has not."""
        return [name for name in names if self.metadata.get(name) in (None, "")]

    def only(self, names: Iterable[str]) -> Observation:
        """Give the observation with those files alone whose LFN is in `names`."""
        wanted = set(names)
        taken = tuple(f for f in self.files if f.lfn in wanted)
        return replace(self, files=taken, is_partial=len(taken) < len(self.files))


@dataclass(frozen=True)
class Selection:
    """Which observations are asked for; an empty member does not restrict.

    Numbers are inclusive ranges, times ISO 8601 in UTC; an observation is in a time range by its start.
    """

    obs_ids: tuple[tuple[int, int], ...] = ()
    sb_ids: tuple[tuple[int, int], ...] = ()
    tel_ids: tuple[tuple[int, int], ...] = ()
    start_from: str = ""
    start_before: str = ""
    equal: Mapping[str, str] = field(default_factory=dict)

    def filters(self, kind: str = KIND) -> list[dict[str, Any]]:
        """Give Rucio's metadata filters: alternatives, each with all of its conditions."""
        common: dict[str, Any] = {"kind": kind, **self.equal}
        if self.start_from:
            common["start_time.gte"] = self.start_from
        if self.start_before:
            common["start_time.lt"] = self.start_before
        found = [common]
        for key, ranges in (("obs_id", self.obs_ids), ("sb_id", self.sb_ids)):
            if ranges:
                found = [{**one, **_bounds(key, *r)} for one in found for r in ranges]
        return found

    def takes_telescope(self, tel_id: int) -> bool:
        return not self.tel_ids or any(low <= tel_id <= high for low, high in self.tel_ids)


def _bounds(key: str, low: int, high: int) -> dict[str, int]:
    return {key: low} if low == high else {f"{key}.gte": low, f"{key}.lte": high}


def parse_numbers(text: str) -> tuple[tuple[int, int], ...]:
    """Read `101-103, 105` as inclusive ranges; ValueError that says what is wrong."""
    return tuple(_parse_numbers(text))


def _parse_numbers(text: str) -> Iterator[tuple[int, int]]:
    for part in (p.strip() for p in text.split(",")):
        low, dash, high = (p.strip() for p in part.partition("-"))
        if not low.isdecimal() or (dash and not high.isdecimal()):
            raise ValueError(f"{part!r} is neither a number nor a range like 101-103")
        first, last = int(low), int(high if dash else low)
        if first > last:
            raise ValueError(f"{part!r} ends before it begins")
        if last - first >= MAX_NUMBERS:
            raise ValueError(f"{part!r} is longer than {MAX_NUMBERS} numbers")
        yield first, last


def volume_by_place(
    observations: Sequence[Observation], places: Mapping[str, Sequence[str]]
) -> dict[str, int]:
    """Sum bytes by RSE; `places` gives the RSEs of each LFN. A file at two places counts at both."""
    total: dict[str, int] = {}
    for file in (f for o in observations for f in o.files):
        for rse in places.get(file.lfn, ()):
            total[rse] = total.get(rse, 0) + file.size
    return dict(sorted(total.items()))


def named_apart(observations: Sequence[Observation]) -> list[Observation]:
    """Give files of equal names names of their own in a job's directory: any of them may meet there."""
    times = Counter(f.name for o in observations for f in o.files)
    return [
        replace(o, files=tuple(_by_lfn(f) if times[f.name] > 1 else f for f in o.files)) for o in observations
    ]


def _by_lfn(file: InputFile) -> InputFile:
    digest = hashlib.sha256(file.lfn.encode()).hexdigest()[:DIGEST_DIGITS]
    return replace(file, name=f"{digest}_{file.name}")
