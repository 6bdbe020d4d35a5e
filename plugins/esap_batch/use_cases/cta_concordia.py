"""UC13, CONCORDIA: air showers by CORSIKA in a container, for CTA and KM3NeT."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from esap_batch.containers import ImageOrder
from esap_batch.errors import Problem
from esap_batch.facilities import Requirements
from esap_batch.identity import Identity
from esap_batch.jobs import InputFile, JobSpec, Limits, OutputSpec
from esap_batch.run_card import Run, card_problems, card_text, runs_of
from esap_batch.runtimes import CONTAINED, PLAIN
from esap_batch.use_cases.shared import CONFIG, NOOP, greeting, needed
from esap_batch.workflows import Workflow

CARD, SUMMARY, PLOT = "run.inp", "summary.json", "showers.png"
MEGABYTE = 1e6


def check(request: Mapping[str, Any], workflow: Workflow) -> list[Problem]:
    """Check across fields: the run card, and the size of the production."""
    problems = card_problems(request)
    most = workflow.steering["limits"]["max_showers_per_job"]
    per_job = math.ceil(request["NSHOW"] / request["n_jobs"])
    if not problems and per_job > most:
        allowed = f"at least {math.ceil(request['NSHOW'] / most)} for NSHOW = {request['NSHOW']}"
        problems = [Problem("n_jobs", request["n_jobs"], allowed, f"a job makes at most {most} showers")]
    return problems


def image(steering: Mapping[str, Any]) -> ImageOrder | None:
    """Say which container the showers need; none for the no-op twin."""
    request = steering["request"]
    if request["processor"] == NOOP:
        return None
    made = steering["production"]["image"]
    defines = {key: request[key] for key in ("HIGH_MODEL", "LOW_MODEL", "GEOMETRY")}
    return ImageOrder(made["name"], made["version"], {**defines, **dict.fromkeys(request["OPTIONS"], "")})


def shower_jobs(
    steering: Mapping[str, Any], directory: str, inputs: Sequence[InputFile] = ()
) -> list[JobSpec]:
    """Make a job for each run; `inputs` is the container's image, which every job needs."""
    runs = runs_of(steering["request"])
    if steering["request"]["processor"] == NOOP:
        return [_no_showers(steering, directory, n, run.file) for n, run in enumerate(runs)]
    return [_shower_job(steering, directory, n, run, inputs) for n, run in enumerate(runs)]


def summary_jobs(steering: Mapping[str, Any], directory: str, inputs: Sequence[InputFile]) -> list[JobSpec]:
    """Make the one job that sums up all runs in numbers and a picture."""
    request = steering["request"]
    if request["processor"] == NOOP:
        return [_no_showers(steering, directory, 0, "summary")]
    runs = runs_of(request)
    config = {
        "files": [run.file for run in runs],
        "cards": {run.file: card_text(request, run) for run in runs},
        "production_id": directory.rsplit("/", 1)[-1],
        "configuration": image_title(steering),
    }
    expected = ("--runs", str(len(runs)), "--showers", str(request["NSHOW"]))
    checks = ("esap-corsika", "validate-summary", SUMMARY, *expected)
    command = ("esap-fits", "summarise-showers", "--config", CONFIG, "--output", SUMMARY, "--plot", PLOT)
    return [
        JobSpec(
            index=0,
            command=command,
            files={CONFIG: config},
            inputs=tuple(i for i in inputs if i.name in config["files"]),
            outputs=(
                OutputSpec(SUMMARY, f"{directory}/{SUMMARY}", checks),
                OutputSpec(PLOT, f"{directory}/{PLOT}"),
            ),
            limits=_limits(steering, "summary", request["NSHOW"]),
        )
    ]


def image_title(steering: Mapping[str, Any]) -> str:
    """Name the configuration of the container in a line."""
    request = steering["request"]
    models = [request[key] for key in ("HIGH_MODEL", "LOW_MODEL", "GEOMETRY")]
    return ", ".join([*models, *request["OPTIONS"]])


def requirements(steering: Mapping[str, Any], identity: Identity) -> Requirements:
    """Say what a facility needs for the showers and their summary, which run at the same one."""
    request = steering["request"]
    steps = (
        _limits(steering, "showers", _showers_per_job(request)),
        _limits(steering, "summary", request["NSHOW"]),
    )
    runtimes = (PLAIN,) if request["processor"] == NOOP else CONTAINED
    return needed(steering, identity, steps, request["n_jobs"], runtimes)


def _shower_job(
    steering: Mapping[str, Any], directory: str, index: int, run: Run, inputs: Sequence[InputFile]
) -> JobSpec:
    log = f"{run.file}.log"
    checks = ("esap-corsika", "validate", run.file, "--card", CARD, "--log", log)
    return JobSpec(
        index=index,
        command=(steering["production"]["program"], CARD, log),
        files={CARD: card_text(steering["request"], run)},
        inputs=tuple(inputs),
        outputs=(
            OutputSpec(run.file, f"{directory}/{run.file}", checks),
            OutputSpec(log, f"{directory}/{log}"),
        ),
        limits=_limits(steering, "showers", _showers_per_job(steering["request"])),
    )


def _no_showers(steering: Mapping[str, Any], directory: str, index: int, stem: str) -> JobSpec:
    limits = _limits(steering, "summary", 0)
    return greeting(directory, index, f"{stem}.json", limits, message=f"{stem}: no showers, as asked")


def _showers_per_job(request: Mapping[str, Any]) -> int:
    return math.ceil(int(request["NSHOW"]) / int(request["n_jobs"]))


def _limits(steering: Mapping[str, Any], step: str, showers: int) -> Limits:
    limits, asked = steering["limits"][step], steering["request"].get("cputime_s")
    estimated = math.ceil(limits["wall_time_s"] + limits["seconds_per_shower"] * showers)
    return Limits(
        wall_time_s=asked if asked and step == "showers" else estimated,
        memory_mb=limits["memory_mb"],
        disk_mb=math.ceil(limits["disk_mb"] + limits["disk_bytes_per_shower"] * showers / MEGABYTE),
    )
