"""Jobs that do next to nothing, or misbehave as asked: the smallest complete use case."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from esap_batch.errors import Problem
from esap_batch.facilities import Requirements
from esap_batch.identity import Identity
from esap_batch.jobs import InputFile, JobSpec, Limits, OutputSpec
from esap_batch.use_cases.shared import CONFIG, needed
from esap_batch.workflows import Workflow


def check(_request: Mapping[str, Any], _workflow: Workflow) -> list[Problem]:
    """Check across fields: there is nothing that the schema does not say."""
    return []


def jobs(steering: Mapping[str, Any], directory: str, _inputs: Sequence[InputFile] = ()) -> list[JobSpec]:
    """Make the jobs; each writes one greeting, `partial_output` promises a second that it does not write."""
    return [_job(steering, directory, index) for index in range(steering["request"]["n_jobs"])]


def requirements(steering: Mapping[str, Any], identity: Identity) -> Requirements:
    """Say what a facility needs."""
    return needed(steering, identity, [_limits(steering)], steering["request"]["n_jobs"])


def _job(steering: Mapping[str, Any], directory: str, index: int) -> JobSpec:
    request, behaviour = steering["request"], steering["request"]["behaviour"]
    names = [f"hello_{index:05d}.json"]
    if behaviour == "partial_output":
        names.append(f"hello_{index:05d}_more.json")
    config = {
        "behaviour": behaviour,
        "outputs": names,
        "message": request["message"],
        "index": index,
        "duration_s": request["duration_s"],
        "memory_mb": request["memory_mb"],
        **_particulars(steering, index),
    }
    return JobSpec(
        index=index,
        command=("esap-noop", "run", "--config", CONFIG),
        files={CONFIG: config},
        outputs=tuple(OutputSpec(n, f"{directory}/{n}", ("esap-noop", "validate", n)) for n in names),
        limits=_limits(steering),
    )


def _particulars(steering: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Say what the payload has to be told to behave as asked."""
    request, settings = steering["request"], steering["production"]
    failing = index < request["failing_jobs"]
    told: dict[str, dict[str, Any]] = {
        "some_fail": {
            "behaviour": "fail_once" if failing else "ok",
            "failing_attempts": request["failing_attempts"],
        },
        "too_long": {"duration_s": settings["endless_s"]},
        "too_much_memory": {"memory_mb": request["memory_mb"] * settings["memory_overdraft"]},
        "more_time": {"behaviour": "slow", "duration_s": request["duration_s"] * settings["shortfall"]},
        "more_memory": {
            "behaviour": "memory",
            "memory_mb": request["memory_mb"] * settings["shortfall"],
            "duration_s": settings["hold_s"],
        },
    }
    return told.get(request["behaviour"], {})


def _limits(steering: Mapping[str, Any]) -> Limits:
    request, limits = steering["request"], steering["limits"]
    spare = 0 if request["behaviour"] in ("too_long", "more_time") else limits["wall_time_s"]
    return Limits(
        wall_time_s=math.ceil(request["duration_s"] + spare),
        memory_mb=request["memory_mb"],
        disk_mb=limits["disk_mb"],
    )
