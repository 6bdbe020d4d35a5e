"""A FAIR user's own script over ROOT files of the lake, on SLURM and on DIRAC."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hooks.rucio_lake import RucioLake
from localgrid.demo import download
from localgrid.grid import Grid
from localgrid.samples import prepare
from localgrid.samples.fair_analysis import EVENTS, PLACES, PROJECT_ID, dataset_of
from tests.e2e.conftest import Runs
from tests.e2e.images import image_of, ran_in

DAG = "fair_analysis"
FACILITIES = ("fair-slurm", "escape-local")
MOVED = """
import json, os, sys
import numpy as np
import uproot

output, inputs = sys.argv[sys.argv.index("--output") + 1], sys.argv[5:]
parameters = json.load(open("parameters.json"))
for place in ("/work/../root", "/home", "/var/lib", os.environ.get("HOME", "/nowhere") + "/.ssh"):
    assert not os.path.isdir(place) or not os.listdir(place), place  # only the image and the job's files
print("$(touch owned) `id` ; echo owned && {{ conf }} %s | 'x y'", parameters["note"])
mass = uproot.open(inputs[0])["candidates/mass"].array(library="np") + parameters["shift_gev"]
with uproot.recreate(output) as file:
    file.mktree("candidates", {"mass": "f8"})
    file["candidates"].extend({"mass": mass})
    file["mass"] = np.histogram(mass, bins=120, range=(0.44, 0.56))
