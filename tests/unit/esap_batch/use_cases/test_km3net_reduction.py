from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from esap_batch.runtimes import runtime_for
from esap_batch.selection import SelectionRefused
from esap_batch.use_cases import km3net_reduction as use_case
from esap_batch.workflows import load_workflow
from tests.unit.esap_batch.test_selection import FakeCatalogue

CONFIG = Path(__file__).parents[4] / "config"
WORKFLOW = load_workflow(CONFIG, "km3net_reduction")
DAVE = load_identities(CONFIG / "identity.yaml").identity_of("dave")
PROJECTS = load_projects(CONFIG / "projects.yaml")
WORK, DIRECTORY = "/ctao/esap/work/g", "/ctao/km3net/reduced/2026.1/km3net-reduction-0123-g1"
SIZES_MB = {101: 4, 102: 3, 103: 50, 104: 2}


class Runs(FakeCatalogue):
    """Runs of the detector, one file each; ranges of run numbers can be searched."""

    def put_run(self, run: int, size: int = 1_000_000, **metadata: Any) -> str:
        dataset = f"/ctao/km3net/daq/run_{run}"
        about = {
            "obs_id": run,
            "project": "KM3NET-TESTDATA",
            "data_level": "DAQ",
            "kind": "observation",
            **metadata,
        }
        self.rows[dataset] = {"did_type": "DATASET", "is_open": False, "bytes": None, "adler32": None}
        file = f"{dataset}/run_{run}.root"
        self.rows[file] = {"did_type": "FILE", "is_open": None, "bytes": size, "adler32": f"{run:08x}"}
        self.known |= {dataset: about, file: {**about, "kind": "file"}}
        return dataset

    def find(self, scope: str, filters: Sequence[Mapping[str, Any]]) -> list[str]:
        def fits(meta: Mapping[str, Any], one: Mapping[str, Any]) -> bool:
            low, high = one.get("obs_id.gte", 0), one.get("obs_id.lte", 10**9)
            plain = {k: v for k, v in one.items() if "." not in k}
            return low <= meta["obs_id"] <= high and plain.items() <= meta.items()

        in_scope = [(n, m) for n, m in self.known.items() if n.split("/")[2] == scope]
        return [n for n, m in in_scope if any(fits(m, f) for f in filters)]


@pytest.fixture
def lake() -> Runs:
    made = Runs()
    for run, size in SIZES_MB.items():
        made.put_run(run, size * 1_000_000)
    return made


def problems(**conf: Any) -> list[str]:
    return [str(p) for p in examine(conf, WORKFLOW, use_case.check)]


def steering_of(**conf: Any) -> dict[str, Any]:
    assert problems(**conf) == []
    return resolve(conf, WORKFLOW, "dave", "km3net_reduction/run")


def planned(lake: Runs, **conf: Any) -> dict[str, Any]:
    """Give the steering file as the tasks after the selection have it."""
    steering = steering_of(**conf)
    selection = use_case.choose(steering, DAVE, PROJECTS, lake)
    places = {f.lfn: ["CSCS-DISK"] for f in selection.inputs}
    full = settled(steering, WORKFLOW, selection.digest, selection.needs(places), selection.about)
    return {**full, "selected": selection.document()}


def jobs_of(steering: dict[str, Any]) -> list[Any]:
    inputs = [InputFile(**i) for i in steering["selected"]["inputs"]]
    return use_case.reduction_jobs(steering, WORK, inputs)


def test_the_example_is_a_good_request() -> None:
    assert problems(**json.loads((CONFIG / "workflows/km3net_reduction/example.json").read_text())) == []


@pytest.mark.parametrize(
    ("conf", "told"),
    [
        ({}, "nothing says which runs to reduce"),
        ({"run_ids": "12-x"}, 'run_ids = "12-x": allowed numbers and ranges like 101-103, 105'),
        ({"run_ids": "9-3"}, "ends before it begins"),
        ({"run_ids": "1", "basket": ["no"]}, 'basket.0 = "no"'),
        ({"run_ids": "1", "campaign": "2025"}, 'campaign = "2025": allowed 2026.1, 2026.1-tight'),
        ({"run_ids": "1", "input_mb": 0}, "input_mb = 0: allowed a whole number from 1 to 10000 MB"),
        ({"run_ids": "1", "tot_min_ns": 3}, "there is no such field"),
    ],
)
def test_what_is_wrong_is_told_by_field_and_value(conf: dict[str, Any], told: str) -> None:
    assert any(told in p for p in problems(**conf)), problems(**conf)


@pytest.mark.parametrize("name", WORKFLOW.properties["campaign"]["enum"])
def test_a_campaign_is_one_block_of_the_steering_file_and_fits_the_software(name: str) -> None:
    steering = steering_of(run_ids="1", campaign=name)
    campaign = use_case.campaign_of(steering)
    assert campaign["name"] == name
    assert {"name": "esap-root", "version": campaign["software_version"]} in steering["software"]
    assert campaign["tot_min_ns"] < campaign["tot_max_ns"] <= 255
    told = WORKFLOW.properties["campaign"]["description"]
    words = f"**{name}**: hits of {campaign['tot_min_ns']} to {campaign['tot_max_ns']} ns"
    assert words in told


def test_every_job_of_a_campaign_has_its_parameters_and_the_product_its_name(lake: Runs) -> None:
    steering = planned(lake, run_ids="101-104", split="per_file")
    jobs = [*jobs_of(steering), *use_case.merge_jobs(steering, DIRECTORY)]
    campaigns = [j.files[n]["campaign"] for j in jobs for n in ("config.json", "expect.json")]
    assert campaigns == [use_case.campaign_of(steering)] * 10
    assert steering["product_lfn"].startswith("/ctao/km3net/reduced/2026.1/")
    tight = planned(lake, run_ids="101-104", split="per_file", campaign="2026.1-tight")
    assert tight["fingerprint"] != steering["fingerprint"]


