from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esap_batch.facilities import load_facilities
from esap_batch.identity import load_identities
from esap_batch.jobs import Batch, InputFile
from esap_batch.matching import NoFacilityFits, match
from esap_batch.request import resolve, validate
from esap_batch.use_cases import cta_irf
from esap_batch.workflows import load_workflow

CONFIG = Path(__file__).parents[4] / "config"
WORKFLOW = load_workflow(CONFIG, "cta_irf")
ALICE = load_identities(CONFIG / "identity.yaml").identity_of("alice")
FACILITIES = load_facilities(CONFIG / "facilities.yaml")


def steering_of(**conf: Any) -> dict[str, Any]:
    assert validate(conf, WORKFLOW) == []
    return resolve(conf, WORKFLOW, "alice", "cta_irf/run")


def problems_of(**conf: Any) -> list[str]:
    return [str(p) for p in cta_irf.check(steering_of(**conf)["request"], WORKFLOW)]


def inputs_of(steering: dict[str, Any]) -> list[InputFile]:
    jobs = cta_irf.simulation_jobs(steering, "/ctao/esap/work/g")
    return [InputFile(o.name, o.lfn, 1, "00000001") for job in jobs for o in job.outputs]


def test_the_defaults_are_good() -> None:
    assert problems_of() == []


