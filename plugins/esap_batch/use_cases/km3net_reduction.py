"""KM3NeT: high volume in, small volume out, by the parameters of a processing campaign."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from esap_batch.basket import LAKE, Entry, InputRule, input_rules, read_basket
from esap_batch.errors import Problem
from esap_batch.facilities import Requirements
from esap_batch.identity import Identity
from esap_batch.jobs import InputFile, JobSpec, Limits, OutputSpec
from esap_batch.observations import Selection, parse_numbers
from esap_batch.partition import Split, Splitting
from esap_batch.projects import Projects
from esap_batch.runtimes import ANY
from esap_batch.selection import Catalogue, DataSelection, Policy, select
from esap_batch.use_cases.shared import CONFIG, greeting, is_noop, needed
from esap_batch.workflows import Workflow

EXPECT = "expect.json"
PRODUCT, SUMMARY, PICTURE = "reduced.root", "summary.json", "reduced.png"
MEGABYTE = 1_000_000


def check(request: Mapping[str, Any], _workflow: Workflow) -> list[Problem]:
    """Check across fields: where data come from, each item of the basket, and the numbers of runs."""
    _, problems = read_basket(request.get("basket", []))
    return [*problems, *_run_problems(request)]


def choose(
    steering: Mapping[str, Any], identity: Identity, projects: Projects, catalogue: Catalogue
) -> DataSelection:
    """Find the runs asked for; SelectionRefused when there are none that can be reduced."""
    request = steering["request"]
    rules = input_rules(steering["production"]["input_rules"])
    entries: list[Entry]
    entries, _ = read_basket(request.get("basket", []))
    if request.get("run_ids"):
        entries = [*entries, *search_runs(catalogue, rules, request["run_ids"])]
    policy = Policy(
        rules=rules,
        refuses=lambda name: projects.refuses(name, identity),
        splitting=splitting(request),
        fail_on_unmatched=request["unmatched"] == "fail",
    )
    return select(entries, catalogue, policy)


def search_runs(catalogue: Catalogue, rules: Sequence[InputRule], run_ids: str) -> list[Entry]:
    """Find runs by their numbers, by every rule for the lake, in the order of their names."""
    numbers = parse_numbers(run_ids)
    return [
        Entry(f"runs {run_ids}", LAKE, name, rule.scope, "dataset")
        for rule in rules
        if rule.archive == LAKE
        for name in sorted(catalogue.find(rule.scope, Selection(numbers, equal=rule.metadata).filters()))
    ]


def splitting(request: Mapping[str, Any]) -> Splitting:
    """Give the request's way to divide the data among jobs."""
    if request["split"] == "per_file":
        return Splitting(Split.PER_FILES, 1)
    return Splitting(Split.PER_SIZE, size=request["input_mb"] * MEGABYTE)


def requirements(steering: Mapping[str, Any], identity: Identity) -> Requirements:
    """Say what a facility needs, and where the inputs are."""
    steps = _reduce_limits(steering, steering["request"]["input_mb"] * MEGABYTE), _merge_limits(steering)
    return needed(steering, identity, steps, steering["needs"]["jobs"], ANY)


def campaign_of(steering: Mapping[str, Any]) -> dict[str, Any]:
    """Give the parameters of the campaign, the same for every run and job."""
    (campaign,) = steering["calibration"]["tables"]
    return dict(campaign)


def reduction_jobs(
    steering: Mapping[str, Any], directory: str, inputs: Sequence[InputFile] = ()
) -> list[JobSpec]:
    """Make a job for each unit of the selection: detector files in, one line an event out."""
    by_lfn = {i.lfn: i for i in inputs}
    return [
        _reduction_job(steering, directory, index, unit["parts"], by_lfn)
        for index, unit in enumerate(steering["selected"]["units"])
    ]


