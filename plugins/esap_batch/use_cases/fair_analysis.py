"""FAIR: a Python script of the user, run on worker nodes over files of the lake."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from esap_batch.basket import input_rules, read_basket
from esap_batch.errors import Problem
from esap_batch.facilities import Requirements
from esap_batch.fingerprint import canonical_json
from esap_batch.identity import Identity
from esap_batch.jobs import InputFile, JobSpec, Limits, OutputSpec
from esap_batch.partition import Split, Splitting
from esap_batch.projects import Projects
from esap_batch.runtimes import ANY
from esap_batch.selection import (
    Catalogue,
    DataSelection,
    Policy,
    select,
)
from esap_batch.use_cases.shared import CONFIG, asked_data, greeting, is_noop, needed
from esap_batch.workflows import Workflow

SCRIPT, PROFILE = "script.py", "profile.json"
PRODUCT, RESULT, PICTURE = "analysis.root", "result.json", "analysis.png"
MEGABYTE = 1_000_000
ONE_JOB = 1_000_000  # files: more than a basket has
SPLITS = {
    "one_job": Splitting(Split.PER_FILES, ONE_JOB),
    "per_observation": Splitting(Split.PER_OBSERVATION),
}


@dataclass(frozen=True)
class ToyData(DataSelection):
    """What a run reads that has nothing of the lake: candidates that its one job makes itself."""

    toy: Mapping[str, int] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return hashlib.sha256(canonical_json({"toy": self.toy}).encode()).hexdigest()

    def needs(self, places: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        return {"jobs": 1, "input_rses": {}}

    def document(self) -> dict[str, Any]:
        return {**super().document(), "toy": dict(self.toy)}


def check(request: Mapping[str, Any], _workflow: Workflow) -> list[Problem]:
    """Check across fields: each item of the basket, and that script and parameters can be read."""
    _, problems = read_basket(request.get("basket", []))
    return [*problems, *_script_problems(request["script"]), *_parameter_problems(request["parameters"])]


def choose(
    steering: Mapping[str, Any], identity: Identity, projects: Projects, catalogue: Catalogue
) -> DataSelection:
    """Find the data of basket and project, or plan toy data; SelectionRefused when there are none."""
    request, settings = steering["request"], steering["production"]
    rules = input_rules(settings["input_rules"])
    if not request.get("basket") and not request.get("project"):
        return ToyData((), (), toy={**settings["toy"], "events": request["toy_events"]})
    entries = asked_data(request, rules, identity, projects, catalogue)
    policy = Policy(
        rules=rules,
        refuses=lambda name: projects.refuses(name, identity),
        splitting=splitting(request),
        fail_on_unmatched=request["unmatched"] == "fail",
    )
    return select(entries, catalogue, policy)


def splitting(request: Mapping[str, Any]) -> Splitting:
    """Give the request's way to divide the data among jobs."""
    return SPLITS.get(request["split"]) or Splitting(Split.PER_FILES, request["files_per_job"])


def requirements(steering: Mapping[str, Any], identity: Identity) -> Requirements:
    """Say what a facility needs, and where the inputs are."""
    steps = _script_limits(steering, 0), _merge_limits(steering)
    return needed(steering, identity, steps, steering["needs"]["jobs"], ANY)


def script_jobs(
    steering: Mapping[str, Any], directory: str, inputs: Sequence[InputFile] = ()
) -> list[JobSpec]:
    """Make a job for each unit of the selection, or the one that makes its toy data itself."""
    selected, by_lfn = steering["selected"], {i.lfn: i for i in inputs}
    if toy := selected.get("toy"):
        return [_script_job(steering, directory, 0, (), toy)]
    units = [[by_lfn[lfn] for part in u["parts"] for lfn in part["lfns"]] for u in selected["units"]]
    return [_script_job(steering, directory, index, files, None) for index, files in enumerate(units)]


def merge_jobs(
    steering: Mapping[str, Any], directory: str, inputs: Sequence[InputFile] = ()
) -> list[JobSpec]:
    """Make the one job that puts the files of all scripts together."""
    if is_noop(steering):
        return [greeting(directory, 0, "hello.json", _merge_limits(steering), inputs)]
    profile = steering["profile"]
    config = {
        "files": sorted(i.name for i in inputs),
        "output": PRODUCT,
        "result": RESULT,
        "picture": PICTURE,
        "title": directory.rsplit("/", 1)[-1],
        "profile": profile,
    }
    root = ("esap-root", "validate", PRODUCT, "--profile", PROFILE)
    result = ("esap-root", "validate-result", RESULT, "--root", PRODUCT, "--profile", PROFILE)
    return [
        JobSpec(
            index=0,
            command=("esap-root", "merge", "--config", CONFIG),
            files={CONFIG: config, PROFILE: profile},
            inputs=tuple(inputs),
            outputs=(
                OutputSpec(PRODUCT, f"{directory}/{PRODUCT}", root),
                OutputSpec(RESULT, f"{directory}/{RESULT}", result),
                OutputSpec(PICTURE, f"{directory}/{PICTURE}"),
            ),
            limits=_merge_limits(steering),
        )
    ]


def _script_job(
    steering: Mapping[str, Any],
    directory: str,
    index: int,
    inputs: Sequence[InputFile],
    toy: Mapping[str, int] | None,
) -> JobSpec:
    limits = _script_limits(steering, sum(i.size for i in inputs))
    if is_noop(steering):
        return greeting(directory, index, f"hello_{index:05d}.json", limits, inputs)
    name, request = f"analysis_{index:05d}.root", steering["request"]
    config: dict[str, Any] = {
        "inputs": [i.name for i in inputs],
        "output": name,
        "parameters": json.loads(request["parameters"]),
    }
    if toy:
        config["toy"] = dict(toy)
    profile = {"required": steering["profile"]["required"], "min_entries": 0}
    checks = ("esap-root", "validate", name, "--profile", PROFILE)
    return JobSpec(
        index=index,
        command=("esap-root", "run", "--config", CONFIG),
        files={CONFIG: config, SCRIPT: request["script"], PROFILE: profile},
        inputs=tuple(inputs),
        outputs=(OutputSpec(name, f"{directory}/{name}", checks),),
        limits=limits,
    )


def _script_problems(script: str) -> Iterator[Problem]:
    """Compile the script, which runs none of it."""
    try:
        compile(script, SCRIPT, "exec", dont_inherit=True)
    except SyntaxError as error:
        line = (error.text or "").strip() or script
        yield Problem("script", line, "Python 3.11", f"line {error.lineno}: {error.msg}")
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        yield Problem("script", script, "Python 3.11", f"it cannot be compiled: {error}")


def _parameter_problems(text: str) -> Iterator[Problem]:
    allowed = 'a JSON object, e.g. {"pt_min_gev": 0.2}'
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        yield Problem("parameters", text, allowed, f"it is not JSON: {error}")
    else:
        if not isinstance(document, dict):
            yield Problem("parameters", text, allowed, "it is JSON, but no object")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _script_limits(steering: Mapping[str, Any], input_bytes: int) -> Limits:
    request, limits = steering["request"], steering["limits"]
    size = max(input_bytes, request["toy_events"] * limits["disk_bytes_per_toy"])
    disk_mb = limits["disk_mb"] + math.ceil(2 * size / MEGABYTE)  # the output may be as large as the input
    return Limits(request["cputime_s"], request["memory_mb"], disk_mb)


def _merge_limits(steering: Mapping[str, Any]) -> Limits:
    return Limits(**steering["limits"]["merge"])
