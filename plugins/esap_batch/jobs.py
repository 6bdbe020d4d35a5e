"""Jobs of one run at one facility, and the protocol every back end speaks.

The dictionary form of a `Batch` (`Batch.document`) is what `runner/esap_runner` reads on the worker node.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from esap_batch.fingerprint import canonical_json
from esap_batch.stages import Moves

GROUP_LENGTH = 32  # DIRAC's JobGroup column
BATCH_SCHEMA = 1
RECENT_S = 3600  # what `Load` takes for recent
_NAME = re.compile(r"^(?P<group>.+)-(?P<index>\d{5})-(?P<attempt>\d{2})$")


class JobState(StrEnum):
    """State of one job, the same for every back end."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    LOST = "LOST"

    @property
    def is_terminal(self) -> bool:
        return self not in (JobState.QUEUED, JobState.RUNNING)

    @property
    def is_failure(self) -> bool:
        return self.is_terminal and self is not JobState.DONE


@dataclass(frozen=True)
class InputFile:
    """A file that the runner fetches into the job's directory before the payload starts.

    `size` in bytes; `adler32` as eight hex digits, as Rucio has it.
    """

    name: str
    lfn: str
    size: int
    adler32: str
    pfn: str = ""


@dataclass(frozen=True)
class OutputSpec:
    """A file that the payload must write.

    `validator` is a command run in the job's directory that prints one JSON report.
    """

    name: str
    lfn: str
    validator: tuple[str, ...] = ()
    pfn: str = ""


@dataclass(frozen=True)
class Limits:
    """What one job may use: wall clock in seconds, memory and scratch disk in MB, processor cores."""

    wall_time_s: int = 3600
    memory_mb: int = 2000
    disk_mb: int = 2000
    cores: int = 1