def merge_jobs(
    steering: Mapping[str, Any], directory: str, inputs: Sequence[InputFile] = ()
) -> list[JobSpec]:
    """Make the one job that puts all reduced data together."""
    if is_noop(steering):
        return [greeting(directory, 0, "hello.json", _merge_limits(steering), inputs)]
    campaign = campaign_of(steering)
    config = {
        "files": sorted(i.name for i in inputs),
        "output": PRODUCT,
        "summary": SUMMARY,
        "picture": PICTURE,
        "campaign": campaign,
    }
    expected = {"runs": _merged_runs(steering, inputs), "campaign": campaign}
    root = ("esap-root", "validate-reduced", PRODUCT, "--expect", EXPECT)
    summary = ("esap-root", "validate-summary", SUMMARY, "--root", PRODUCT)
    return [
        JobSpec(
            index=0,
            command=("esap-root", "merge-reduced", "--config", CONFIG),
            files={CONFIG: config, EXPECT: expected},
            inputs=tuple(inputs),
            outputs=(
                OutputSpec(PRODUCT, f"{directory}/{PRODUCT}", root),
                OutputSpec(SUMMARY, f"{directory}/{SUMMARY}", summary),
                OutputSpec(PICTURE, f"{directory}/{PICTURE}"),
            ),
            limits=_merge_limits(steering),
        )
    ]


def _reduction_job(
    steering: Mapping[str, Any],
    directory: str,
    index: int,
    parts: Sequence[Mapping[str, Any]],
    by_lfn: Mapping[str, InputFile],
) -> JobSpec:
    files = [by_lfn[lfn] for part in parts for lfn in part["lfns"]]
    limits = _reduce_limits(steering, sum(f.size for f in files))
    if is_noop(steering):
        return greeting(directory, index, f"hello_{index:05d}.json", limits, files)
    name, campaign = _reduced(index), campaign_of(steering)
    runs = {by_lfn[lfn].name: part["obs_id"] for part in parts for lfn in part["lfns"]}
    expected = {"runs": sorted(set(runs.values())), "campaign": campaign}
    checks = ("esap-root", "validate-reduced", name, "--expect", EXPECT)
    return JobSpec(
        index=index,
        command=("esap-root", "reduce", "--config", CONFIG),
        files={CONFIG: {"inputs": runs, "output": name, "campaign": campaign}, EXPECT: expected},
        inputs=tuple(files),
        outputs=(OutputSpec(name, f"{directory}/{name}", checks),),
        limits=limits,
    )


def _reduced(index: int) -> str:
    return f"reduced_{index:05d}.root"


def _merged_runs(steering: Mapping[str, Any], inputs: Sequence[InputFile]) -> list[int]:
    """Give the runs of those jobs that have made their file: some may have failed, as the request allows."""
    made = {i.name for i in inputs}
    units = steering["selected"]["units"]
    return sorted({p["obs_id"] for n, u in enumerate(units) if _reduced(n) in made for p in u["parts"]})


def _run_problems(request: Mapping[str, Any]) -> Iterator[Problem]:
    run_ids = request.get("run_ids", "")
    if run_ids:
        try:
            parse_numbers(run_ids)
        except ValueError as error:
            yield Problem("run_ids", run_ids, "numbers and ranges like 101-103, 105", str(error))
    elif not request.get("basket"):
        allowed = "numbers and ranges like 101-103, 105, or a basket with items"
        yield Problem("run_ids", run_ids, allowed, "nothing says which runs to reduce")


def _reduce_limits(steering: Mapping[str, Any], input_bytes: int) -> Limits:
    limits, size_mb = steering["limits"]["reduce"], math.ceil(input_bytes / MEGABYTE)
    seconds = limits["wall_time_s"] + math.ceil(limits["seconds_per_mb"] * size_mb)
    return Limits(seconds, limits["memory_mb"], limits["disk_mb"] + 2 * size_mb)


def _merge_limits(steering: Mapping[str, Any]) -> Limits:
    return Limits(**steering["limits"]["merge"])
