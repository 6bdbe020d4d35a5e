"""UC3 of CTA: an instrument response function from a simulation of signal and proton showers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any

from esap_batch.errors import Problem
from esap_batch.facilities import Requirements
from esap_batch.identity import Identity
from esap_batch.jobs import InputFile, JobSpec, Limits, OutputSpec
from esap_batch.request import resolve
from esap_batch.use_cases.event_numbers import (
    energy_edges,
    interpolated,
    required_events,
    split_evenly,
    triggered_shares,
)
from esap_batch.use_cases.shared import CONFIG, dated, needed
from esap_batch.workflows import Workflow

EVENTS, IRF, PLOT, PROFILE = "events.fits.gz", "irf.fits.gz", "irf.png", "profile.json"
BACKGROUND = "proton"
POINTING = ("site", "array_layout", "model_version", "zenith_deg", "azimuth_deg", "systematic_uncertainty")
LONGEST_KEYWORD = 68  # characters of a text in one FITS card
MEGABYTE = 1e6


@dataclass(frozen=True)
class EventPlan:
    """How much is to be simulated. Event numbers are infinite when the target cannot be reached.

    `energy_edges_tev` bound the bins, `per_bin` has the signal showers each bin alone would need,
    `triggered` how many signal showers trigger at least.
    """

    signal: float
    background: float
    energy_edges_tev: tuple[float, ...]
    per_bin: tuple[float, ...]
    triggered: float
    jobs_per_particle: Mapping[str, int]

    @property
    def total(self) -> float:
        return self.signal + self.background

    @property
    def jobs(self) -> int:
        return sum(self.jobs_per_particle.values())

    @property
    def hardest_bin(self) -> tuple[float, float]:
        """Bounds in TeV of the bin that decides."""
        k = max(range(len(self.per_bin)), key=lambda n: self.per_bin[n])
        return self.energy_edges_tev[k], self.energy_edges_tev[k + 1]


def check(request: Mapping[str, Any], workflow: Workflow) -> list[Problem]:
    """Check across fields: periods, energies, what the model knows, and that the target can be reached.

    `request` has its defaults filled in (`resolve`).
    """
    problems = [*_period_problems(request), *_energy_problems(request, workflow)]
    problems += _model_problems(request, workflow.models)
    return problems or list(_size_problems(request, workflow))


def plan_events(steering: Mapping[str, Any]) -> EventPlan:
    """Compute the number of showers from the steering file."""
    request, settings = steering["request"], steering["production"]
    edges = energy_edges(request["energy_min_tev"], request["energy_max_tev"], settings["bins_per_decade"])
    efficiency = _efficiency(steering["calibration"], request["zenith_deg"], edges)
    shares = triggered_shares(edges, request["spectral_index"], [efficiency], _signal_range(steering))
    delta = request["statistical_uncertainty"]
    signal = required_events(shares, uncertainty=delta)
    background = (
        math.inf if math.isinf(signal) else math.ceil(signal * settings["proton_events_per_signal_event"])
    )
    return EventPlan(
        signal=signal,
        background=background,
        energy_edges_tev=tuple(edges),
        per_bin=tuple(required_events([[p]], uncertainty=delta) for p in shares[0]),
        triggered=signal * sum(shares[0]) if math.isfinite(signal) else math.inf,
        jobs_per_particle={
            request["particle"]: _jobs_for(signal, settings),
            BACKGROUND: _jobs_for(background, settings),
        },
    )


def estimate(steering: Mapping[str, Any], workflow: Workflow) -> dict[str, Any]:
    """Describe the size of the production as JSON: numbers, `summary`, and `needs_confirmation`."""
    plan, limit = plan_events(steering), workflow.steering["limits"]["confirm_above_events"]
    low, high = plan.hardest_bin
    delta, particle = steering["request"]["statistical_uncertainty"], steering["request"]["particle"]
    summary = (
        f"{plan.signal:.3g} {particle} and {plan.background:.3g} proton showers in {plan.jobs} jobs "
        f"and a merge, for {delta:.3g} relative uncertainty in each of {len(plan.per_bin)} energy bins; "
        f"the bin {low:.3g} to {high:.3g} TeV needs most."
    )
    much = plan.total > limit
    if much:
        summary += f" This is more than {limit:.3g} showers, so a person has to agree."
    return {
        "signal_events": plan.signal,
        "proton_events": plan.background,
        "jobs": plan.jobs,
        "energy_edges_tev": list(plan.energy_edges_tev),
        "per_bin": list(plan.per_bin),
        "needs_confirmation": much,
        "summary": summary,
    }


def simulation_jobs(
    steering: Mapping[str, Any], directory: str, _inputs: Sequence[InputFile] = ()
) -> list[JobSpec]:
    """Make the simulation: signal jobs first, then protons; the same steering file gives the same jobs."""
    request, settings, plan = steering["request"], steering["production"], plan_events(steering)
    roles = [
        (request["particle"], plan.signal, request["spectral_index"], _signal_range(steering)),
        (BACKGROUND, plan.background, settings["proton_spectral_index"], _background_range(steering)),
    ]
    jobs: list[JobSpec] = []
    for particle, events, index, thrown in roles:
        for n_events in split_evenly(int(events), plan.jobs_per_particle[particle]):
            config = {
                "particle": particle,
                "n_events": n_events,
                "seed": _seed(steering, len(jobs)),
                "energy_range_tev": list(thrown),
                "spectral_index": index,
                "viewcone_deg": steering["calibration"]["viewcone_deg"],
                "max_impact_m": steering["calibration"]["max_impact_m"],
                **{name: request[name] for name in POINTING},
            }
            jobs.append(_simulation_job(len(jobs), config, directory, _simulation_limits(steering, n_events)))
    return jobs


def merge_jobs(steering: Mapping[str, Any], directory: str, inputs: Sequence[InputFile]) -> list[JobSpec]:
    """Make the one job that turns the event files of `simulation_jobs` into an IRF and its plot.

    ValueError when the inputs are not those that `simulation_jobs` makes.
    """
    signal, protons = _roles_of(steering, inputs)
    request = steering["request"]
    config = {
        "signal_files": signal,
        "proton_files": protons,
        "energy_range_tev": [request["energy_min_tev"], request["energy_max_tev"]],
        "bins_per_decade": steering["production"]["bins_per_decade"],
        "observation_time_h": steering["production"]["observation_time_h"],
        "systematic_uncertainty": request["systematic_uncertainty"],
        "provenance": _provenance(steering, directory),
        **dated(steering),
    }
    outputs = (
        OutputSpec(IRF, f"{directory}/{IRF}", ("esap-fits", "validate", IRF, "--profile", PROFILE)),
        OutputSpec(PLOT, f"{directory}/{PLOT}"),
    )
    return [
        JobSpec(
            index=0,
            command=("esap-fits", "merge", "--config", CONFIG, "--output", IRF, "--plot", PLOT),
            files={CONFIG: config, PROFILE: steering["profile"]},
            inputs=tuple(inputs),
            outputs=outputs,
            limits=_merge_limits(steering),
        )
    ]


def requirements(steering: Mapping[str, Any], identity: Identity) -> Requirements:
    """Say what a facility needs for simulation and merge, which run at the same one."""
    plan = plan_events(steering)
    largest = max(
        math.ceil(plan.signal / plan.jobs_per_particle[steering["request"]["particle"]]),
        math.ceil(plan.background / plan.jobs_per_particle[BACKGROUND]),
    )
    steps = (_simulation_limits(steering, largest), _merge_limits(steering))
    return needed(steering, identity, steps, plan.jobs)


def _period_problems(request: Mapping[str, Any]) -> Iterator[Problem]:
    start, end = request["period_start"], request["period_end"]
    if date.fromisoformat(start) > date.fromisoformat(end):
        yield Problem(
            "period_start", start, f"at most period_end = {end}", "the period ends before it starts"
        )


def _energy_problems(request: Mapping[str, Any], workflow: Workflow) -> Iterator[Problem]:
    low, high = request["energy_min_tev"], request["energy_max_tev"]
    width = 10 ** (1 / workflow.steering["production"]["bins_per_decade"])
    if low >= high:
        allowed = f"below energy_max_tev = {high:g} TeV"
        yield Problem("energy_min_tev", low, allowed, "lower bound is not below upper bound")
    elif high / low < width * (1 - 1e-9):
        allowed = f"at least {low * width:.4g} TeV with energy_min_tev = {low:g} TeV"
        yield Problem("energy_max_tev", high, allowed, "the range is narrower than one energy bin")


def _model_problems(request: Mapping[str, Any], models: Mapping[str, Any]) -> Iterator[Problem]:
    version, site, layout = request["model_version"], request["site"], request["array_layout"]
    model = models["versions"].get(version)
    if model is None:
        yield Problem("model_version", version, ", ".join(models["versions"]), "there is no such model")
        return
    first, last = model["valid_from"], model["valid_to"]
    for name in ("period_start", "period_end"):
        if not first <= request[name] <= last:
            others = [
                v for v, m in models["versions"].items() if m["valid_from"] <= request[name] <= m["valid_to"]
            ]
            hint = f"; valid then: {', '.join(others)}" if others else ""
            allowed = f"{first} to {last}"
            yield Problem(name, request[name], allowed, f"the validity of model {version}{hint}")
    layouts = model["sites"].get(site)
    if layouts is None:
        yield Problem("site", site, ", ".join(model["sites"]), f"model {version} does not know the site")
    elif layout not in layouts:
        allowed = f"{', '.join(layouts)} at {site}"
        yield Problem("array_layout", layout, allowed, f"model {version} does not know the layout there")
    else:
        yield from _zenith_problems(request, models)


def _zenith_problems(request: Mapping[str, Any], models: Mapping[str, Any]) -> Iterator[Problem]:
    tables = [t for t in models["tables"] if all(request[k] == v for k, v in t["for"].items())]
    zeniths = [t["zenith_deg"] for t in tables]
    wanted = request["zenith_deg"]
    if not zeniths or not min(zeniths) <= wanted <= max(zeniths):
        allowed = f"{min(zeniths):g} to {max(zeniths):g} deg" if zeniths else "none"
        yield Problem("zenith_deg", wanted, allowed, "beyond the table of trigger efficiencies")


def _size_problems(request: Mapping[str, Any], workflow: Workflow) -> Iterator[Problem]:
    plan = plan_events(resolve(request, workflow, owner="", run_id=""))
    most = workflow.steering["limits"]["max_events"]
    if plan.total <= most:
        return
    delta, (low, high) = request["statistical_uncertainty"], plan.hardest_bin
    why = f"the bin {low:.3g} to {high:.3g} TeV needs {plan.total:.3g} showers, at most {most:.3g} are made"
    reachable = _rounded_up(delta * math.sqrt(plan.total / most))
    highest = workflow.properties["statistical_uncertainty"]["maximum"]
    if reachable <= highest:
        allowed = f"at least {reachable:g} with these energies and this spectral_index"
    else:
        allowed = (
            "none with these energies and this spectral_index: narrow the range or take a flatter spectrum"
        )
    yield Problem("statistical_uncertainty", delta, allowed, why)


def _rounded_up(number: float) -> float:
    """Round up to two significant digits."""
    if not math.isfinite(number):
        return number
    unit = 10.0 ** (math.floor(math.log10(number)) - 1)
    return float(math.ceil(number / unit * (1 - 1e-12)) * unit)


def _efficiency(calibration: Mapping[str, Any], zenith_deg: float, edges: Sequence[float]) -> list[float]:
    """Trigger efficiency in each bin: the lower of those at the two zenith angles of the table around it."""
    centres = [math.sqrt(low * high) for low, high in pairwise(calibration["energy_edges_tev"])]
    tables = {float(t["zenith_deg"]): t["efficiency"] for t in calibration["tables"]}
    around = {max(z for z in tables if z <= zenith_deg), min(z for z in tables if z >= zenith_deg)}
    return [
        min(interpolated(math.sqrt(low * high), centres, tables[z]) for z in around)
        for low, high in pairwise(edges)
    ]


def _signal_range(steering: Mapping[str, Any]) -> tuple[float, float]:
    """Energies to throw, in TeV: wider than the IRF's, because measured energies spread."""
    request, (below, above) = steering["request"], steering["production"]["thrown_range_margin"]
    return request["energy_min_tev"] * below, request["energy_max_tev"] * above


