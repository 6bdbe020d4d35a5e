"""UC12 of CTA: a principal investigator analyses the observations of a project."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from esap_batch.basket import input_rules, read_basket
from esap_batch.errors import Problem
from esap_batch.facilities import Requirements
from esap_batch.identity import Identity
from esap_batch.irf_matching import Fit
from esap_batch.jobs import InputFile, JobSpec, Limits, OutputSpec
from esap_batch.partition import Split, Splitting
from esap_batch.projects import Projects
from esap_batch.selection import (
    Catalogue,
    DataSelection,
    Policy,
    select,
)
from esap_batch.use_cases.shared import CONFIG, asked_data, dated, is_noop, needed
from esap_batch.workflows import Workflow

PROGRAMS = {"esap-fits": "esap-fits", "gammapy": "esap-gammapy"}
# What one job of the first step leaves, by processor; the number is the job's.
UNIT_FILES = {
    "esap-fits": ("counts_{:05d}.fits.gz",),
    "gammapy": (
        "map_{:05d}.fits.gz",
        "pha_{:05d}.fits.gz",
        "pha_{:05d}_arf.fits.gz",
        "pha_{:05d}_bkg.fits.gz",
        "pha_{:05d}_rmf.fits.gz",
    ),
}
# What the last step leaves: the product, and the check of each file.
RESULTS = {
    "skymap.fits.gz": "validate-map",
    "skymap.png": "",
    "spectrum.fits": "validate-spectrum",
    "spectrum.png": "",
    "result.json": "validate-result",
}


def check(request: Mapping[str, Any], workflow: Workflow) -> list[Problem]:
    """Check across fields: where data come from, each item of the basket, energies, and the map's size."""
    _, problems = read_basket(request.get("basket", []))
    return [*problems, *_source_problems(request), *_analysis_problems(request, workflow)]


def choose(
    steering: Mapping[str, Any], identity: Identity, projects: Projects, catalogue: Catalogue
) -> DataSelection:
    """Find the observations of basket and project; SelectionRefused when they cannot be analysed."""
    request, settings = steering["request"], steering["production"]
    rules = input_rules(settings["input_rules"])
    entries = asked_data(request, rules, identity, projects, catalogue)
    policy = Policy(
        rules=rules,
        refuses=lambda name: projects.refuses(name, identity),
        splitting=splitting(steering),
        fit=fit(steering),
        fail_on_missing_irf=request["on_missing_irf"] == "fail",
        fail_on_unmatched=request["unmatched"] == "fail",
    )
    return select(entries, catalogue, policy)


def fit(steering: Mapping[str, Any]) -> Fit:
    """Say how well a response has to fit; it reaches beyond the analysis, since measured energies spread."""
    request, settings = steering["request"], steering["production"]
    margin = settings["irf_energy_margin"]
    return Fit(
        zenith_deg=settings["irf_zenith_tolerance_deg"],
        azimuth_deg=settings["irf_azimuth_tolerance_deg"],
        energies_tev=(request["energy_min_tev"] / margin, request["energy_max_tev"] * margin),
    )


def splitting(steering: Mapping[str, Any]) -> Splitting:
    """Give the workflow's way to divide the data among jobs, or the request's when it names one."""
    request, own = steering["request"], steering["production"]["splitting"]
    how = own["how"] if request["split"] == "default" else request["split"]
    return Splitting(Split(how), request["files_per_job"], request["group_by"])


def requirements(steering: Mapping[str, Any], identity: Identity) -> Requirements:
    """Say what a facility needs, and where the inputs are."""
    steps = [_limits(steering, step, 0) for step in ("analyse", "combine")]
    return needed(steering, identity, steps, steering["needs"]["jobs"])


def analysis_jobs(
    steering: Mapping[str, Any], directory: str, inputs: Sequence[InputFile] = ()
) -> list[JobSpec]:
    """Make one job a unit of the selection: events and responses in, counts out."""
    by_lfn = {i.lfn: i for i in inputs}
    return [
        _analysis_job(steering, directory, index, unit, by_lfn)
        for index, unit in enumerate(steering["selected"]["units"])
    ]


def combine_jobs(
    steering: Mapping[str, Any], directory: str, inputs: Sequence[InputFile] = ()
) -> list[JobSpec]:
    """Make the one job that puts the counts of all units together."""
    if is_noop(steering):
        name = "hello.json"
        command, config = ("esap-noop", "run"), _greeting(name, 0, "all units")
        outputs = [OutputSpec(name, f"{directory}/{name}", ("esap-noop", "validate", name))]
    else:
        command, config = (_program(steering), "combine"), _combine_config(steering, directory, inputs)
        outputs = [_result(directory, name, check) for name, check in RESULTS.items()]
    job = JobSpec(
        index=0,
        command=(*command, "--config", CONFIG),
        files={CONFIG: config},
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        limits=_limits(steering, "combine", 0),
    )
    return [job]


