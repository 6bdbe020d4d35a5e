"""Air showers in a container: the image is made once, every run is checked, for CTA and for KM3NeT."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hooks.rucio_lake import RucioLake
from hooks.storage_element import local_path
from localgrid.demo import download
from tests.e2e.conftest import Runs

DAG, KM3NET = "cta_concordia", "km3net_concordia"
CONFIGURATION = {"HIGH_MODEL": "EPOS", "LOW_MODEL": "FLUKA", "GEOMETRY": "CURVED", "OPTIONS": ["THIN"]}
SEED = 1 + int(uuid.uuid4().hex[:7], 16)  # makes requests unlike those of other test runs
REQUEST = {**CONFIGURATION, "NSHOW": 8, "n_jobs": 2, "RUNNR": 41, "SEED": [[SEED, 0, 0], [SEED + 1, 0, 0]]}
FLAT = {
    "uuid": str(uuid.uuid4()),
    "type": "URL",
    "title": "ESAP CONCORDIA",
    "workflow": "CONCORDIA",
    "Parameters": {
        "singularity_image": "",
        "output_file_name": "",
        "cputime": "600",
        "job_name": "flat",
        "group_name": "tests",
        "dirac_path": "",
        "dirac_SE": "CSCS-DISK",
        "arguement1": "",
        "RUNNR": "51",
        "NSHOW": "2",
        "n_jobs": "1",
        "ERANGE": "1.E3 2.E3",
        "SEED": f"{SEED} 0 0; {SEED + 1} 0 0",
        "HIGH_MODEL": "EPOS",
        "LOW_MODEL": "FLUKA",
        "GEOMETRY": "CURVED",
        "OPTIONS": "THIN",
    },
}


@pytest.fixture(scope="module")
def production(alice: Runs) -> tuple[str, dict[str, Any]]:
    """Run a typed request; give the run and what was ingested."""
    run = alice.start(DAG, **REQUEST, facility="lapalma")
    assert alice.end(DAG, run, within=900) == "success"
    product = alice.api.xcom(DAG, run, "ingest_products")
    assert product is not None
    return run, product


def test_a_typed_request_makes_a_product_with_logs_summary_and_picture(
    production: tuple[str, dict[str, Any]], lake: RucioLake, tmp_path: Path
) -> None:
    dataset = production[1]["dataset"]
    assert lake.is_published(dataset)
    files = {p.name: p for p in download(lake, dataset, tmp_path)}
    assert set(files) == {
        *("DAT000041", "DAT000041.log", "DAT000042", "DAT000042.log", "summary.json", "showers.png"),
        *("steering.json", "verdict.json", "provenance.json"),
    }
    log = files["DAT000042.log"].read_text()
    assert "TOY AIR SHOWERS, NOT CORSIKA" in log
    assert "(TOY OF) EPOS" in log
    assert "END OF RUN" in log
    assert files["showers.png"].read_bytes().startswith(b"\x89PNG")
    summary = json.loads(files["summary.json"].read_text())
    assert [(r["run"], r["showers"]) for r in summary["runs"]] == [(41, 4), (42, 4)]
    assert json.loads(files["verdict.json"].read_text())["passed"] is True


def test_the_runs_differ_and_ran_in_the_image_that_the_metadata_name(
    production: tuple[str, dict[str, Any]], alice: Runs, lake: RucioLake
) -> None:
    run, product = production
    container = alice.api.xcom(DAG, run, "select_container")
    metadata = lake.metadata(product["dataset"])
    assert metadata["image_sha256"] == container["sha256"] == lake.metadata(container["lfn"])["image_sha256"]
    assert "HIGH_MODEL=EPOS" in lake.metadata(container["dataset"])["image_configuration"]
    cards = {f["adler32"] for f in lake.files(product["dataset"]) if "/DAT" in f["name"]}
    assert len(cards) == 4
    pfns = lake.pfns("LAPALMA-DISK", [f"{product['dataset']}/provenance.json"])
    provenance = local_path(next(iter(pfns.values())))
    assert '"esap:runtime": "rootfs"' in provenance.read_text()


def test_a_flat_steering_file_runs_in_the_image_that_is_there(
    production: tuple[str, dict[str, Any]], alice: Runs, lake: RucioLake
) -> None:
    run = alice.start(DAG, **FLAT)
    assert alice.end(DAG, run) == "success"
    container = alice.api.xcom(DAG, run, "select_container")
    assert container["selected"] is True
    assert container["dataset"] == alice.api.xcom(DAG, production[0], "select_container")["dataset"]
    product = alice.api.xcom(DAG, run, "ingest_products")
    assert {f["name"].rsplit("/", 1)[-1] for f in lake.files(product["dataset"])} >= {"DAT000051"}
    assert lake.metadata(product["dataset"])["request_group_name"] == "tests"


def test_a_bad_card_is_refused_with_every_field_as_it_was_spelled(alice: Runs) -> None:
    bad = {**FLAT["Parameters"], "ERANGE": "2.E3 1.E3", "dirac_SE": "MOON", "NSHO": "3"}  # type: ignore[dict-item]
    run = alice.start(DAG, **{**FLAT, "Parameters": bad})
    assert alice.end(DAG, run) == "failed"
    told = alice.told(DAG, run, "validate_request")
    assert "Parameters.ERANGE = [2000.0, 1000.0]: allowed a lower value first" in told
    assert "allowed auto, LAPALMA-DISK, CSCS-DISK" in told
    assert "did you mean NSHOW?" in told
    assert alice.task_state(DAG, run, "submit_showers") == "upstream_failed"


def test_the_twin_goes_the_same_way_without_a_container(alice: Runs, lake: RucioLake) -> None:
    seeds = REQUEST["SEED"]
    run = alice.start(DAG, processor="esap-noop", NSHOW=2, n_jobs=2, RUNNR=61, SEED=seeds)
    assert alice.end(DAG, run) == "success"
    product = alice.api.xcom(DAG, run, "ingest_products")
    names = {f["name"].rsplit("/", 1)[-1] for f in lake.files(product["dataset"])}
    assert {"DAT000061.json", "DAT000062.json", "summary.json"} <= names
    assert not alice.api.xcom(DAG, run, "select_container")


def test_km3net_runs_with_its_defaults_at_its_own_facility(
    users: Callable[[str], Runs], lake: RucioLake
) -> None:
    dave = users("dave")
    run = dave.start(KM3NET, NSHOW=2, n_jobs=1, SEED=REQUEST["SEED"], temporary_rse="LAPALMA-DISK")
    assert dave.end(KM3NET, run, within=600) == "success"
    product = dave.api.xcom(KM3NET, run, "ingest_products")
    assert product["dataset"].startswith("/ctao/km3net/corsika/")
    assert dave.api.xcom(KM3NET, run, "select_facility")["facility"] == "km3net-local"
    assert product["rse"] == "LAPALMA-DISK"
    assert "/lapalma-disk/" in dave.api.xcom(KM3NET, run, "submit_showers")["journal"]["pfn"]
    metadata = lake.metadata(product["dataset"])
    assert metadata["request_GEOMETRY"] == "VOLUMEDET_CURVED"
    assert metadata["esap_owner"] == "dave"
