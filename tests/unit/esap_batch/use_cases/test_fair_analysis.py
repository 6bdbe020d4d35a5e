from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esap_batch.facilities import load_facilities
from esap_batch.identity import load_identities
from esap_batch.jobs import InputFile
from esap_batch.matching import match
from esap_batch.partition import Split, Splitting
from esap_batch.projects import load_projects
from esap_batch.request import examine, resolve, settled
from esap_batch.selection import SelectionRefused
from esap_batch.use_cases import fair_analysis as use_case
from esap_batch.workflows import load_workflow
from tests.unit.esap_batch.test_selection import FakeCatalogue

CONFIG = Path(__file__).parents[4] / "config"
WORKFLOW = load_workflow(CONFIG, "fair_analysis")
IDENTITIES = load_identities(CONFIG / "identity.yaml")
FRANK = IDENTITIES.identity_of("frank")
PROJECTS = load_projects(CONFIG / "projects.yaml")
PROJECT, OTHER = "CBM-2026-001", "PI-2026-001"
WORK, DIRECTORY = "/ctao/esap/work/g", "/ctao/fair/analysis/fair-analysis-0123-g1"


def item(name: str) -> str:
    return json.dumps({"archive": "rucio", "record": {"scope": "fair", "name": name}})


def problems(**conf: Any) -> list[str]:
    return [str(p) for p in examine(conf, WORKFLOW, use_case.check)]


def steering_of(**conf: Any) -> dict[str, Any]:
    assert problems(**conf) == []
    return resolve(conf, WORKFLOW, "frank", "fair_analysis/run")


class Candidates(FakeCatalogue):
    """Runs of candidates, one file each."""

    def put_run(self, run: int, **metadata: Any) -> str:
        dataset = f"/ctao/fair/candidates/run_{run}"
        about = {"obs_id": run, "project": PROJECT, "data_level": "candidates", **metadata}
        self.rows[dataset] = {"did_type": "DATASET", "is_open": False, "bytes": None, "adler32": None}
        file = f"{dataset}/candidates_{run}.root"
        self.rows[file] = {"did_type": "FILE", "is_open": None, "bytes": 10, "adler32": f"{run:08x}"}
        self.known |= {dataset: about, file: about}
        return dataset


@pytest.fixture
def lake() -> Candidates:
    made = Candidates()
    for run in (1, 2, 3):
        made.put_run(run)
    made.put_run(9, project=OTHER)
    return made


def planned(lake: Candidates, **conf: Any) -> dict[str, Any]:
    """Give the steering file as the tasks after the selection have it."""
    steering = steering_of(**conf)
    selection = use_case.choose(steering, FRANK, PROJECTS, lake)
    places = {f.lfn: ["CSCS-DISK"] for f in selection.inputs}
    full = settled(steering, WORKFLOW, selection.digest, selection.needs(places), selection.about)
    return {**full, "selected": selection.document()}


def jobs_of(steering: dict[str, Any]) -> list[Any]:
    inputs = [InputFile(**i) for i in steering["selected"]["inputs"]]
    return use_case.script_jobs(steering, WORK, inputs)


def test_the_example_is_a_good_request_and_so_is_an_empty_one() -> None:
    assert problems(**json.loads((CONFIG / "workflows/fair_analysis/example.json").read_text())) == []
    assert problems() == []


@pytest.mark.parametrize(
    ("conf", "told"),
    [
        ({"script": "x = 1\nif x\n  y"}, 'script = "if x": allowed Python 3.11 (line 2: expected'),
        ({"script": "print('a"}, "line 1: unterminated string literal"),
        ({"script": "(" * 500}, "too many nested parentheses"),
        ({"script": "x" * 30_001}, "allowed a Python script of at most 30000 characters (it is too long)"),
        ({"script": ""}, "script = "),
        ({"script": "a\0b"}, "control characters"),
        ({"script": 7}, "it is a number"),
        ({"parameters": "pt = 1"}, 'parameters = "pt = 1": allowed a JSON object'),
        ({"parameters": "[1]"}, "it is JSON, but no object"),
        ({"parameters": '{"pt": NaN}'}, "NaN is no number of JSON"),
        ({"parameters": "[" * 4000}, "it is not JSON"),
        ({"basket": ["no"]}, 'basket.0 = "no"'),
        ({"processor": "root6"}, "processor = "),
        ({"memory_mb": 100}, "memory_mb = 100: allowed a whole number from 500 to 4000 MB"),
    ],
)
def test_what_is_wrong_is_told_by_field_and_value(conf: dict[str, Any], told: str) -> None:
    assert any(told in p for p in problems(**conf)), problems(**conf)