def _background_range(steering: Mapping[str, Any]) -> tuple[float, float]:
    """Energies of protons that are measured within the IRF's range, at a fraction of their true energy."""
    low, high = _signal_range(steering)
    return low, high * steering["production"]["proton_energy_factor"]


def _jobs_for(events: float, settings: Mapping[str, Any]) -> int:
    most = int(settings["max_jobs_per_particle"])
    return most if math.isinf(events) else max(1, min(most, math.ceil(events / settings["events_per_job"])))


def _seed(steering: Mapping[str, Any], index: int) -> int:
    """Give each job of a production its own seed, the same at every try."""
    return int(steering["fingerprint"][:10], 16) + index


def _simulation_limits(steering: Mapping[str, Any], n_events: int) -> Limits:
    limits = steering["limits"]["simulation"]
    seconds = limits["wall_time_s"] + limits["seconds_per_million_events"] * n_events / 1e6
    return Limits(math.ceil(seconds), limits["memory_mb"], limits["disk_mb"])


def _merge_limits(steering: Mapping[str, Any]) -> Limits:
    limits, triggered = steering["limits"]["merge"], plan_events(steering).triggered
    return Limits(
        math.ceil(limits["wall_time_s"] + limits["seconds_per_million_events"] * triggered / 1e6),
        math.ceil(limits["memory_mb"] + limits["memory_bytes_per_triggered_event"] * triggered / MEGABYTE),
        math.ceil(limits["disk_mb"] + limits["disk_bytes_per_triggered_event"] * triggered / MEGABYTE),
    )


