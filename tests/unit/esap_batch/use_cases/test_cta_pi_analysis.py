from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from esap_batch.facilities import load_facilities
from esap_batch.identity import load_identities
from esap_batch.jobs import InputFile
from esap_batch.matching import match
from esap_batch.partition import Split, Splitting
from esap_batch.projects import load_projects
from esap_batch.request import examine, resolve, settled
from esap_batch.selection import SelectionRefused
from esap_batch.use_cases import cta_pi_analysis as use_case
from esap_batch.workflows import load_workflow
from tests.unit.esap_batch.test_selection import FakeCatalogue

CONFIG = Path(__file__).parents[4] / "config"
WORKFLOW = load_workflow(CONFIG, "cta_pi_analysis")
IDENTITIES = load_identities(CONFIG / "identity.yaml")
PROJECTS = load_projects(CONFIG / "projects.yaml")
OWN, OTHER = "PI-2026-001", "PI-2026-002"
DIRECTORY = "/ctao/dl5/pi_analysis/cta-pi-analysis-0123-g1"


def item(name: str, **record: Any) -> str:
    return json.dumps({"archive": "rucio", "record": {"scope": "dl3", "name": name, **record}})


def problems(**conf: Any) -> list[str]:
    return [str(p) for p in examine(conf, WORKFLOW, use_case.check)]


def steering_of(**conf: Any) -> dict[str, Any]:
    assert problems(**conf) == []
    return resolve(conf, WORKFLOW, "alice", "cta_pi_analysis/run")


