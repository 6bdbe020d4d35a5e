"""HI sources in a data cube (HCG 16, HI-FRIENDS): jobs for sub-cubes and one to merge, or a workflow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from esap_batch.basket import Entry, input_rules, read_basket
from esap_batch.cubes import (
    CubeSelection,
    beam_pixels,
    cube_entry,
    find_archive,
    find_cube,
    shape_of,
    with_plan,
)
from esap_batch.errors import Problem
from esap_batch.facilities import Requirements
from esap_batch.identity import Identity
from esap_batch.jobs import InputFile, JobSpec, Limits, OutputSpec
from esap_batch.own_workflow import ABOUT, CONFIG, files_of, is_own, workflow_problems
from esap_batch.partition import Split, Splitting
from esap_batch.projects import Projects
from esap_batch.runtimes import ANY
from esap_batch.selection import Catalogue, Policy, SelectionRefused
from esap_batch.subcubes import cut, least_overlap
from esap_batch.use_cases.shared import dated, greeting, needed
from esap_batch.workflows import Workflow

PROGRAM = "esap-ska"
MAPS = "moments.fits"
# What the analysis leaves, and what is looked up for its check.
RESULTS: Mapping[str, tuple[str, ...]] = {
    MAPS: (),
    "catalogue.vot": ("--maps", MAPS),
    "mask.fits.gz": (),
    "overview.png": (),
}
SEARCH = (
    "threshold_sigma",
    "spatial_kernels",
    "spectral_kernels",
    "min_cells",
    "min_pixels",
    "min_channels",
)
MEGABYTE = 1e6


def check(request: Mapping[str, Any], workflow: Workflow) -> list[Problem]:
    """Check across fields: where the cube comes from, kernels and overlap, and what a workflow brings."""
    _, problems = read_basket(request.get("basket", []))
    return [*problems, *_source_problems(request), *_kernel_problems(request), *workflow_problems(request)]


def choose(
    steering: Mapping[str, Any], identity: Identity, projects: Projects, catalogue: Catalogue
) -> CubeSelection:
    """Find the cube and plan its sub-cubes; SelectionRefused when that cannot be done."""
    request, limits = steering["request"], steering["limits"]
    entries: list[Entry]
    entries, _ = read_basket(request.get("basket", []))
    if name := request.get("cube"):
        entries = [*entries, cube_entry(name)]
    policy = Policy(
        rules=input_rules(steering["production"]["input_rules"]),
        refuses=lambda project: projects.refuses(project, identity),
        splitting=Splitting(Split.PER_OBSERVATION),
    )
    found = find_cube(entries, catalogue, policy)
    subcubes = cut(shape_of(found), request["subcube_pixels"], request["subcube_channels"])
    if len(subcubes) > limits["max_subcubes"]:
        raise SelectionRefused(
            f"subcube_pixels = {request['subcube_pixels']}, "
            f"subcube_channels = {request['subcube_channels']}: they make {len(subcubes)} sub-cubes: "
            f"allowed are at most {limits['max_subcubes']}"
        )
    archive = None
    if name := request.get("workflow_archive"):
        archive = find_archive(name, catalogue, policy, limits["max_archive_bytes"])
    return with_plan(found, subcubes, _overlap(request, beam_pixels(found)), archive)


def _overlap(request: Mapping[str, Any], beam: float) -> tuple[int, int]:
    """Give the overlap that is asked for; SelectionRefused when it is less than beam or kernels need."""
    least = least_overlap(request["spatial_kernels"], request["spectral_kernels"], beam)
    names = ("overlap_pixels", "overlap_channels")
    asked = [request.get(name) for name in names]
    small = [
        f"{name} = {value}: allowed at least {needed}, which kernels and beam need"
        for name, value, needed in zip(names, asked, least, strict=True)
        if value is not None and value < needed
    ]
    if small:
        raise SelectionRefused("; ".join(small))
    pixels, channels = (needed if a is None else a for a, needed in zip(asked, least, strict=True))
    return pixels, channels


def requirements(steering: Mapping[str, Any], identity: Identity) -> Requirements:
    """Say what a facility needs, and where the inputs are."""
    needs = steering["needs"]
    steps = (_limits(steering, "first", needs["cells_per_job"]), _limits(steering, "last", needs["cells"]))
    return needed(steering, identity, steps, needs["jobs"], ANY)


def first_jobs(
    steering: Mapping[str, Any], directory: str, inputs: Sequence[InputFile] = ()
) -> list[JobSpec]:
    """Make a job for each sub-cube; before somebody's workflow, one job that looks at the cube."""
    subcubes = steering["selected"]["subcubes"]
    match steering["request"]["processor"]:
        case "esap-noop":
            return [_no_search(steering, directory, s["index"], f"sub-cube {s['index']}") for s in subcubes]
        case "snakemake":
            return [_inspection(steering, directory, inputs)]
        case _:
            return [_subcube_job(steering, directory, s, _cube(steering, inputs)) for s in subcubes]


def last_jobs(steering: Mapping[str, Any], directory: str, inputs: Sequence[InputFile] = ()) -> list[JobSpec]:
    """Make the one job that makes the product: of all parts, or by a workflow."""
    match steering["request"]["processor"]:
        case "esap-noop":
            return [_no_search(steering, directory, 0, "all sub-cubes")]
        case "snakemake":
            return [_workflow_job(steering, directory, inputs)]
        case _:
            return [_merge_job(steering, directory, inputs)]


