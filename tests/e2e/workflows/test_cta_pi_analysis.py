"""A PI's analysis, from basket and project to sky map, spectrum and significance."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hooks.lake_inputs import InputLake
from hooks.rucio_lake import RucioLake
from hooks.storage_element import local_path
from localgrid.demo import download
from localgrid.grid import Grid
from localgrid.samples import prepare
from localgrid.samples.cta_pi_analysis import AREA, IRF_DATASET
from tests.e2e.conftest import Runs

DAG = "cta_pi_analysis"
OWN, OTHER = "PI-2026-001", "PI-2026-002"


@pytest.fixture(scope="module", autouse=True)
def _sample(grid: Grid, lake: RucioLake) -> None:
    prepare(DAG, grid, lake)


def item(dataset: str) -> str:
    """Give a basket's item of a DL3 dataset."""
    return json.dumps({"archive": "rucio", "record": {"scope": "dl3", "name": dataset, "type": "DATASET"}})


def observation(obs_id: int) -> str:
    """Give a basket's item of one of the sample observations."""
    return item(f"{AREA}/obs_{obs_id:06d}")


def read(lake: RucioLake, product: dict[str, Any], name: str) -> bytes:
    """Read a file of a product where it was made."""
    lfn = f"{product['dataset']}/{name}"
    return local_path(lake.pfns(product["rse"], [lfn])[lfn]).read_bytes()


def start(runs: Runs, *basket: str, processor: str = "esap-noop", **conf: Any) -> str:
    return runs.start(DAG, basket=list(basket), processor=processor, force=True, **conf)


@pytest.fixture(scope="module")
def production(alice: Runs) -> tuple[str, dict[str, Any]]:
    """Analyse one observation of a basket that holds more than can be used."""
    zenodo = json.dumps({"archive": "zenodo", "record": {"id": 1, "title": "a paper"}})
    run = start(alice, zenodo, observation(301), observation(201), processor="esap-fits")
    assert alice.end(DAG, run) == "success"
    product: dict[str, Any] = alice.api.xcom(DAG, run, "ingest_products")
    return run, product


