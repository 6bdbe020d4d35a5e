"""The main job: an IRF from a request to a verified product in the lake."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prov.model import ProvActivity, ProvDocument

from hooks.rucio_lake import RucioLake
from hooks.storage_element import local_path
from localgrid.demo import download, example
from tests.e2e.conftest import Runs

DAG = "cta_irf"
PROJECT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def production(alice: Runs) -> tuple[str, dict[str, Any]]:
    """Run the README's example; give the run and what was ingested."""
    run = alice.start(DAG, **example(DAG), facility="lapalma")
    assert alice.end(DAG, run) == "success"
    product = alice.api.xcom(DAG, run, "ingest_products")
    assert product is not None
    return run, product


@pytest.fixture(scope="module")
def downloaded(
    production: tuple[str, dict[str, Any]], lake: RucioLake, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Download the product through Rucio, which compares the checksums; give the files by name."""
    target = tmp_path_factory.mktemp("product")
    return {p.name: p for p in download(lake, production[1]["dataset"], target)}


def test_the_dataset_is_closed_and_has_everything(
    production: tuple[str, dict[str, Any]], lake: RucioLake
) -> None:
    dataset = production[1]["dataset"]
    assert lake.is_published(dataset)
    names = {f["name"].rsplit("/", 1)[-1] for f in lake.files(dataset)}
    assert names == {"irf.fits.gz", "irf.png", "steering.json", "verdict.json", "provenance.json"}


def test_it_is_found_by_its_metadata(production: tuple[str, dict[str, Any]], lake: RucioLake) -> None:
    request = example(DAG)
    found = lake.find(
        "irf",
        {
            "esap_state": "published",
            "request_site": request["site"],
            "request_zenith_deg.lte": request["zenith_deg"],
        },
    )
    assert production[1]["dataset"] in found


def test_both_copies_arrive(production: tuple[str, dict[str, Any]], lake: RucioLake, wait_for: Any) -> None:
    rules = production[1]["rules"]
    assert len(rules) == 2
    for rule in rules.values():
        wait_for(lambda rule=rule: lake.rule(rule)["state"] == "OK")


def test_the_irf_is_a_toy_and_says_so(downloaded: dict[str, Path]) -> None:
    python = PROJECT / ".envs" / "fits" / "bin" / "python"
    code = "import sys; from astropy.io import fits; print(fits.getheader(sys.argv[1], 1)['TELESCOP'])"
    shown = subprocess.run(
        [python, "-c", code, downloaded["irf.fits.gz"]], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "TOY"


def test_the_irf_opens_in_gammapy(downloaded: dict[str, Path]) -> None:
    python = PROJECT / ".envs" / "gammapy" / "bin" / "python"
    check = PROJECT / "payloads" / "fits" / "check_gammapy.py"
    shown = subprocess.run(
        [python, check, downloaded["irf.fits.gz"]], capture_output=True, text=True, check=True
    )
    found = json.loads(shown.stdout)
    assert found["problems"] == []
    assert set(found["classes"]) == {"aeff", "edisp", "psf", "bkg"}


def test_the_plot_is_a_picture(downloaded: dict[str, Path]) -> None:
    assert downloaded["irf.png"].read_bytes().startswith(b"\x89PNG")


def test_the_verdict_lists_passed_checks(downloaded: dict[str, Path]) -> None:
    verdict = json.loads(downloaded["verdict.json"].read_text())
    assert verdict["passed"] is True
    assert verdict["checks"] > 20


def test_the_provenance_leads_from_the_request_to_the_product(downloaded: dict[str, Path]) -> None:
    document = ProvDocument.deserialize(str(downloaded["provenance.json"]), format="json")
    steps = {str(a.get_attribute("esap:step")) for a in document.get_records(ProvActivity)}
    assert any("submit_simulation" in s for s in steps)
    assert any("submit_merge" in s for s in steps)


def test_the_steering_file_can_be_run_again_and_leads_to_the_same_product(
    production: tuple[str, dict[str, Any]], downloaded: dict[str, Path], alice: Runs
) -> None:
    steering = json.loads(downloaded["steering.json"].read_text())
    again = alice.start(DAG, **{k: v for k, v in steering["request"].items() if v is not None})
    assert alice.end(DAG, again) == "success"
    found = alice.api.xcom(DAG, again, "check_duplicate")
    assert found["dataset"] == production[1]["dataset"]
    assert alice.task_state(DAG, again, "submit_simulation") == "skipped"


def test_nothing_transient_is_left_but_the_reports_of_the_jobs(
    production: tuple[str, dict[str, Any]], alice: Runs, lake: RucioLake
) -> None:
    from esap_batch.jobs import group_name
    from esap_batch.products import work_lfn

    run, _ = production
    lfns = [work_lfn(group_name(DAG, run, t)) for t in ("submit_simulation", "submit_merge")]
    places = [local_path(pfn) for pfn in lake.pfns("LAPALMA-DISK", lfns).values()]
    assert places[0].parents[2].is_dir()
    left = [sorted(p.name for p in place.iterdir()) for place in places]
    assert left == [["reports.json", "run.json"]] * 2
    assert alice.task_state(DAG, run, "clean_up") == "success"
