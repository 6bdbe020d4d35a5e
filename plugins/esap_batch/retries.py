"""What to do with a batch whose submissions have all ended: finish, submit some again, or give up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from esap_batch.jobs import Attempt, JobState

# Running the same thing again cannot help: reasons of the runner's report (docs/runner.md).
FINAL_REASONS = frozenset({"BAD_DESCRIPTION", "SOFTWARE_MISSING", "INPUT_MISSING", "INPUT_CORRUPT"})

ACTIONS: Mapping[str, str] = {
    "BAD_DESCRIPTION": "this is a fault of the workflow: tell its maintainers",
    "SOFTWARE_MISSING": "choose a facility that has the software",
    "INPUT_MISSING": "clear the task that makes the inputs, so that they are made again",
    "INPUT_CORRUPT": "clear the task that makes the inputs, so that they are made again",
    "PAYLOAD_FAILED": "read the payload's log below",
    "PAYLOAD_SIGNAL": "read the payload's log below",
    "MEMORY_LIMIT": "ask for more memory",
    "TIME_LIMIT": "ask for more time or split into more jobs",
    "DISK_LIMIT": "ask for more scratch disk",
    "OUTPUT_MISSING": "read the payload's log below",
    "VALIDATOR_FAILED": "read the payload's log below",
    "UPLOAD_FAILED": "see whether the storage element of the facility is up, then clear this task",
    "TERMINATED": "the site ended the job; clear this task to submit it again",
    "CANCELLED": "clear this task to submit it again",
    "OUTPUT_INVALID": "read the payload's log below",
    "OUTPUT_LOST": "the job ended well but its output is not on the storage element any more",
    "LOST": "the back end has lost the job; clear this task to submit it again",
}


@dataclass(frozen=True)
class Diagnosis:
    """Why one job failed, and what its user can do."""

    index: int
    attempt: int
    job_id: str
    reason: str
    message: str
    log_tail: tuple[str, ...] = ()

    @property
    def action(self) -> str:
        return ACTIONS.get(self.reason, "read the job's log")

    def __str__(self) -> str:
        where = f"job {self.index} (attempt {self.attempt}, id {self.job_id})"
        return f"{where}: DIAGNOSIS {self.reason}: {self.message} ACTION {self.action}"


@dataclass(frozen=True)
class Decision:
    """`done` and `failed` are final, `resubmit` maps job index to the attempt to submit now."""

    done: Mapping[int, Attempt]
    failed: tuple[Diagnosis, ...]
    resubmit: Mapping[int, int]
    failures_exceeded: bool

    @property
    def is_final(self) -> bool:
        return self.failures_exceeded or not self.resubmit


def latest_attempts(attempts: Iterable[Attempt]) -> dict[int, Attempt]:
    """Give per job index what counts: a completed attempt if there is one, else the newest."""
    chosen: dict[int, Attempt] = {}
    for one in sorted(attempts, key=lambda a: (a.state is JobState.DONE, a.attempt)):
        chosen[one.index] = one
    return chosen


def duplicates(attempts: Iterable[Attempt]) -> list[Attempt]:
    """Find second submissions under one name: what a worker killed in mid-request can leave.

    The lowest job id of each name is the one that stays.
    """
    first: dict[tuple[int, int], Attempt] = {}
    extra = []
    for one in sorted(attempts, key=lambda a: (len(a.job_id), a.job_id)):
        if first.setdefault(one.key, one) is not one:
            extra.append(one)
    return extra


def diagnose(attempt: Attempt, report: Mapping[str, Any] | None) -> Diagnosis:
    """Say why a job failed, from the runner's report or, without one, from what the back end says."""
    if attempt.state is JobState.CANCELLED:
        return Diagnosis(attempt.index, attempt.attempt, attempt.job_id, "CANCELLED", "it was killed.")
    if report is None or report.get("reason") == "OK":
        message = f"no job report came back; the facility says: {attempt.detail or 'nothing'}."
        return Diagnosis(attempt.index, attempt.attempt, attempt.job_id, "LOST", message)
    tail = tuple(str(report.get("payload_log_tail") or "").splitlines()[-20:])
    return Diagnosis(
        attempt.index, attempt.attempt, attempt.job_id, report["reason"], str(report["message"]), tail
    )


def decide(
    count: int,
    attempts: Sequence[Attempt],
    diagnoses: Mapping[int, Diagnosis],
    attempt_limit: int,
    allowed_failures: int,
) -> Decision:
    """Decide over a batch of `count` jobs, none of which is queued or running.

    `diagnoses` are of the jobs that are not well, whatever their state says; an index without any attempt
    was never submitted, or lost. `attempt_limit` is the highest attempt number allowed.
    """
    latest = latest_attempts(attempts)
    newest = {a.index: a.attempt for a in sorted(attempts, key=lambda a: a.attempt)}
    done = {i: a for i, a in latest.items() if a.state is JobState.DONE and i not in diagnoses}
    resubmit: dict[int, int] = {}
    failed = []
    for index in range(count):
        if index in done:
            continue
        last = newest.get(index, 0)
        unknown = Diagnosis(index, last, "none", "LOST", "the back end does not know it.")
        found = diagnoses.get(index) or unknown
        if last < attempt_limit and found.reason not in FINAL_REASONS:
            resubmit[index] = last + 1
        else:
            failed.append(found)
    return Decision(done, tuple(failed), resubmit, failures_exceeded=len(failed) > allowed_failures)