@dataclass(frozen=True)
class JobSpec:
    """One job: a command, the small files it needs, its inputs, outputs and limits."""

    index: int
    command: tuple[str, ...]
    files: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[InputFile, ...] = ()
    outputs: tuple[OutputSpec, ...] = ()
    limits: Limits = Limits()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """All jobs of one task of one run.

    `runtime` says how payloads start (facility's choice), `software` what they need, `site` where (back
    end's name of the place), `job_type` the back end's accounting class. `transfer` limits the runner's
    moves of files: `max_mb_per_s`, of each job; without it there is no limit.
    """

    group: str
    jobs: tuple[JobSpec, ...]
    runtime: Mapping[str, Any] = field(default_factory=lambda: {"type": "plain"})
    software: tuple[Mapping[str, str], ...] = ()
    site: str = ""
    job_type: str = "User"
    transfer: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Give the JSON document that the runner reads (`batch.json` in the input sandbox).

        Each job has its digest beside it, which the runner's report repeats.
        """
        document = {k: v for k, v in self.journal().items() if k not in ("site", "job_type")}
        known = digests(self.jobs, self.software)
        return {**document, "jobs": [{**job, "digest": known[job["index"]]} for job in document["jobs"]]}

    def journal(self) -> dict[str, Any]:
        """Give all of the batch as a JSON document, to submit some of it again later."""
        return {"schema": BATCH_SCHEMA, **asdict(self)}

    @classmethod
    def from_journal(cls, document: Mapping[str, Any]) -> Batch:
        """Read what `journal` wrote; ValueError for another version of it."""
        if document.get("schema") != BATCH_SCHEMA:
            raise ValueError(
                f"schema of the batch journal = {document.get('schema')!r}: allowed {BATCH_SCHEMA}"
            )
        body = {k: v for k, v in document.items() if k != "schema"}
        body["jobs"] = tuple(_job_of(job) for job in document["jobs"])
        body["software"] = tuple(document["software"])
        return cls(**body)


def _job_of(document: Mapping[str, Any]) -> JobSpec:
    body = dict(document)
    body["command"] = tuple(document["command"])
    body["inputs"] = tuple(InputFile(**one) for one in document["inputs"])
    body["outputs"] = tuple(
        OutputSpec(**{**one, "validator": tuple(one["validator"])}) for one in document["outputs"]
    )
    body["limits"] = Limits(**document["limits"])
    return JobSpec(**body)


@dataclass(frozen=True)
class Attempt:
    """One submission of one job, as the back end knows it.

    `detail` is what the back end says of it; `reason`, where that says why it failed, one of the reasons of
    docs/runner.md.
    """

    job_id: str
    index: int
    attempt: int
    state: JobState
    detail: str = ""
    reason: str = ""

    @property
    def key(self) -> tuple[int, int]:
        return self.index, self.attempt


@dataclass(frozen=True)
class Load:
    """What a place has to do now, as far as the back end shows it to this identity: numbers of jobs.

    Of those that `ended_recently`, in the last `RECENT_S` seconds, `failed_recently` have failed or got lost;
    cancelled ones are in neither.
    """

    queued: int = 0
    running: int = 0
    failed_recently: int = 0
    ended_recently: int = 0

    @property
    def active(self) -> int:
        """Jobs that wait or run."""
        return self.queued + self.running

    @property
    def failure_rate(self) -> float:
        """Share of the jobs that have ended recently which failed, 0 to 1; 0 when none has ended."""
        return self.failed_recently / self.ended_recently if self.ended_recently else 0.0

    @classmethod
    def of(cls, active: Mapping[JobState, int], recent: Mapping[JobState, int]) -> Load:
        """Sum up the jobs that are there now, and those that have ended recently, by their state."""
        failed = recent.get(JobState.FAILED, 0) + recent.get(JobState.LOST, 0)
        ended = failed + recent.get(JobState.DONE, 0)
        return cls(active.get(JobState.QUEUED, 0), active.get(JobState.RUNNING, 0), failed, ended)


class JobCounts(Counter[JobState]):
    """Submissions by state. `stages` say which files those that run move now, by what they are doing."""

    def __init__(
        self,
        states: Mapping[JobState, int] | Iterable[JobState] = (),
        stages: Mapping[str, Moves] | None = None,
    ) -> None:
        super().__init__(states)
        self.stages: dict[str, Moves] = dict(stages or {})


class JobBackend(Protocol):
    """A workload management system (DIRAC, SLURM, ...), reached with one identity.

    All methods may be called again at any time: they find what an earlier call did.
    """

    def submit(self, batch: Batch, attempts: Mapping[int, int]) -> list[Attempt]:
        """Submit job `index` as attempt `attempts[index]` where it is not there yet; give all of them."""

    def counts(self, groups: Sequence[str]) -> dict[str, JobCounts]:
        """Count submissions by state, and what those that run move now, for many batches in one call."""

    def attempts(self, group: str) -> list[Attempt]:
        """List every submission of a batch."""

    def cancel(self, group: str) -> int:
        """Kill what is not terminal; give how many that were."""

    def reports(self, attempts: Sequence[Attempt]) -> dict[str, dict[str, Any]]:
        """Fetch `job-report.json` of terminal jobs by job id; jobs that wrote none are left out."""

    def clean_up(self, group: str) -> None:
        """Free what the batch holds at the back end (sandboxes)."""

    def load(self, site: str) -> Load:
        """Tell what a place (`Facility.site`) has to do, in one or two calls however many jobs there are."""


def digests(jobs: Iterable[JobSpec], software: Sequence[Mapping[str, str]]) -> dict[int, str]:
    """Give per job index SHA-256 of what decides its outputs: not where files lie, their order, or limits."""
    return {
        job.index: hashlib.sha256(canonical_json(_deciding(job, software)).encode()).hexdigest()
        for job in jobs
    }


def _deciding(job: JobSpec, software: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    return {
        "software": software,
        "command": job.command,
        "files": job.files,
        "environment": job.environment,
        "inputs": sorted((i.name, i.lfn, i.adler32.lower()) for i in job.inputs),
        "outputs": sorted((o.name, o.validator) for o in job.outputs),
    }


def group_name(dag_id: str, run_id: str, task_id: str) -> str:
    """Name a batch for ever by the task that owns it: the key that makes submission exactly-once."""
    digest = hashlib.sha256("\n".join((dag_id, run_id, task_id)).encode()).hexdigest()
    return f"esap-{digest[: GROUP_LENGTH - 5]}"


def job_name(group: str, index: int, attempt: int) -> str:
    """Name one submission of one job."""
    return f"{group}-{index:05d}-{attempt:02d}"


def parse_job_name(name: str) -> tuple[str, int, int]:
    """Give group, index and attempt; ValueError when `job_name` did not make it."""
    match = _NAME.match(name)
    if match is None:
        raise ValueError(f"not a job name of esap-batch: {name!r}")
    return match["group"], int(match["index"]), int(match["attempt"])