def test_a_campaigns_parameters_decide_the_product() -> None:
    steering = steering_of(run_ids="1")
    changed = {**WORKFLOW.models, "tables": [{**t, "tot_min_ns": 6} for t in WORKFLOW.models["tables"]]}
    other = resolve({"run_ids": "1"}, replace(WORKFLOW, models=changed), "dave", "km3net_reduction/run")
    assert other["fingerprint"] != steering["fingerprint"]


def test_jobs_are_filled_by_size_and_know_the_run_of_each_file(lake: Runs) -> None:
    jobs = jobs_of(planned(lake, run_ids="101-104", input_mb=8))
    assert [j.files["config.json"]["inputs"] for j in jobs] == [
        {"run_101.root": 101, "run_102.root": 102},
        {"run_103.root": 103},
        {"run_104.root": 104},
    ]
    assert [j.files["expect.json"]["runs"] for j in jobs] == [[101, 102], [103], [104]]
    assert [o.name for j in jobs for o in j.outputs] == [f"reduced_{n:05d}.root" for n in range(3)]
    assert jobs[1].limits.disk_mb > jobs[0].limits.disk_mb
    assert jobs[1].limits.wall_time_s > jobs[0].limits.wall_time_s


def test_the_division_is_the_requests() -> None:
    assert use_case.splitting({"split": "per_file"}) == Splitting(Split.PER_FILES, 1)
    asked = {"split": "per_size", "input_mb": 3}
    assert use_case.splitting(asked) == Splitting(Split.PER_SIZE, size=3_000_000)


def test_one_job_makes_the_product_of_those_jobs_that_have_made_their_file(lake: Runs) -> None:
    steering = planned(lake, run_ids="101-104", split="per_file")
    made = [InputFile(f"reduced_{n:05d}.root", f"{WORK}/r{n}", 1, "00000001") for n in (3, 0)]
    (job,) = use_case.merge_jobs(steering, DIRECTORY, made)
    assert job.files["expect.json"]["runs"] == [101, 104]
    assert job.files["config.json"]["files"] == ["reduced_00000.root", "reduced_00003.root"]
    assert {o.name: o.validator[1:2] for o in job.outputs} == {
        "reduced.root": ("validate-reduced",),
        "summary.json": ("validate-summary",),
        "reduced.png": (),
    }
    assert {o.lfn for o in job.outputs} == {f"{DIRECTORY}/{o.name}" for o in job.outputs}


def test_runs_are_found_by_number_or_named_in_a_basket(lake: Runs) -> None:
    searched = planned(lake, run_ids="103-104, 101, 900")
    assert [o["obs_id"] for o in searched["selected"]["observations"]] == [101, 103, 104]
    record = {"scope": "km3net", "name": "/ctao/km3net/daq/run_102"}
    basket = [json.dumps({"archive": "rucio", "record": record})]
    both = planned(lake, run_ids="101", basket=basket)["selected"]["observations"]
    assert [(o["obs_id"], o["source"]) for o in both] == [(101, "runs 101"), (102, "basket.0")]
    by_name = planned(lake, basket=basket, split="per_file")["product_lfn"]
    assert planned(lake, run_ids="102", split="per_file")["product_lfn"] == by_name


def test_nothing_found_ends_the_run(lake: Runs) -> None:
    with pytest.raises(SelectionRefused, match="nothing is left to be analysed"):
        use_case.choose(steering_of(run_ids="7"), DAVE, PROJECTS, lake)
    lake.put_run(8, project="PI-2026-001")
    with pytest.raises(SelectionRefused, match="user dave may not read project PI-2026-001"):
        use_case.choose(steering_of(run_ids="8"), DAVE, PROJECTS, lake)


def test_the_no_op_twin_makes_greetings(lake: Runs) -> None:
    steering = planned(lake, run_ids="101-104", processor="esap-noop")
    jobs = [*jobs_of(steering), *use_case.merge_jobs(steering, DIRECTORY)]
    assert {j.command for j in jobs} == {("esap-noop", "run", "--config", "config.json")}
    assert all(j.outputs[0].validator[:2] == ("esap-noop", "validate") for j in jobs)


@pytest.mark.parametrize("processor", ["esap-root", "esap-noop"])
@pytest.mark.parametrize("facility", ["km3net-local", "fair-slurm"])
def test_it_runs_on_dirac_and_on_slurm(lake: Runs, processor: str, facility: str) -> None:
    steering = planned(lake, run_ids="101-104", processor=processor, facility=facility)
    needs = use_case.requirements(steering, DAVE)
    facilities = load_facilities(CONFIG / "facilities.yaml")
    chosen = match(needs, facilities, {}).ranked[0].facility
    assert chosen.name == facility
    contained = (facility, processor) == ("fair-slurm", "esap-root")  # which has an image of it
    assert runtime_for(chosen, needs.runtimes, [processor])["type"] == ("rootfs" if contained else "plain")
    assert (needs.n_jobs, needs.input_rses) == (1, {"CSCS-DISK": 59_000_000})


def test_every_check_of_the_validators_has_a_weight() -> None:
    named = {"campaign.cuts", "counts.agree", "runs.expected", "tree.complete", "summary.agrees"}
    assert named <= set(WORKFLOW.product["checks"])