@pytest.fixture(scope="module")
def downloaded(
    production: tuple[str, dict[str, Any]], lake: RucioLake, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    target = tmp_path_factory.mktemp("product")
    return {p.name: p for p in download(lake, production[1]["dataset"], target)}


def test_a_basket_becomes_maps_spectrum_and_significance(downloaded: dict[str, Path]) -> None:
    results = {"skymap.fits.gz", "skymap.png", "spectrum.fits", "spectrum.png", "result.json"}
    papers = {"selection.json", "steering.json", "verdict.json", "provenance.json"}
    assert set(downloaded) == results | papers
    assert downloaded["skymap.png"].read_bytes().startswith(b"\x89PNG")
    result = json.loads(downloaded["result.json"].read_text())
    assert result["observations"] == {"expected": 1, "analysed": [201]}
    assert result["significance"] > 5
    assert "TOY" in result["note"]
    assert json.loads(downloaded["verdict.json"].read_text())["passed"] is True


def test_what_could_not_be_used_is_told_in_log_product_and_metadata(
    production: tuple[str, dict[str, Any]], downloaded: dict[str, Path], alice: Runs, lake: RucioLake
) -> None:
    run, product = production
    told = alice.told(DAG, run, "select_data")
    unmatched = json.loads(downloaded["selection.json"].read_text())["unmatched"]
    assert [u["source"] for u in unmatched] == ["basket.0", "basket.1"]
    for words in ("no rule for archive zenodo", f"user alice may not read project {OTHER}"):
        assert words in told
        assert any(words in u["reason"] for u in unmatched)
    metadata = lake.metadata(product["dataset"])
    assert metadata["selected_unmatched"] == 2
    assert metadata["selected_obs_ids"] == "201"


def test_the_response_of_each_observation_is_told(downloaded: dict[str, Path]) -> None:
    (chosen,) = json.loads(downloaded["selection.json"].read_text())["observations"]
    assert chosen["irf"].startswith("/ctao/irf/prod6-v1.1/LaPalma/alpha/")
    assert (chosen["irf_zenith_distance_deg"], chosen["irf_azimuth_distance_deg"]) == (0, 0)


def test_the_provenance_names_events_and_response(downloaded: dict[str, Path]) -> None:
    document = json.loads(downloaded["provenance.json"].read_text())
    inputs = json.loads(downloaded["selection.json"].read_text())["inputs"]
    steps = {
        name for name, told in document["activity"].items() if told.get("esap:step") == "submit_analysis"
    }
    used = [u["prov:entity"] for u in document["used"].values() if u["prov:activity"] in steps]
    lfns = {document["entity"][name]["esap:lfn"] for name in used if name != "esap:steering"}
    assert lfns == {one["lfn"] for one in inputs}
    assert len(lfns) == 2


def test_jobs_run_where_the_data_are_and_inputs_are_let_go(
    production: tuple[str, dict[str, Any]], alice: Runs, lake: RucioLake, wait_for: Callable[..., Any]
) -> None:
    run, _ = production
    near = alice.api.xcom(DAG, run, "select_data")["needs"]["input_rses"]
    staged = alice.api.xcom(DAG, run, "stage_inputs")
    assert near[staged["rse"]] == max(near.values())
    assert staged["files"] == 2
    rule, inputs = staged["rule"], InputLake(lake)
    wait_for(lambda: inputs.stagings([rule])[rule].state == "GONE")


def test_inputs_from_elsewhere_are_brought_to_the_facility(
    alice: Runs, lake: RucioLake, wait_for: Callable[..., Any]
) -> None:
    run = start(alice, observation(202), facility="lapalma", result_use="download")
    assert alice.end(DAG, run) == "success"
    assert "2 files are at LAPALMA-DISK" in alice.told(DAG, run, "await_inputs")
    product = alice.api.xcom(DAG, run, "ingest_products")
    (rule,) = product["rules"].values()  # for download: at one place, and for some days only
    assert lake.rule(rule)["expires_at"] is not None


def test_a_project_is_searched_and_divided_as_asked_and_equal_data_make_one_product(
    alice: Runs, lake: RucioLake
) -> None:
    conf: dict[str, Any] = {"processor": "esap-noop", "target_ra_deg": 83.7, "split": "per_group"}
    first = alice.start(DAG, project=OWN, force=True, **conf)
    assert alice.end(DAG, first) == "success"
    assert alice.api.xcom(DAG, first, "submit_analysis")["count"] >= 2  # scheduling blocks 21, 22, ...
    product = alice.api.xcom(DAG, first, "ingest_products")
    chosen = json.loads(read(lake, product, "selection.json"))["observations"]
    assert {201, 202, 203, 204} <= {one["obs_id"] for one in chosen}
    assert {one["project"] for one in chosen} == {OWN}
    second = alice.start(DAG, basket=[item(one["dataset"]) for one in chosen], **conf)
    assert alice.end(DAG, second) == "success"
    assert alice.api.xcom(DAG, second, "report_end")["outcome"] == "found"


def test_nobody_searches_a_project_that_is_not_theirs(users: Callable[[str], Runs]) -> None:
    bob = users("bob")
    run = start(bob, project=OWN)
    assert bob.end(DAG, run) == "failed"
    told = bob.told(DAG, run, "select_data")
    assert f"user bob may not read project {OWN}; allowed: {OTHER}" in told
    assert bob.task_state(DAG, run, "submit_analysis") == "upstream_failed"


def test_a_basket_of_nothing_but_others_data_fails_the_run(alice: Runs) -> None:
    run = start(alice, observation(301))
    assert alice.end(DAG, run) == "failed"
    assert "nothing is left to be analysed" in alice.told(DAG, run, "select_data")


def test_who_is_in_another_experiment_may_not_ask_at_all(users: Callable[[str], Runs]) -> None:
    answer = users("dave").api.trigger(DAG, {"basket": [observation(201)], "processor": "esap-noop"})
    assert answer.status_code == 403, answer.text


def test_a_broken_item_is_refused_by_its_place(alice: Runs) -> None:
    run = start(alice, observation(201), "no json")
    assert alice.end(DAG, run) == "failed"
    assert 'basket.1 = "no json"' in alice.told(DAG, run, "validate_request")


def test_the_sample_response_is_a_published_one(lake: RucioLake) -> None:
    assert lake.is_published(IRF_DATASET)
