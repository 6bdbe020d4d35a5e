"""What to do with a batch whose submissions have all ended: finish, submit some again, or give up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from esap_batch.facilities import Facility
from esap_batch.jobs import Attempt, JobState, Limits

# Running the same thing again cannot help: reasons of the runner's report (docs/runner.md).
FINAL_REASONS = frozenset({"BAD_DESCRIPTION", "SOFTWARE_MISSING", "INPUT_MISSING", "INPUT_CORRUPT"})
# Of these the ones that may be one node's fault, which has not mounted what others have: a second try tells.
OF_ONE_NODE = frozenset({"SOFTWARE_MISSING", "INPUT_MISSING"})

# Reasons of the runner's that leave open why, where the back end says more: a site's own memory limit kills
# the payload and leaves the runner.
UNTOLD = ("OK", "TERMINATED", "PAYLOAD_SIGNAL", "PAYLOAD_FAILED")

# What a job ran out of: the reason, the member of `Limits`, the facility's maximum, and its name and unit.
DIMENSIONS: Mapping[str, tuple[str, str, str]] = {
    "MEMORY_LIMIT": ("memory_mb", "max_memory_mb", "MB of memory"),
    "TIME_LIMIT": ("wall_time_s", "max_wall_time_s", "s of wall time"),
    "DISK_LIMIT": ("disk_mb", "max_disk_mb", "MB of scratch disk"),
}

ACTIONS: Mapping[str, str] = {
    "BAD_DESCRIPTION": "this is a fault of the workflow: tell its maintainers",
    "SOFTWARE_MISSING": "choose a facility that has the software",
    "INPUT_MISSING": "clear the task that makes the inputs, so that they are made again",
    "INPUT_CORRUPT": "clear the task that makes the inputs, so that they are made again",
    "INPUT_UNREACHABLE": "see whether the storage of the inputs is up, then clear this task",
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
    "JOB_CHANGED": "the job ended well, but is not the same any more; clear this task to submit it again",
    "NODE_FAILED": "a worker node has failed; clear this task to submit the job again",
    "PREEMPTED": "other work of the site went first; clear this task to submit the job again",
    "LOST": "the back end has lost the job; clear this task to submit it again",
}


@dataclass(frozen=True)
class Diagnosis:
    """Why one job failed, and what its user can do; `advice` where that is not the same for all such jobs."""

    index: int
    attempt: int
    job_id: str
    reason: str
    message: str
    log_tail: tuple[str, ...] = ()
    advice: str = ""

    @property
    def action(self) -> str:
        return self.advice or ACTIONS.get(self.reason, "read the job's log")

    def __str__(self) -> str:
        where = f"job {self.index} (attempt {self.attempt}, id {self.job_id})"
        return f"{where}: DIAGNOSIS {self.reason}: {self.message.rstrip('.')}. ACTION {self.action}"


@dataclass(frozen=True)
class Decision:
    """`done` and `failed` are final, `resubmit` maps job index to the attempt to submit now.

    `limits` are those under which jobs are to be submitted again, where they are not the batch's own;
    `again` says of each job that is submitted again why.
    """

    done: Mapping[int, Attempt]
    failed: tuple[Diagnosis, ...]
    resubmit: Mapping[int, int]
    failures_exceeded: bool
    limits: Mapping[int, Limits] = field(default_factory=dict)
    again: tuple[Diagnosis, ...] = ()

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
    """Say why a job failed, from the runner's report or, without one, from what the back end says.

    A job that was ended from outside, or whose payload was, knows only that; the back end may know why.
    """
    tail = tuple(str((report or {}).get("payload_log_tail") or "").splitlines()[-20:])
    if attempt.state is JobState.CANCELLED:
        return Diagnosis(attempt.index, attempt.attempt, attempt.job_id, "CANCELLED", "it was killed.")
    if attempt.reason and (report is None or report["reason"] in UNTOLD):
        message = f"the facility says: {attempt.detail}."
        return Diagnosis(attempt.index, attempt.attempt, attempt.job_id, attempt.reason, message, tail)
    if report is None or report.get("reason") == "OK":
        message = f"no job report came back; the facility says: {attempt.detail or 'nothing'}."
        return Diagnosis(attempt.index, attempt.attempt, attempt.job_id, "LOST", message)
    return Diagnosis(
        attempt.index, attempt.attempt, attempt.job_id, report["reason"], str(report["message"]), tail
    )


def known_attempts(attempts: Iterable[Attempt], kept: Mapping[str, Mapping[str, Any]]) -> list[Attempt]:
    """Add the finished jobs that only their kept reports know: a back end forgets its jobs after a while."""
    known = {a.job_id: a for a in attempts}
    for job_id, report in kept.items():
        forgotten = job_id not in known or known[job_id].state is JobState.LOST
        if report["reason"] == "OK" and forgotten:
            known[job_id] = Attempt(job_id, int(report["index"]), int(report["attempt"]), JobState.DONE)
    return list(known.values())


def cannot_heal(reason: str, tries: int) -> bool:
    """Tell whether another try cannot help, after so many of them."""
    return reason in FINAL_REASONS and (tries > 1 or reason not in OF_ONE_NODE)


def limits_of(reports: Iterable[Mapping[str, Any]]) -> dict[int, Limits]:
    """Give per job index the limits that its newest attempt with a report ran under."""
    newest = sorted((r for r in reports if r.get("limits")), key=lambda r: int(r["attempt"]))
    return {int(r["index"]): Limits(**r["limits"]) for r in newest}


def raised(limits: Limits, reason: str, facility: Facility, factor: float) -> Limits:
    """Give more of what a job ran out of, at most what the facility gives; the same limits at its maximum."""
    if reason not in DIMENSIONS:
        return limits
    name, maximum, _ = DIMENSIONS[reason]
    most, now = getattr(facility.limits, maximum), getattr(limits, name)
    return replace(limits, **{name: max(now, min(most, round(now * factor)))})


def decide(
    count: int,
    attempts: Sequence[Attempt],
    diagnoses: Mapping[int, Diagnosis],
    attempt_limit: int,
    allowed_failures: int,
    *,
    before: int = 0,
    limits: Mapping[int, Limits] | None = None,
    facility: Facility | None = None,
    factor: float = 2.0,
) -> Decision:
    """Decide over a batch of `count` jobs, none of which is queued or running.

    `diagnoses` are of the jobs that are not well, whatever their state says; an index without any attempt
    was never submitted, or lost. `attempt_limit` is the highest attempt number allowed. Attempts up to number
    `before` were made before a user asked for another go: what stopped them may have been mended.
    `limits` are what the jobs had. With `facility`, a job that ran out of something gets `factor` times as
    much of it, up to the facility's maximum; a job that had the maximum has failed for good.
    """
    latest = latest_attempts(attempts)
    newest = {a.index: a.attempt for a in sorted(attempts, key=lambda a: a.attempt)}
    done = {i: a for i, a in latest.items() if a.state is JobState.DONE and i not in diagnoses}
    resubmit: dict[int, int] = {}
    more: dict[int, Limits] = {}
    failed, again = [], []
    for index in range(count):
        if index in done:
            continue
        last, had = newest.get(index, 0), (limits or {}).get(index)
        found = diagnoses.get(index) or _unknown(index, last)
        given = raised(had, found.reason, facility, factor) if had and facility else had
        hopeless = cannot_heal(found.reason, last - before)
        if facility and had and given == had and found.reason in DIMENSIONS:
            hopeless, found = True, replace(found, advice=_at_maximum(found.reason, had, facility))
        if last < attempt_limit and (not hopeless or last <= before):
            resubmit[index] = last + 1
            more |= {index: given} if given else {}
            again.append(replace(found, advice=_next_try(last + 1, found.reason, had, given)))
        else:
            failed.append(found)
    exceeded = len(failed) > allowed_failures
    return Decision(done, tuple(failed), resubmit, exceeded, more, tuple(again))


def _unknown(index: int, attempt: int) -> Diagnosis:
    return Diagnosis(index, attempt, "none", "LOST", "the back end does not know it.")


def _at_maximum(reason: str, had: Limits, facility: Facility) -> str:
    name, _, unit = DIMENSIONS[reason]
    return (
        f"{getattr(had, name)} {unit} is the most that {facility.title} gives a job: "
        "choose another facility or split the work into more jobs"
    )


def _next_try(attempt: int, reason: str, had: Limits | None, given: Limits | None) -> str:
    text = f"it is submitted again as attempt {attempt}"
    if had is None or given is None or given == had:
        return text
    name, _, unit = DIMENSIONS[reason]
    return f"{text}, with {getattr(given, name)} {unit} instead of {getattr(had, name)}"