def _simulation_job(index: int, config: Mapping[str, Any], directory: str, limits: Limits) -> JobSpec:
    name = _event_file(index)
    return JobSpec(
        index=index,
        command=("esap-fits", "simulate", "--config", CONFIG, "--output", name),
        files={CONFIG: config},
        outputs=(OutputSpec(name, f"{directory}/{name}", ("esap-fits", "validate-events", name)),),
        limits=limits,
    )


def _event_file(index: int) -> str:
    stem, _, suffix = EVENTS.partition(".")
    return f"{stem}_{index:05d}.{suffix}"


def _roles_of(steering: Mapping[str, Any], inputs: Sequence[InputFile]) -> tuple[list[str], list[str]]:
    plan = plan_events(steering)
    expected = [_event_file(index) for index in range(plan.jobs)]
    names = sorted(i.name for i in inputs)
    if names != expected:
        missing = sorted(set(expected) - set(names)) or sorted(set(names) - set(expected))
        raise ValueError(
            f"inputs of the merge: {len(names)} files, allowed the {plan.jobs} of the simulation; "
            f"look at {', '.join(missing[:5]) or 'repeated names'}"
        )
    n_signal = plan.jobs_per_particle[steering["request"]["particle"]]
    return names[:n_signal], names[n_signal:]


def _provenance(steering: Mapping[str, Any], directory: str) -> dict[str, str]:
    request = steering["request"]
    texts = {
        "production_id": directory.rsplit("/", 1)[-1],
        "run_id": steering["run_id"],
        "fingerprint": steering["fingerprint"],
        "owner": steering["owner"],
        "period_start": request["period_start"],
        "period_end": request["period_end"],
    }
    return {name: _header_text(text) for name, text in texts.items()}


def _header_text(text: str) -> str:
    """Make a text that fits a FITS card: printable ASCII of limited length."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)[:LONGEST_KEYWORD]