@pytest.fixture
def lake() -> FakeCatalogue:
    made = FakeCatalogue()
    made.put_irf()
    for obs_id in (1, 2, 3):
        made.put(obs_id, project=OWN, sb_id=obs_id // 2)
    made.put(9, project=OTHER)
    return made


def planned(lake: FakeCatalogue, **conf: Any) -> dict[str, Any]:
    """Give the steering file as the tasks after the selection have it."""
    steering = steering_of(**conf)
    selection = use_case.choose(steering, IDENTITIES.identity_of("alice"), PROJECTS, lake)
    places = {f.lfn: ["LAPALMA-DISK"] for f in selection.inputs}
    full = settled(steering, WORKFLOW, selection.digest, selection.needs(places), selection.about)
    return {**full, "selected": selection.document()}


def inputs_of(steering: dict[str, Any]) -> list[InputFile]:
    return [InputFile(**i) for i in steering["selected"]["inputs"]]


def test_the_example_is_a_good_request() -> None:
    example = json.loads((CONFIG / "workflows/cta_pi_analysis/example.json").read_text())
    assert problems(**example) == []


@pytest.mark.parametrize(
    ("conf", "told"),
    [
        ({}, "basket = []: allowed a basket with items, or the id of a project"),
        ({"project": "P", "basket": ["{}"]}, 'basket.0 = "{}": allowed JSON text'),
        ({"project": "P", "basket": [item("/a"), "no"]}, 'basket.1 = "no"'),
        ({"project": "P", "basket": [7]}, "basket.0 = 7: allowed text"),
        ({"project": "P", "energy_min_tev": 30}, "energy_min_tev = 30.0: allowed below energy_max_tev = 25"),
        (
            {"project": "P", "map_width_deg": 10, "map_bin_deg": 0.005},
            "map_bin_deg = 0.005: allowed at least 0.01",
        ),
        (
            {"project": "P", "map_width_deg": 0.5, "on_radius_deg": 0.4},
            "on_radius_deg = 0.4: allowed at most 0.25",
        ),
        ({"project": "P", "processor": "magic"}, "processor = "),
    ],
)
def test_what_is_wrong_is_told_by_field_and_value(conf: dict[str, Any], told: str) -> None:
    assert any(told in p for p in problems(**conf)), problems(**conf)


def test_a_project_of_others_cannot_be_searched(lake: FakeCatalogue) -> None:
    steering = steering_of(project=OTHER)
    with pytest.raises(SelectionRefused, match=f"alice may not read project {OTHER}; allowed: {OWN}"):
        use_case.choose(steering, IDENTITIES.identity_of("alice"), PROJECTS, lake)


def test_basket_and_project_are_put_together(lake: FakeCatalogue) -> None:
    basket = [item("/ctao/dl3/obs_1"), item("/ctao/dl3/obs_9")]
    selected = planned(lake, project=OWN, basket=basket)["selected"]
    assert [(o["obs_id"], o["source"]) for o in selected["observations"]] == [
        (1, "basket.0"),
        (2, f"project {OWN}"),
        (3, f"project {OWN}"),
    ]
    assert [u["source"] for u in selected["unmatched"]] == ["basket.1"]


def test_the_workflow_divides_the_data_unless_the_request_does() -> None:
    assert use_case.splitting(steering_of(project=OWN)).how is Split.PER_OBSERVATION
    asked = steering_of(project=OWN, split="per_files", files_per_job=5)
    assert use_case.splitting(asked) == Splitting(Split.PER_FILES, 5, "sb_id")


def test_a_response_has_to_reach_beyond_the_analysis(lake: FakeCatalogue) -> None:
    fit = use_case.fit(steering_of(project=OWN, energy_min_tev=0.03, energy_max_tev=20))
    assert fit.energies_tev == pytest.approx((0.02, 30))
    low, high = 0.05, 25.0
    lake.put_irf(request_energy_min_tev=low, request_energy_max_tev=high)
    with pytest.raises(SelectionRefused, match=r"it is for 0.05 to 25 TeV, needed is 0.03333 to 37.5"):
        planned(lake, project=OWN, energy_min_tev=low, energy_max_tev=high)


def test_the_product_is_named_by_the_data_and_not_by_how_they_were_found(lake: FakeCatalogue) -> None:
    found = planned(lake, project=OWN)
    by_name = planned(lake, basket=[item(f"/ctao/dl3/obs_{n}") for n in (3, 2, 1)], split="per_observation")
    assert by_name["product_lfn"] == found["product_lfn"]
    for other in (
        {"split": "per_group"},
        {"on_radius_deg": 0.2},
        {"processor": "gammapy"},
        {"result_use": "download"},
    ):
        assert planned(lake, project=OWN, **other)["product_lfn"] != found["product_lfn"]
    lake.put(4, project=OWN)
    assert planned(lake, project=OWN)["product_lfn"] != found["product_lfn"]


@pytest.mark.parametrize("processor", ["esap-fits", "gammapy", "esap-noop"])
def test_each_unit_is_a_job_with_its_own_inputs_and_outputs(lake: FakeCatalogue, processor: str) -> None:
    steering = planned(lake, project=OWN, processor=processor)
    jobs = use_case.analysis_jobs(steering, "/ctao/esap/work/g", inputs_of(steering))
    assert [j.index for j in jobs] == [0, 1, 2]
    assert [[i.name for i in j.inputs] for j in jobs] == [
        [f"dl3_{n}.fits.gz", "irf_irf-g1.fits.gz"] for n in (1, 2, 3)
    ]
    lfns = [o.lfn for j in jobs for o in j.outputs]
    assert len(set(lfns)) == len(lfns)
    assert all(o.validator and o.validator[-1] == o.name for j in jobs for o in j.outputs)
    software = {s["name"] for s in steering["software"]}
    assert {j.command[0] for j in jobs} | {o.validator[0] for j in jobs for o in j.outputs} == software


def test_a_unit_of_several_files_reads_a_response_once(lake: FakeCatalogue) -> None:
    steering = planned(lake, project=OWN, split="per_files", files_per_job=2)
    first, second = use_case.analysis_jobs(steering, "/ctao/esap/work/g", inputs_of(steering))
    assert [i.name for i in first.inputs] == ["dl3_1.fits.gz", "dl3_2.fits.gz", "irf_irf-g1.fits.gz"]
    parts = first.files["config.json"]["parts"]
    assert [p["obs_id"] for p in parts] == [1, 2]
    assert {p["irf"] for p in parts} == {"irf_irf-g1.fits.gz"}
    assert second.files["config.json"]["label"] == "files 3 to 3"
    assert first.limits.wall_time_s > second.limits.wall_time_s


@pytest.mark.parametrize("processor", ["esap-fits", "gammapy"])
def test_one_job_makes_the_product_of_all_counts(lake: FakeCatalogue, processor: str) -> None:
    steering = planned(lake, project=OWN, processor=processor)
    outputs = [
        o
        for j in use_case.analysis_jobs(steering, "/ctao/esap/work/g", inputs_of(steering))
        for o in j.outputs
    ]
    counts = [InputFile(o.name, o.lfn, 1, "00000001") for o in outputs]
    (job,) = use_case.combine_jobs(steering, DIRECTORY, counts)
    assert {o.name: o.validator[1:2] for o in job.outputs} == {
        "skymap.fits.gz": ("validate-map",),
        "skymap.png": (),
        "spectrum.fits": ("validate-spectrum",),
        "spectrum.png": (),
        "result.json": ("validate-result",),
    }
    assert {o.lfn for o in job.outputs} == {f"{DIRECTORY}/{o.name}" for o in job.outputs}
    config = job.files["config.json"]
    assert config["counts"] == sorted(o.name for o in outputs)
    assert (config["units"], config["observations"], config["unmatched"]) == (3, 3, 0)
    assert config["production_id"] == "cta-pi-analysis-0123-g1"


def test_every_file_is_dated_by_the_request(lake: FakeCatalogue) -> None:
    steering = {**planned(lake, project=OWN), "requested_at": "2026-11-21T10:00:00"}
    jobs = use_case.analysis_jobs(steering, "/ctao/esap/work/g", inputs_of(steering))
    jobs += use_case.combine_jobs(steering, DIRECTORY)
    assert {j.files["config.json"]["date"] for j in jobs} == {"2026-11-21T10:00:00"}


def test_the_no_op_twin_makes_greetings(lake: FakeCatalogue) -> None:
    steering = planned(lake, project=OWN, processor="esap-noop")
    (job,) = use_case.combine_jobs(steering, DIRECTORY)
    assert [o.name for o in job.outputs] == ["hello.json"]
    assert job.command == ("esap-noop", "run", "--config", "config.json")
    assert job.files["config.json"]["behaviour"] == "ok"


@pytest.mark.parametrize("processor", ["esap-fits", "gammapy", "esap-noop"])
def test_jobs_go_where_the_data_are(lake: FakeCatalogue, processor: str) -> None:
    steering, alice = planned(lake, project=OWN, processor=processor), IDENTITIES.identity_of("alice")
    needs = use_case.requirements(steering, alice)
    assert (needs.n_jobs, needs.input_rses) == (3, {"LAPALMA-DISK": 35})
    facilities = load_facilities(CONFIG / "facilities.yaml")
    assert match(needs, facilities, {}).ranked[0].facility.name == "lapalma"
    steering["needs"]["input_rses"] = {"CSCS-DISK": 30, "LAPALMA-DISK": 5}
    assert match(use_case.requirements(steering, alice), facilities, {}).ranked[0].facility.name == "cscs"


@pytest.mark.parametrize("step", ["analyse", "combine"])
def test_every_check_of_the_validators_has_a_weight(step: str) -> None:
    assert {"map.sums", "spectrum.limits", "result.significance", "hello.checksum"} <= set(
        WORKFLOW.product["checks"]
    )
    assert set(WORKFLOW.steering["limits"][step]) >= {"wall_time_s", "memory_mb", "disk_mb"}
