"""Where jobs can run, and what a batch needs of such a place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from esap_batch.configuration import read_mapping
from esap_batch.errors import ConfigurationError

AUTO = "auto"


@dataclass(frozen=True)
class FacilityLimits:
    """What one job may ask for at most (seconds, MB), and how many jobs one batch may have.

    `max_active_jobs` is how many of all users may wait or run there at a time; None when the site sets none.
    """

    max_wall_time_s: int
    max_memory_mb: int
    max_disk_mb: int
    max_jobs: int
    max_active_jobs: int | None = None

    @property
    def capacity(self) -> int:
        """How many jobs are there when it is full."""
        return self.max_active_jobs or self.max_jobs


@dataclass(frozen=True)
class Facility:
    """A place that runs jobs, reached by an Airflow connection.

    `software` maps a name to the versions that are there; `runtimes` are ways to start a payload in order
    of preference; `storage_rse` is the storage element that takes outputs, near its worker nodes unless
    `fetches_inputs`: then the runner takes each input from where it lies. A request may name one of
    `other_rses` instead. A higher `priority` wins.
    `max_mb_per_s` limits what one job moves; `slurm` has what only SLURM knows of; `fair_share` the weights
    of experiments (1 if not named) when more jobs are asked for than may be there.
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
    other_rses: tuple[str, ...] = ()
    priority: int = 0
    slurm: Mapping[str, Any] = field(default_factory=dict)
    max_mb_per_s: float | None = None
    fetches_inputs: bool = False
    fair_share: Mapping[str, float] = field(default_factory=dict)

    @property
    def rses(self) -> tuple[str, ...]:
        """Name all storage elements that take its outputs, the usual one first."""
        return (self.storage_rse, *self.other_rses)

    def storing_at(self, rse: str) -> Facility:
        """Give this place with outputs going to one of its storage elements; auto: its first."""
        if rse == AUTO:
            return self
        others = tuple(r for r in self.rses if r != rse)
        return replace(self, storage_rse=rse, other_rses=others)

    @property
    def transfer(self) -> dict[str, float]:
        """Give what `Batch.transfer` says of moving files to and from this place."""
        return {} if self.max_mb_per_s is None else {"max_mb_per_s": self.max_mb_per_s}

    @property
    def types(self) -> list[str]:
        """Name the types of its runtimes, the preferred one first."""
        return [str(one["type"]) for one in self.runtimes]

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
    there, none for any; `preferred` a facility's name or auto; `storage_rse` where outputs are to go, or
    auto; `input_rses` bytes of input at each RSE, `input_bytes` all together where a file at two places
    counts once.
    """

    experiments: frozenset[str]
    software: tuple[tuple[str, str], ...] = ()
    runtimes: tuple[str, ...] = ()
    memory_mb: int = 0
    wall_time_s: int = 0
    disk_mb: int = 0
    n_jobs: int = 1
    preferred: str | None = AUTO
    storage_rse: str = AUTO
    input_rses: Mapping[str, int] = field(default_factory=dict)
    input_bytes: int = 0


def load_facilities(path: Path) -> list[Facility]:
    """Read facilities.yaml; ConfigurationError when it is missing or against facilities.schema.json."""
    document = read_mapping(path, path.with_name("facilities.schema.json"))
    facilities = [_facility(entry) for entry in document["facilities"]]
    names = [f.name for f in facilities]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ConfigurationError(path, f"two facilities have the name {', '.join(twice)}")
    return facilities


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
        other_rses=tuple(entry.get("other_rses", ())),
        priority=entry.get("priority", 0),
        slurm=entry.get("slurm", {}),
        max_mb_per_s=entry.get("max_mb_per_s"),
        fetches_inputs=entry.get("fetches_inputs", False),
        fair_share=entry.get("fair_share", {}).get("weights", {}),
    )