@pytest.mark.parametrize(
    ("conf", "expected"),
    [
        (
            {"energy_min_tev": 10, "energy_max_tev": 1},
            "energy_min_tev = 10.0: allowed below energy_max_tev = 1 TeV "
            "(lower bound is not below upper bound)",
        ),
        (
            {"energy_min_tev": 1, "energy_max_tev": 1},
            "energy_min_tev = 1.0: allowed below energy_max_tev = 1 TeV "
            "(lower bound is not below upper bound)",
        ),
        (
            {"energy_min_tev": 1, "energy_max_tev": 1.5},
            "energy_max_tev = 1.5: allowed at least 1.585 TeV with energy_min_tev = 1 TeV "
            "(the range is narrower than one energy bin)",
        ),
        (
            {"period_start": "2026-12-01", "period_end": "2026-11-30"},
            'period_start = "2026-12-01": allowed at most period_end = 2026-11-30 '
            "(the period ends before it starts)",
        ),
        (
            {"period_start": "2025-06-01"},
            'period_start = "2025-06-01": allowed 2026-01-01 to 2028-12-31 '
            "(the validity of model prod6-v1.1; valid then: prod5-v2.0)",
        ),
        (
            {"period_end": "2030-01-01"},
            'period_end = "2030-01-01": allowed 2026-01-01 to 2028-12-31 (the validity of model prod6-v1.1)',
        ),
        (
            {
                "model_version": "prod5-v2.0",
                "array_layout": "beta",
                "period_start": "2025-01-01",
                "period_end": "2025-02-01",
            },
            'array_layout = "beta": allowed alpha at LaPalma '
            "(model prod5-v2.0 does not know the layout there)",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(conf: dict[str, Any], expected: str) -> None:
    assert problems_of(**conf) == [expected]


def test_everything_that_does_not_go_together_comes_at_once() -> None:
    found = problems_of(
        model_version="prod5-v2.0",
        array_layout="beta",
        energy_min_tev=10,
        energy_max_tev=1,
        period_start="2026-12-01",
        period_end="2026-11-30",
    )
    assert [p.split(" ")[0] for p in found] == [
        "period_start",
        "energy_min_tev",
        "period_start",
        "period_end",
        "array_layout",
    ]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model_version": "prod9"}, "model_version"),
        ({"site": "Moon"}, "site"),
        ({"zenith_deg": 80}, "zenith_deg"),
    ],
)
def test_what_only_the_table_knows_is_refused(change: dict[str, Any], field: str) -> None:
    request = {**steering_of()["request"], **change}
    assert [p.field for p in cta_irf.check(request, WORKFLOW)] == [field]


def test_the_model_table_agrees_with_the_form() -> None:
    versions = WORKFLOW.models["versions"]
    assert WORKFLOW.properties["model_version"]["enum"] == list(versions)
    for version, model in versions.items():
        for site, layouts in model["sites"].items():
            for layout in layouts:
                for particle in WORKFLOW.properties["particle"]["enum"]:
                    wanted = {
                        "model_version": version,
                        "site": site,
                        "array_layout": layout,
                        "particle": particle,
                    }
                    zeniths = [t["zenith_deg"] for t in WORKFLOW.models["tables"] if t["for"] == wanted]
                    assert (min(zeniths), max(zeniths)) == (0, 70), wanted


def test_the_default_is_a_demo_of_reasonable_size() -> None:
    plan = cta_irf.plan_events(steering_of())
    assert 1e6 < plan.signal < 5e6
    assert plan.background == plan.signal
    assert plan.jobs <= 30
    assert plan.hardest_bin == pytest.approx((126.2, 200), rel=1e-3)
    assert plan.signal == max(plan.per_bin)


def test_half_the_uncertainty_needs_four_times_the_events() -> None:
    once = cta_irf.plan_events(steering_of(statistical_uncertainty=0.2)).signal
    assert cta_irf.plan_events(steering_of(statistical_uncertainty=0.1)).signal == pytest.approx(
        4 * once, rel=1e-5
    )


def test_a_zenith_angle_between_two_of_the_table_takes_the_worse_of_both() -> None:
    def per_bin(zenith: float) -> tuple[float, ...]:
        return cta_irf.plan_events(steering_of(zenith_deg=zenith)).per_bin

    below, between, above = per_bin(40), per_bin(50), per_bin(60)
    assert between == tuple(max(pair) for pair in zip(below, above, strict=True))
    assert between not in (below, above)


def test_too_many_events_are_refused_with_what_can_be_had() -> None:
    (problem,) = problems_of(spectral_index=-2.6, statistical_uncertainty=0.02)
    assert problem.startswith("statistical_uncertainty = 0.02: allowed at least 0.0")
    reachable = float(problem.split("at least ")[1].split(" ")[0])
    assert problems_of(spectral_index=-2.6, statistical_uncertainty=reachable) == []


def test_a_spectrum_that_reaches_nowhere_is_refused_with_the_way_on() -> None:
    (problem,) = problems_of(spectral_index=-4)
    assert "narrow the range or take a flatter spectrum" in problem
    assert "the bin 126 to 200 TeV" in problem


@pytest.mark.parametrize(("delta", "asks"), [(0.1, False), (0.01, True)])
def test_much_work_needs_a_persons_word(delta: float, asks: bool) -> None:
    estimate = cta_irf.estimate(steering_of(statistical_uncertainty=delta), WORKFLOW)
    assert estimate["needs_confirmation"] is asks
    assert ("a person has to agree" in estimate["summary"]) is asks
    assert json.loads(json.dumps(estimate, allow_nan=False)) == estimate


def test_the_simulation_is_split_and_seeded_the_same_at_every_try() -> None:
    steering = steering_of()
    jobs, plan = cta_irf.simulation_jobs(steering, "/ctao/esap/work/g"), cta_irf.plan_events(steering)
    again = resolve({"job_name": "other"}, WORKFLOW, "bob", "cta_irf/other")
    assert cta_irf.simulation_jobs(again, "/ctao/esap/work/g") == jobs
    configs = [job.files["config.json"] for job in jobs]
    assert [job.index for job in jobs] == list(range(plan.jobs))
    assert len({c["seed"] for c in configs}) == len(jobs)
    for particle, events in (("gamma", plan.signal), ("proton", plan.background)):
        mine = [c for c in configs if c["particle"] == particle]
        assert sum(c["n_events"] for c in mine) == events
        assert all(0 < c["n_events"] <= 500_000 for c in mine)
        assert len({json.dumps({**c, "n_events": 0, "seed": 0}) for c in mine}) == 1


def test_another_request_has_other_seeds() -> None:
    seeds = [
        cta_irf.simulation_jobs(steering_of(azimuth_deg=azimuth), "/w")[0].files["config.json"]["seed"]
        for azimuth in (0, 90)
    ]
    assert seeds[0] != seeds[1]


def test_a_simulation_job_is_what_the_payload_reads() -> None:
    job = cta_irf.simulation_jobs(steering_of(systematic_uncertainty=0.1), "/ctao/esap/work/g")[0]
    assert job.command == (
        "esap-fits",
        "simulate",
        "--config",
        "config.json",
        "--output",
        "events_00000.fits.gz",
    )
    (output,) = job.outputs
    assert output.lfn == "/ctao/esap/work/g/events_00000.fits.gz"
    assert output.validator == ("esap-fits", "validate-events", "events_00000.fits.gz")
    config = dict(job.files["config.json"])
    assert 0 <= config.pop("seed") < 2**53
    assert config.pop("n_events") > 0
    assert config == {
        "particle": "gamma",
        "energy_range_tev": [0.015, 300.0],
        "spectral_index": -2.0,
        "zenith_deg": 20.0,
        "azimuth_deg": 180.0,
        "site": "LaPalma",
        "array_layout": "alpha",
        "model_version": "prod6-v1.1",
        "systematic_uncertainty": 0.1,
        "viewcone_deg": 6.0,
        "max_impact_m": 1000.0,
    }


def test_the_merge_takes_each_file_in_its_role() -> None:
    steering = steering_of(particle="electron", energy_max_tev=50)
    plan, inputs = cta_irf.plan_events(steering), inputs_of(steering)
    (job,) = cta_irf.merge_jobs(steering, "/ctao/irf/x/cta-irf-0-g2", inputs[::-1])
    config = job.files["config.json"]
    assert len(config["signal_files"]) == plan.jobs_per_particle["electron"]
    assert sorted([*config["signal_files"], *config["proton_files"]]) == sorted(i.name for i in job.inputs)
    simulated = cta_irf.simulation_jobs(steering, "/w")
    for name in config["signal_files"]:
        assert simulated[int(name[7:12])].files["config.json"]["particle"] == "electron"
    assert config["energy_range_tev"] == [0.02, 50.0]
    assert config["provenance"]["production_id"] == "cta-irf-0-g2"
    assert config["provenance"]["fingerprint"] == steering["fingerprint"]


def test_the_merge_makes_a_checked_irf_and_its_plot() -> None:
    steering = steering_of()
    (job,) = cta_irf.merge_jobs(steering, "/ctao/irf/x", inputs_of(steering))
    irf, plot = job.outputs
    assert irf.validator == ("esap-fits", "validate", "irf.fits.gz", "--profile", "profile.json")
    assert (irf.lfn, plot.lfn) == ("/ctao/irf/x/irf.fits.gz", "/ctao/irf/x/irf.png")
    assert job.files["profile.json"] == WORKFLOW.product["profile"]
    assert Batch.from_journal(json.loads(json.dumps(Batch("g", (job,)).journal()))).jobs == (job,)


def test_a_merge_without_all_its_inputs_is_refused() -> None:
    steering = steering_of()
    inputs = inputs_of(steering)
    for wrong in (inputs[1:], [*inputs, inputs[0]], []):
        with pytest.raises(ValueError, match=f"allowed the {len(inputs)} of the simulation"):
            cta_irf.merge_jobs(steering, "/ctao/irf/x", wrong)


def test_what_does_not_fit_a_fits_header_is_made_to_fit() -> None:
    steering = {**steering_of(), "owner": "Žofie\n", "run_id": "cta_irf/" + "x" * 300}
    (job,) = cta_irf.merge_jobs(steering, "/ctao/irf/x", inputs_of(steering))
    provenance = job.files["config.json"]["provenance"]
    assert provenance["owner"] == "?ofie?"
    assert len(provenance["run_id"]) == 68


def test_requirements_are_those_of_the_hungriest_job() -> None:
    steering = steering_of(facility="cscs")
    needs = cta_irf.requirements(steering, ALICE)
    jobs = [
        *cta_irf.simulation_jobs(steering, "/w"),
        *cta_irf.merge_jobs(steering, "/p", inputs_of(steering)),
    ]
    assert needs.memory_mb == max(j.limits.memory_mb for j in jobs)
    assert needs.wall_time_s == max(j.limits.wall_time_s for j in jobs)
    assert needs.disk_mb == max(j.limits.disk_mb for j in jobs)
    assert needs.n_jobs == len(jobs) - 1
    assert needs.software == (("esap-fits", "0.2.0"),)
    assert needs.experiments == {"ctao"}
    assert needs.preferred == "cscs"


def test_a_large_production_goes_to_the_larger_facility() -> None:
    def chosen(delta: float) -> str:
        needs = cta_irf.requirements(steering_of(statistical_uncertainty=delta), ALICE)
        return match(needs, FACILITIES, {}).ranked[0].facility.name

    assert chosen(0.1) == "lapalma"
    assert chosen(0.01) == "cscs"


def test_a_facility_that_is_switched_off_is_refused_with_those_that_fit() -> None:
    needs = cta_irf.requirements(steering_of(facility="cta-dirac"), ALICE)
    with pytest.raises(NoFacilityFits, match=r"is switched off: needs an Airflow connection.*lapalma, cscs"):
        match(needs, FACILITIES, {})


def fields(name: str) -> st.SearchStrategy[float]:
    prop = WORKFLOW.properties[name]
    return st.floats(prop["minimum"], prop["maximum"])


@settings(max_examples=60)
@given(
    low=fields("energy_min_tev"),
    high=fields("energy_max_tev"),
    zenith=fields("zenith_deg"),
    index=fields("spectral_index"),
    delta=fields("statistical_uncertainty"),
    particle=st.sampled_from(["gamma", "electron"]),
    site=st.sampled_from(["LaPalma", "Paranal"]),
    layout=st.sampled_from(["alpha", "beta"]),
)
def test_every_request_is_refused_or_bounded(
    low: float, high: float, zenith: float, index: float, delta: float, particle: str, site: str, layout: str
) -> None:
    steering = steering_of(
        energy_min_tev=low,
        energy_max_tev=high,
        zenith_deg=zenith,
        spectral_index=index,
        statistical_uncertainty=delta,
        particle=particle,
        site=site,
        array_layout=layout,
    )
    if cta_irf.check(steering["request"], WORKFLOW):
        return
    plan = cta_irf.plan_events(steering)
    assert plan.total <= WORKFLOW.steering["limits"]["max_events"]
    assert plan.jobs <= 2 * WORKFLOW.steering["production"]["max_jobs_per_particle"]
    assert math.isfinite(cta_irf.requirements(steering, ALICE).memory_mb)
    jobs = cta_irf.simulation_jobs(steering, "/w")
    assert sum(j.files["config.json"]["n_events"] for j in jobs) == plan.total
    assert all(j.files["config.json"]["n_events"] >= 1 for j in jobs)
