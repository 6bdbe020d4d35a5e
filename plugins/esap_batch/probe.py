"""The job that looks at a facility from inside, and what its findings mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from esap_batch.facilities import Facility
from esap_batch.health import CLOCK, JOB, RUNTIMES, SOFTWARE, STORAGE, Check, Outcome
from esap_batch.jobs import Batch, InputFile, JobSpec, Limits, OutputSpec
from esap_batch.products import work_lfn

PROGRAM, ASKED, FOUND, PING = "esap_probe.py", "probe.json", "found.json", "ping.json"
LIMITS = Limits(wall_time_s=300, memory_mb=500, disk_mb=100)
OF_STORAGE = (
    "INPUT_MISSING",
    "INPUT_CORRUPT",
    "INPUT_UNREACHABLE",
    "UPLOAD_FAILED",
)  # reasons of the runner's that tell of it


def found_lfn(group: str) -> str:
    """Name the file that the job writes."""
    return f"{work_lfn(group)}/{FOUND}"


def probe_batch(facility: Facility, group: str, program: str, ping: InputFile) -> Batch:
    """Make a batch of one job that reads `ping`, looks around and writes what it has found.

    It starts as a plain program whatever the facility's own runtimes are: those are what it looks at.
    """
    asked = {
        "software": [[name, v] for name, versions in facility.software.items() for v in versions],
        "runtimes": [dict(r) for r in facility.runtimes],
    }
    job = JobSpec(
        index=0,
        command=("python3", PROGRAM),
        files={PROGRAM: program, ASKED: asked},
        inputs=(ping,),
        outputs=(OutputSpec(FOUND, found_lfn(group)),),
        limits=LIMITS,
    )
    return Batch(group, (job,), site=facility.site, job_type="Test", transfer=facility.transfer)


def findings(
    found: Mapping[str, Any], submitted_at: float, seen_at: float, tolerance_s: float
) -> Iterator[Check]:
    """Judge what the job has found.

    :param submitted_at: our time before the job was sent. :param seen_at: our time when it had ended: a clock
        that is within these and `tolerance_s` (s) is right as far as can be told.
    """
    yield Check(STORAGE, Outcome.PASSED)
    yield Check(JOB, Outcome.PASSED)
    off_s = max(submitted_at - found["time"], found["time"] - seen_at)
    side = "behind" if found["time"] < submitted_at else "ahead"
    if off_s > tolerance_s:
        yield Check(CLOCK, Outcome.FAILED, f"the worker's is at least {off_s:.0f} s {side}")
    else:
        yield Check(CLOCK, Outcome.PASSED)
    for name in (SOFTWARE, RUNTIMES):
        wrong = {what: why for what, why in sorted(found[name].items()) if why}
        outcome = Outcome.FAILED if wrong else Outcome.PASSED
        detail = "; ".join(f"{what}: {why}" for what, why in wrong.items())
        yield Check(name, outcome, detail, lacking=tuple(wrong))


def failure(report: Mapping[str, Any] | None, detail: str) -> Iterator[Check]:
    """Judge a job that has not ended well: by its report, or by what the back end says of it."""
    reason = report["reason"] if report else ""
    told = f"{reason}: {report['message']}" if report else f"it left no report: {detail}"
    if reason in OF_STORAGE:
        yield Check(STORAGE, Outcome.FAILED, told)
        yield Check(JOB, Outcome.PASSED)
    else:
        yield Check(JOB, Outcome.FAILED, told)