def _source_problems(request: Mapping[str, Any]) -> Iterator[Problem]:
    if not request.get("basket") and not request.get("project"):
        allowed = "a basket with items, or the id of a project in field project"
        yield Problem("basket", request.get("basket", []), allowed, "nothing says which data to analyse")


def _analysis_problems(request: Mapping[str, Any], workflow: Workflow) -> Iterator[Problem]:
    low, high = request["energy_min_tev"], request["energy_max_tev"]
    if low >= high:
        allowed = f"below energy_max_tev = {high:g} TeV"
        yield Problem("energy_min_tev", low, allowed, "lower bound is not below upper bound")
    width, pixel = request["map_width_deg"], request["map_bin_deg"]
    most = workflow.steering["limits"]["max_map_pixels"]
    if width / pixel > most:
        allowed = f"at least {width / most:g} deg with map_width_deg = {width:g} deg"
        yield Problem("map_bin_deg", pixel, allowed, f"the map has more than {most} pixels a side")
    if request["on_radius_deg"] > width / 2:
        allowed = f"at most {width / 2:g} deg with map_width_deg = {width:g} deg"
        yield Problem(
            "on_radius_deg", request["on_radius_deg"], allowed, "the on region is larger than the map"
        )


def _program(steering: Mapping[str, Any]) -> str:
    return PROGRAMS[steering["request"]["processor"]]


def _analysis_job(
    steering: Mapping[str, Any],
    directory: str,
    index: int,
    unit: Mapping[str, Any],
    by_lfn: Mapping[str, InputFile],
) -> JobSpec:
    lfns = sorted({lfn for part in unit["parts"] for lfn in part["lfns"]})
    names: tuple[str, ...]
    if is_noop(steering):
        names = (f"hello_{index:05d}.json",)
        command, config = ("esap-noop", "run"), _greeting(names[0], index, unit["label"])
        outputs = [OutputSpec(n, f"{directory}/{n}", ("esap-noop", "validate", n)) for n in names]
    else:
        names = tuple(n.format(index) for n in UNIT_FILES[steering["request"]["processor"]])
        command, config = (_program(steering), "analyse"), _analysis_config(steering, unit, names)
        outputs = [OutputSpec(n, f"{directory}/{n}", ("esap-fits", "validate-fits", n)) for n in names]
    return JobSpec(
        index=index,
        command=(*command, "--config", CONFIG),
        files={CONFIG: config},
        inputs=tuple(by_lfn[lfn] for lfn in lfns),
        outputs=tuple(outputs),
        limits=_limits(steering, "analyse", len(unit["parts"])),
    )


def _analysis_config(
    steering: Mapping[str, Any], unit: Mapping[str, Any], outputs: Sequence[str]
) -> dict[str, Any]:
    members = ("obs_id", "events", "irf")
    return {
        "label": unit["label"],
        "parts": [{m: part[m] for m in members} for part in unit["parts"]],
        "outputs": list(outputs),
        **_geometry(steering),
        **dated(steering),
    }


def _combine_config(
    steering: Mapping[str, Any], directory: str, inputs: Sequence[InputFile]
) -> dict[str, Any]:
    selected = steering["selected"]
    return {
        "counts": sorted(i.name for i in inputs),
        "units": len(selected["units"]),
        "observations": len(selected["observations"]),
        "unmatched": len(selected["unmatched"]),
        "target": str(steering["about"]["target"])[:60],
        "production_id": directory.rsplit("/", 1)[-1],
        **_geometry(steering),
        **dated(steering),
    }


def _geometry(steering: Mapping[str, Any]) -> dict[str, Any]:
    names = ("target_ra_deg", "target_dec_deg", "on_radius_deg", "map_width_deg", "map_bin_deg")
    request = steering["request"]
    return {
        **{name: request[name] for name in names},
        "energy_range_tev": [request["energy_min_tev"], request["energy_max_tev"]],
        "bins_per_decade": steering["production"]["energy_bins_per_decade"],
    }


def _greeting(name: str, index: int, message: str) -> dict[str, Any]:
    return {"behaviour": "ok", "outputs": [name], "message": message, "index": index}


def _result(directory: str, name: str, check: str) -> OutputSpec:
    return OutputSpec(name, f"{directory}/{name}", ("esap-fits", check, name) if check else ())


def _limits(steering: Mapping[str, Any], step: str, observations: int) -> Limits:
    limits = steering["limits"][step]
    seconds = limits["wall_time_s"] + limits.get("seconds_per_observation", 0) * observations
    return Limits(seconds, limits["memory_mb"], limits["disk_mb"])