def test_checking_a_script_runs_none_of_it(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    assert problems(script=f"import pathlib\npathlib.Path({str(trace)!r}).write_text('ran')") == []
    assert not trace.exists()


@given(text=st.text(max_size=200))
def test_any_text_is_compiled_or_refused(text: str) -> None:
    for problem in problems(script=text):
        assert problem


def test_a_script_reaches_the_job_as_it_is_and_no_command_line(lake: Candidates) -> None:
    script = "print('$(rm -rf /); {{ conf }} \"%s\" `id` a  b')\n"
    parameters = '{"cut": "; $(id) {{ x }}"}'
    (job,) = jobs_of(planned(lake, project=PROJECT, script=script, parameters=parameters))
    assert job.files["script.py"] == script
    assert job.files["config.json"]["parameters"] == {"cut": "; $(id) {{ x }}"}
    assert job.command == ("esap-root", "run", "--config", "config.json")


def test_without_basket_and_project_one_job_makes_its_own_candidates(lake: Candidates) -> None:
    steering = planned(lake, toy_events=5000)
    (job,) = jobs_of(steering)
    config = job.files["config.json"]
    assert (config["inputs"], config["toy"]["events"], job.inputs) == ([], 5000, ())
    assert steering["needs"] == {"jobs": 1, "input_rses": {}}
    other = planned(lake, toy_events=6000)
    assert other["product_lfn"] != steering["product_lfn"]


def test_each_unit_is_a_job_with_its_own_inputs_and_output(lake: Candidates) -> None:
    jobs = jobs_of(planned(lake, project=PROJECT, split="per_observation"))
    assert [[i.name for i in j.inputs] for j in jobs] == [[f"candidates_{n}.root"] for n in (1, 2, 3)]
    assert [j.files["config.json"]["inputs"] for j in jobs] == [[i.name for i in j.inputs] for j in jobs]
    assert [o.lfn for j in jobs for o in j.outputs] == [f"{WORK}/analysis_{n:05d}.root" for n in range(3)]
    assert all(j.outputs[0].validator[-1] == "profile.json" for j in jobs)
    assert "peak" not in jobs[0].files["profile.json"]
    (together,) = jobs_of(planned(lake, project=PROJECT))
    assert [i.name for i in together.inputs] == [f"candidates_{n}.root" for n in (1, 2, 3)]


def test_the_division_is_the_requests() -> None:
    assert use_case.splitting(steering_of(split="per_observation")["request"]).how is Split.PER_OBSERVATION
    asked = steering_of(split="per_files", files_per_job=7)["request"]
    assert use_case.splitting(asked) == Splitting(Split.PER_FILES, 7)


def test_limits_are_the_users_and_disk_grows_with_the_input(lake: Candidates) -> None:
    lake.rows["/ctao/fair/candidates/run_1/candidates_1.root"]["bytes"] = 10**9
    steering = planned(lake, project=PROJECT, split="per_observation", cputime_s=99, memory_mb=777)
    first, second, _ = jobs_of(steering)
    assert (first.limits.wall_time_s, first.limits.memory_mb) == (99, 777)
    assert (first.limits.disk_mb, second.limits.disk_mb) == (2500, 540)


def test_one_job_makes_the_product_and_checks_all_of_it(lake: Candidates) -> None:
    steering = planned(lake, project=PROJECT)
    files = [InputFile(f"analysis_{n:05d}.root", f"{WORK}/a{n}", 1, "00000001") for n in (1, 0)]
    (job,) = use_case.merge_jobs(steering, DIRECTORY, files)
    assert job.files["config.json"]["files"] == ["analysis_00000.root", "analysis_00001.root"]
    assert job.files["profile.json"]["peak"]["window_gev"] == [0.4926, 0.5026]
    assert {o.name: o.validator[1:2] for o in job.outputs} == {
        "analysis.root": ("validate",),
        "result.json": ("validate-result",),
        "analysis.png": (),
    }
    assert {o.lfn for o in job.outputs} == {f"{DIRECTORY}/{o.name}" for o in job.outputs}


def test_the_product_is_named_by_data_script_and_parameters(lake: Candidates) -> None:
    found = planned(lake, project=PROJECT)["product_lfn"]
    basket = [item(f"/ctao/fair/candidates/run_{n}") for n in (3, 1, 2)]
    assert planned(lake, basket=basket, cputime_s=99, memory_mb=900)["product_lfn"] == found
    for other in (
        {"script": "pass"},
        {"parameters": "{}"},
        {"split": "per_observation"},
        {"processor": "esap-noop"},
        {"result_use": "download"},
    ):
        assert planned(lake, project=PROJECT, **other)["product_lfn"] != found
    lake.put_run(4)
    assert planned(lake, project=PROJECT)["product_lfn"] != found


def test_a_project_of_others_cannot_be_searched_nor_its_data_used(lake: Candidates) -> None:
    with pytest.raises(SelectionRefused, match=f"frank may not read project {OTHER}; allowed: {PROJECT}"):
        use_case.choose(steering_of(project=OTHER), FRANK, PROJECTS, lake)
    steering = steering_of(basket=[item("/ctao/fair/candidates/run_9")])
    with pytest.raises(SelectionRefused, match=f"may not read project {OTHER}"):
        use_case.choose(steering, FRANK, PROJECTS, lake)


def test_what_cannot_be_used_is_reported_or_ends_the_run(lake: Candidates) -> None:
    basket = [item("/ctao/fair/candidates/run_1"), item("/ctao/fair/candidates/run_9")]
    assert [u["source"] for u in planned(lake, basket=basket)["selected"]["unmatched"]] == ["basket.1"]
    steering = steering_of(basket=basket, unmatched="fail")
    with pytest.raises(SelectionRefused, match="unmatched = fail"):
        use_case.choose(steering, FRANK, PROJECTS, lake)


def test_the_no_op_twin_makes_greetings(lake: Candidates) -> None:
    steering = planned(lake, project=PROJECT, processor="esap-noop", split="per_observation")
    jobs = [*jobs_of(steering), *use_case.merge_jobs(steering, DIRECTORY)]
    assert {j.command for j in jobs} == {("esap-noop", "run", "--config", "config.json")}
    assert all(j.outputs[0].validator[:2] == ("esap-noop", "validate") for j in jobs)
    assert all("script.py" not in j.files for j in jobs)


@pytest.mark.parametrize("processor", ["esap-root", "esap-noop"])
@pytest.mark.parametrize("facility", ["fair-slurm", "escape-local"])
def test_it_runs_on_slurm_and_on_dirac(lake: Candidates, processor: str, facility: str) -> None:
    steering = planned(lake, project=PROJECT, processor=processor, facility=facility)
    needs = use_case.requirements(steering, FRANK)
    facilities = load_facilities(CONFIG / "facilities.yaml")
    assert match(needs, facilities, {}).ranked[0].facility.name == facility
    assert needs.input_rses == {"CSCS-DISK": 30}


def test_slurm_is_where_it_runs_unless_told_otherwise() -> None:
    assert steering_of()["request"]["facility"] == "fair-slurm"


def test_every_check_of_the_validators_has_a_weight() -> None:
    named = {"objects.class", "tree.complete", "histogram.contents", "peak.window", "result.agrees"}
    assert named <= set(WORKFLOW.product["checks"])
