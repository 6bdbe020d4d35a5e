"""Raw data from tape to DL3 in the lake."""

from __future__ import annotations

from typing import Any

import pytest

from esap_batch.budget import LEDGERS
from hooks.dirac_wms import DiracWms
from hooks.lake_bulk import STAGING, BulkLake
from hooks.rucio_lake import RucioLake
from localgrid.grid import Grid
from localgrid.samples import prepare
from tests.e2e.conftest import Runs

DAG = "cta_reprocessing"
OBSERVATIONS = range(101, 107)


@pytest.fixture(scope="module", autouse=True)
def raw_data(grid: Grid, lake: RucioLake) -> None:
    prepare(DAG, grid, lake)


def products(lake: RucioLake, run: str) -> dict[int, str]:
    """Give the published products of a run by observation."""
    bulk = BulkLake(lake)
    found = bulk.metadata(bulk.find("dl3", [{"kind": "observation", "esap_run": f"{DAG}/{run}"}]))
    return {int(m["obs_id"]): name for name, m in found.items() if lake.is_published(name)}


def recalls(lake: RucioLake) -> list[str]:
    """List what runs have asked for from tape; other tests' rules have no tag."""
    return [r["name"] for r in lake.client.list_replication_rules({"activity": STAGING}) if r["comments"]]


def on_disk(grid: Grid) -> list[str]:
    """List raw data that lie on disk."""
    places = [grid.home / "storage" / rse / "ctao" / "acada" for rse in ("lapalma-disk", "cscs-disk")]
    return sorted(p.name for place in places for p in place.rglob("obs_*") if p.is_file())


def test_a_dry_run_lists_files_volume_and_places_and_does_nothing(
    grid: Grid, alice: Runs, lake: RucioLake
) -> None:
    run = alice.start(DAG, sb_ids="11", telescopes="2", dry_run=True)
    assert alice.end(DAG, run) == "success"
    listed = alice.api.xcom(DAG, run, "report_end")
    assert listed["outcome"] == "listed"
    assert (listed["observations"], listed["files"]) == (3, 6)
    assert listed["by_place"] == {"LAPALMA-TAPE": listed["bytes"]}
    assert "obs_000101_tel002_00.fits.gz" in alice.told(DAG, run, "search_lake")
    assert alice.task_state(DAG, run, "reserve_recall") == "skipped"
    assert products(lake, run) == {}
    assert recalls(lake) == []
    assert on_disk(grid) == []


def test_observations_come_from_tape_and_are_published_one_by_one(
    grid: Grid, alice: Runs, lake: RucioLake, wait_for: Any
) -> None:
    run = alice.start(DAG, obs_ids="101-106", window_gb=0.0004)  # room for two observations
    assert alice.end(DAG, run, within=420) == "success"
    end = alice.api.xcom(DAG, run, "report_end")
    assert (end["outcome"], end["done"], end["failed"]) == ("published", 6, 0)
    made = products(lake, run)
    assert sorted(made) == list(OBSERVATIONS)
    names = {f["name"].rsplit("/", 1)[-1] for f in lake.files(made[101])}
    papers = {"steering.json", "verdict.json", "provenance.json"}
    assert names == {"dl3_000101.fits.gz", "obs-index.fits.gz", "hdu-index.fits.gz"} | papers
    about = BulkLake(lake).metadata([made[101]])[made[101]]
    assert about["esap_parents"].endswith("/obs_000101")
    assert (about["data_level"], about["esap_missing_files"], about["project"]) == ("DL3", 0, "PI-2026-001")
    raw = lake.metadata(about["esap_parents"])
    assert (raw["esap_dl3"], raw["esap_dl3_software"]) == (made[101], "esap-fits-0.2.0")
    assert len(lake.rules(made[101])) == 2
    wait_for(lambda: on_disk(grid) == [])
    cache = grid.home / "storage" / "lapalma-disk" / "ctao" / "esap" / "cache"
    assert not [p for p in cache.rglob("*") if p.is_file()]
    ledger = BulkLake(lake).find("esap", [{"esap_run": f"{DAG}/{run}", "kind": "budget"}])
    assert [n for n in ledger if n.startswith(f"{LEDGERS}/user/alice/")]
    taken = sum(m["esap_bytes"] for m in BulkLake(lake).metadata(ledger).values())
    assert taken == end["recalled_bytes"] == end["bytes"]


def test_what_is_done_is_not_done_again(alice: Runs, lake: RucioLake) -> None:
    run = alice.start(DAG, obs_ids="101-106", window_gb=1)
    assert alice.end(DAG, run) == "success"
    end = alice.api.xcom(DAG, run, "report_end")
    assert end["outcome"] == "nothing to do"
    assert end["standing"] == {"done": 6}
    assert products(lake, run) == {}


def test_a_run_that_is_cancelled_leaves_nothing_on_disk_and_no_job(
    grid: Grid, alice: Runs, lake: RucioLake, dirac: DiracWms, wait_for: Any
) -> None:
    run = alice.start(DAG, obs_ids="101-106", telescopes="1")
    wait_for(lambda: alice.task_state(DAG, run, "process_observations") == "deferred")
    wait_for(lambda: on_disk(grid))
    alice.api.set_state(DAG, run, "failed")
    wait_for(lambda: alice.task_state(DAG, run, "clean_up") == "success")
    assert alice.end(DAG, run) == "failed"
    wait_for(lambda: on_disk(grid) == [])
    assert recalls(lake) == []
    ledger = BulkLake(lake).find("esap", [{"esap_run": f"{DAG}/{run}", "kind": "budget"}])
    alice.api.clear(DAG, run, "process_observations")
    assert alice.end(DAG, run, within=420) == "success"
    assert sorted(products(lake, run)) == list(OBSERVATIONS)
    assert len(BulkLake(lake).find("esap", [{"esap_run": f"{DAG}/{run}", "kind": "budget"}])) >= len(ledger)


@pytest.mark.parametrize(
    ("conf", "task", "words"),
    [
        ({}, "validate_request", "obs_ids = (not given): allowed at least one of obs_ids, sb_ids"),
        ({"obs_ids": "9-1"}, "validate_request", "'9-1' ends before it begins"),
        (
            {"obs_ids": "101", "start_from": "2026-02-02", "start_to": "2026-02-01"},
            "validate_request",
            "start_from",
        ),
        ({"obs_ids": "999999"}, "search_lake", "no observation in the lake is as asked for"),
        ({"obs_ids": "101", "processor": "esap-noop", "window_gb": 1e-6}, "search_lake", "window_gb = 1e-06"),
    ],
)
def test_bad_requests_are_refused_by_name(alice: Runs, conf: dict[str, Any], task: str, words: str) -> None:
    run = alice.start(DAG, **conf)
    assert alice.end(DAG, run) == "failed"
    assert words in alice.told(DAG, run, task)
    assert alice.task_state(DAG, run, "process_observations") == "upstream_failed"


def test_km3net_may_not_reprocess_ctas_data(users: Any) -> None:
    answer = users("dave").api.trigger(DAG, {"obs_ids": "101"})
    assert answer.status_code == 403, answer.text
