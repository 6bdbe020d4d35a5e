"""Real runs of KM3NeT's detectors reduced by a campaign's parameters, on DIRAC and on SLURM."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hooks.rucio_lake import RucioLake
from localgrid.demo import download
from localgrid.grid import Grid
from localgrid.layout import PROJECT
from localgrid.samples import prepare
from localgrid.samples.km3net_reduction import FILES, dataset_of
from tests.e2e.conftest import Runs
from tests.e2e.images import image_of, ran_in

DAG = "km3net_reduction"
FACILITIES = ("km3net-local", "fair-slurm")
RUN_IDS = "6633-6884, 13339-13340, 25291"
pytestmark = pytest.mark.skipif(
    not (PROJECT / ".envs" / "testdata").is_dir(),
    reason="no .envs/testdata: run localgrid/bootstrap.sh testdata",
)


@pytest.fixture(scope="module", autouse=True)
def _sample(grid: Grid, lake: RucioLake) -> None:
    prepare(DAG, grid, lake)


@pytest.fixture(scope="module")
def dave(users: Callable[[str], Runs]) -> Runs:
    return users("dave")


@pytest.fixture(scope="module")
def runs(dave: Runs) -> dict[str, str]:
    """Start all runs at once."""
    conf: dict[str, Any] = {"run_ids": RUN_IDS, "force": True}
    started = {name: dave.start(DAG, **conf, input_mb=7, facility=name) for name in FACILITIES}
    started["tight"] = dave.start(DAG, **conf, split="per_file", campaign="2026.1-tight")
    started["none"] = dave.start(DAG, run_ids="1-9")
    return started


@pytest.fixture(scope="module", params=FACILITIES)
def product(request: pytest.FixtureRequest, runs: dict[str, str], dave: Runs) -> dict[str, Any]:
    """The product that was made at a facility."""
    run = runs[request.param]
    assert dave.end(DAG, run, within=480) == "success"
    made: dict[str, Any] = dave.api.xcom(DAG, run, "ingest_products")
    return {**made, "facility": request.param, "run": run}


@pytest.fixture(scope="module")
def downloaded(
    product: dict[str, Any], lake: RucioLake, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    target = tmp_path_factory.mktemp("product")
    return {p.name: p for p in download(lake, product["dataset"], target)}


def test_high_volume_goes_in_and_small_volume_comes_out(downloaded: dict[str, Path]) -> None:
    papers = {"selection.json", "steering.json", "verdict.json", "provenance.json"}
    assert set(downloaded) == {"reduced.root", "reduced.png", "summary.json"} | papers
    summary = json.loads(downloaded["summary.json"].read_text())
    read = {r["run"]: (r["detector_id"], r["events_read"]) for r in summary["runs"]}
    assert read == {6633: (44, 3), 6884: (44, 10), 13339: (133, 250), 13340: (133, 10), 25291: (267, 13)}
    assert summary["total"]["hits_read"] == 339_911
    assert downloaded["reduced.root"].stat().st_size * 50 < summary["total"]["bytes_read"]
    assert downloaded["reduced.png"].read_bytes().startswith(b"\x89PNG")
    assert json.loads(downloaded["verdict.json"].read_text())["passed"] is True


def test_slurm_runs_them_in_an_image_and_a_place_without_images_plainly(
    product: dict[str, Any], downloaded: dict[str, Path]
) -> None:
    contained = product["facility"] == "fair-slurm"
    assert ran_in(downloaded["provenance.json"]) == ({image_of("root")} if contained else {("plain",)})


def test_it_makes_no_difference_in_what_they_run(
    runs: dict[str, str], dave: Runs, lake: RucioLake, tmp_path: Path
) -> None:
    made = []
    for name in FACILITIES:
        assert dave.end(DAG, runs[name], within=480) == "success"
        dataset = dave.api.xcom(DAG, runs[name], "ingest_products")["dataset"]
        made.append({p.name: p for p in download(lake, dataset, tmp_path / name)})
    plain, contained = (json.loads(files["summary.json"].read_text()) for files in made)
    assert plain == contained


def test_a_campaigns_parameters_are_told_once_and_hold_for_all(
    product: dict[str, Any], downloaded: dict[str, Path], lake: RucioLake
) -> None:
    steering = json.loads(downloaded["steering.json"].read_text())
    (campaign,) = steering["calibration"]["tables"]
    assert campaign["name"] == "2026.1"
    assert json.loads(downloaded["summary.json"].read_text())["campaign"] == campaign
    metadata = lake.metadata(product["dataset"])
    assert (metadata["request_campaign"], metadata["esap_facility"]) == ("2026.1", product["facility"])
    assert product["dataset"].startswith("/ctao/km3net/reduced/2026.1/")


def test_jobs_are_filled_by_size(product: dict[str, Any], dave: Runs) -> None:
    assert dave.api.xcom(DAG, product["run"], "submit_reduction")["count"] == 3
    staged = dave.api.xcom(DAG, product["run"], "stage_inputs")
    assert (staged["files"], staged["bytes"]) == (len(FILES), 13_930_313)


def test_another_campaign_makes_another_product_of_the_same_runs(
    runs: dict[str, str], dave: Runs, lake: RucioLake, tmp_path: Path
) -> None:
    assert dave.end(DAG, runs["tight"], within=480) == "success"
    assert dave.api.xcom(DAG, runs["tight"], "submit_reduction")["count"] == len(FILES)
    product = dave.api.xcom(DAG, runs["tight"], "ingest_products")
    assert product["dataset"].startswith("/ctao/km3net/reduced/2026.1-tight/")
    files = {p.name: p for p in download(lake, product["dataset"], tmp_path)}
    total = json.loads(files["summary.json"].read_text())["total"]
    assert total["events_read"] == 286
    assert 0 < total["events_kept"] < 286
    assert 0 < total["hits_kept"] < total["hits_read"]


def test_the_same_data_by_name_are_a_duplicate(product: dict[str, Any], dave: Runs) -> None:
    records = [{"scope": "km3net", "name": dataset_of(run)} for run, _, _ in FILES.values()]
    basket = [json.dumps({"archive": "rucio", "record": record}) for record in records]
    run = dave.start(DAG, basket=basket, input_mb=7)
    assert dave.end(DAG, run, within=480) == "success"
    end = dave.api.xcom(DAG, run, "report_end")
    assert end["outcome"] == "found"
    assert end["product"]["dataset"].rsplit("-g", 1)[0] == product["dataset"].rsplit("-g", 1)[0]


def test_runs_that_are_not_there_end_the_run(runs: dict[str, str], dave: Runs) -> None:
    assert dave.end(DAG, runs["none"], within=480) == "failed"
    assert "nothing is left to be analysed" in dave.told(DAG, runs["none"], "select_data")


def test_who_is_in_another_experiment_may_not_ask_at_all(users: Callable[[str], Runs]) -> None:
    assert users("frank").api.trigger(DAG, {"run_ids": "6633"}).status_code == 403