def _source_problems(request: Mapping[str, Any]) -> Iterator[Problem]:
    if not request.get("basket") and not request.get("cube"):
        allowed = "the name of a cube, or a basket with one"
        yield Problem("cube", request.get("cube"), allowed, "nothing says which cube to search")


def _kernel_problems(request: Mapping[str, Any]) -> Iterator[Problem]:
    even = [k for k in request["spectral_kernels"] if k and not k % 2]
    if even:
        yield Problem("spectral_kernels", even, "odd numbers, or 0", "a boxcar has a middle")
    reach = least_overlap(request["spatial_kernels"], request["spectral_kernels"], 0)
    for name, least in zip(("overlap_pixels", "overlap_channels"), reach, strict=True):
        value = request.get(name)
        if value is not None and value < least:
            yield Problem(name, value, f"at least {least}", "the kernels reach farther")


def _cube(steering: Mapping[str, Any], inputs: Sequence[InputFile]) -> InputFile:
    lfn = steering["selected"]["cube"]["lfn"]
    return next(i for i in inputs if i.lfn == lfn)


def _settings(
    steering: Mapping[str, Any], directory: str, subcubes: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Give the configuration of esap-ska's steps."""
    request, selected = steering["request"], steering["selected"]
    pixels, channels = selected["overlap"]
    return {
        "cube": selected["cube"]["name"],
        **{name: request[name] for name in SEARCH},
        "overlap_pixels": pixels,
        "overlap_channels": channels,
        "subcubes": list(subcubes),
        "production_id": directory.rsplit("/", 1)[-1],
        **dated(steering),
    }


def _subcube_job(
    steering: Mapping[str, Any], directory: str, subcube: Mapping[str, Any], cube: InputFile
) -> JobSpec:
    index, name = subcube["index"], f"part_{subcube['index']:05d}.fits.gz"
    return JobSpec(
        index=index,
        command=(PROGRAM, "find", "--config", CONFIG, "--subcube", str(index), "--output", name),
        files={CONFIG: _settings(steering, directory, [subcube])},
        inputs=(cube,),
        outputs=(_checked(directory, name),),
        limits=_limits(steering, "first", steering["needs"]["cells_per_job"]),
    )


def _inspection(steering: Mapping[str, Any], directory: str, inputs: Sequence[InputFile]) -> JobSpec:
    return JobSpec(
        index=0,
        command=(PROGRAM, "inspect", "--config", CONFIG, "--output", ABOUT),
        files={CONFIG: _settings(steering, directory, [])},
        inputs=(_cube(steering, inputs),),
        outputs=(_checked(directory, ABOUT),),
        limits=_limits(steering, "first", 0),
    )


def _merge_job(steering: Mapping[str, Any], directory: str, inputs: Sequence[InputFile]) -> JobSpec:
    known = {steering["selected"]["cube"]["lfn"]}
    parts = sorted((i for i in inputs if i.lfn not in known), key=lambda i: i.name)
    return JobSpec(
        index=0,
        command=(PROGRAM, "merge", "--config", CONFIG, *(p.name for p in parts)),
        files={CONFIG: _settings(steering, directory, [])},
        inputs=tuple(parts),
        outputs=tuple(_checked(directory, name, *more) for name, more in RESULTS.items()),
        limits=_limits(steering, "last", steering["needs"]["cells"]),
    )


def _workflow_job(steering: Mapping[str, Any], directory: str, inputs: Sequence[InputFile]) -> JobSpec:
    request, selected = steering["request"], steering["selected"]
    outputs = (
        [_checked(directory, name) for name in request["workflow_outputs"]]
        if is_own(request)
        else [_checked(directory, name, *more) for name, more in RESULTS.items()]
    )
    subcubes = selected["subcubes"]
    given = {"cube": selected["cube"]["name"], "subcubes": [s["index"] for s in subcubes]}
    settings = _settings(steering, directory, subcubes)
    return JobSpec(
        index=0,
        command=(PROGRAM, "workflow", "--config", CONFIG),
        files=files_of(request, selected["archive"], [o.name for o in outputs], given, settings),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        limits=_limits(steering, "last", steering["needs"]["cells"], cores=request["cores"]),
    )


def _no_search(steering: Mapping[str, Any], directory: str, index: int, message: str) -> JobSpec:
    limits = _limits(steering, "first", 0)
    return greeting(directory, index, f"hello_{index:05d}.json", limits, message=message)


def _checked(directory: str, name: str, *more: str) -> OutputSpec:
    return OutputSpec(name, f"{directory}/{name}", (PROGRAM, "validate", name, *more))


def _limits(steering: Mapping[str, Any], step: str, cells: int, cores: int = 1) -> Limits:
    """Give what a job may use that works on so many cells; its disk has to hold the whole cube."""
    given, cube = steering["limits"][step], steering["needs"]["cells"] * 8
    return Limits(
        wall_time_s=math.ceil(given["wall_time_s"] + given["seconds_per_megacell"] * cells / MEGABYTE),
        memory_mb=math.ceil(given["memory_mb"] + given["bytes_per_cell"] * cells / MEGABYTE),
        disk_mb=math.ceil(given["disk_mb"] + 2 * cube / MEGABYTE),
        cores=cores,
    )