"""


@pytest.fixture(scope="module", autouse=True)
def _sample(grid: Grid, lake: RucioLake) -> None:
    prepare(DAG, grid, lake)


@pytest.fixture(scope="module")
def frank(users: Callable[[str], Runs]) -> Runs:
    return users("frank")


@pytest.fixture(scope="module")
def runs(frank: Runs) -> dict[str, str]:
    """Start all runs at once: at each facility one that reads the lake, and those that go wrong."""
    shifted = {"script": MOVED, "toy_events": 20_000}
    note = "'; rm -rf / #\" $HOME {{ x }}"
    started = {
        name: frank.start(DAG, project=PROJECT_ID, split="per_observation", facility=name, force=True)
        for name in FACILITIES
    }
    started["toy"] = frank.start(
        DAG, **shifted, parameters=json.dumps({"shift_gev": 0, "note": note}), force=True
    )
    started["moved"] = frank.start(
        DAG, **shifted, parameters=json.dumps({"shift_gev": 0.012, "note": ""}), force=True
    )
    failing = "import sys\nprint('the cut is missing')\nsys.exit(4)\n"
    started["failing"] = frank.start(DAG, script=failing, facility="escape-local", force=True)
    started["syntax"] = frank.start(DAG, script="import numpy\nfor x in y\n    pass", force=True)
    return started


@pytest.fixture(scope="module", params=FACILITIES)
def product(request: pytest.FixtureRequest, runs: dict[str, str], frank: Runs) -> dict[str, Any]:
    """The product that was made at a facility."""
    run = runs[request.param]
    assert frank.end(DAG, run, within=480) == "success"
    made: dict[str, Any] = frank.api.xcom(DAG, run, "ingest_products")
    return {**made, "facility": request.param}


@pytest.fixture(scope="module")
def downloaded(
    product: dict[str, Any], lake: RucioLake, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    target = tmp_path_factory.mktemp("product")
    return {p.name: p for p in download(lake, product["dataset"], target)}


def test_a_script_over_a_projects_data_makes_a_checked_product(downloaded: dict[str, Path]) -> None:
    papers = {"selection.json", "steering.json", "verdict.json", "provenance.json"}
    assert set(downloaded) == {"analysis.root", "analysis.png", "result.json"} | papers
    assert downloaded["analysis.root"].read_bytes().startswith(b"root")
    assert downloaded["analysis.png"].read_bytes().startswith(b"\x89PNG")
    result = json.loads(downloaded["result.json"].read_text())
    assert result["files"] == len(PLACES)
    assert 0 < result["entries"]["candidates"] < EVENTS * len(PLACES)
    assert result["peak"]["mean_gev"] == pytest.approx(0.4976, abs=0.001)
    verdict = json.loads(downloaded["verdict.json"].read_text())
    assert verdict["passed"] is True
    (checked,) = [v for v in verdict["validation"] if v["output"] == "analysis.root"]
    assert {"peak.window", "objects.class", "tree.complete"} <= {
        c["name"] for c in checked["report"]["checks"]
    }


def test_the_script_is_kept_with_the_product(
    product: dict[str, Any], downloaded: dict[str, Path], lake: RucioLake
) -> None:
    script = json.loads(downloaded["steering.json"].read_text())["request"]["script"]
    assert "uproot.recreate(options.output)" in script
    metadata = lake.metadata(product["dataset"])
    assert metadata["esap_facility"] == product["facility"]
    assert metadata["selected_obs_ids"] == ", ".join(str(run) for run in sorted(PLACES))
    assert len(metadata["request_script_sha256"]) == 64
    assert "request_script" not in metadata


def test_the_script_runs_in_a_container(downloaded: dict[str, Path]) -> None:
    assert ran_in(downloaded["provenance.json"]) == {image_of("root")}


def test_it_makes_no_difference_where_a_script_runs(runs: dict[str, str], frank: Runs) -> None:
    bases = set()
    for name in FACILITIES:
        assert frank.end(DAG, runs[name], within=480) == "success"
        product = frank.api.xcom(DAG, runs[name], "ingest_products")
        bases.add(product["dataset"].rsplit("-g", 1)[0])
    assert len(bases) == 1
    again = frank.start(DAG, basket=[_item(run) for run in PLACES], split="per_observation")
    assert frank.end(DAG, again, within=480) == "success"
    assert frank.api.xcom(DAG, again, "report_end")["outcome"] == "found"


def _item(run: int) -> str:
    return json.dumps({"archive": "rucio", "record": {"scope": "fair", "name": dataset_of(run)}})


def test_inputs_are_staged_to_the_facilitys_storage(
    product: dict[str, Any], runs: dict[str, str], frank: Runs
) -> None:
    staged = frank.api.xcom(DAG, runs[product["facility"]], "stage_inputs")
    assert (staged["files"], staged["rse"]) == (len(PLACES), product["rse"])


def test_toy_data_need_nothing_of_the_lake_and_no_character_is_special(
    runs: dict[str, str], frank: Runs, lake: RucioLake, tmp_path: Path
) -> None:
    run = runs["toy"]
    assert frank.end(DAG, run, within=480) == "success"
    assert frank.api.xcom(DAG, run, "stage_inputs")["rule"] == ""
    product = frank.api.xcom(DAG, run, "ingest_products")
    files = {p.name: p for p in download(lake, product["dataset"], tmp_path)}
    assert json.loads(files["result.json"].read_text())["entries"] == {"candidates": 20_000}
    request = json.loads(files["steering.json"].read_text())["request"]
    assert request["script"] == MOVED
    assert json.loads(request["parameters"])["note"] == "'; rm -rf / #\" $HOME {{ x }}"


def test_a_peak_out_of_its_window_is_quarantined(runs: dict[str, str], frank: Runs) -> None:
    assert frank.end(DAG, runs["moved"], within=480) == "failed"
    told = frank.told(DAG, runs["moved"], "verify_outputs")
    assert "peak.window" in told
    assert "/ctao/quarantine/" in told
    assert frank.task_state(DAG, runs["moved"], "ingest_products") == "upstream_failed"


def test_a_script_that_fails_is_told_with_its_own_words(runs: dict[str, str], frank: Runs) -> None:
    assert frank.end(DAG, runs["failing"], within=480) == "failed"
    told = frank.told(DAG, runs["failing"], "await_analysis")
    assert "the cut is missing" in told
    assert "the user's script ended with exit code 4" in told


def test_a_script_that_is_no_python_is_refused_before_anything_runs(
    runs: dict[str, str], frank: Runs
) -> None:
    assert frank.end(DAG, runs["syntax"], within=480) == "failed"
    assert 'script = "for x in y": allowed Python 3.11 (line 2: ' in frank.told(
        DAG, runs["syntax"], "validate_request"
    )
    assert frank.task_state(DAG, runs["syntax"], "select_data") == "upstream_failed"


def test_who_is_in_another_experiment_may_not_ask_at_all(users: Callable[[str], Runs]) -> None:
    assert users("alice").api.trigger(DAG, {}).status_code == 403
