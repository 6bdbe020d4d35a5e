"""The reprocessing of waveforms with ctapipe-process, from tape to DL3, on the local grid."""

from __future__ import annotations

from pathlib import Path

from hooks.lake_bulk import BulkLake
from hooks.rucio_lake import RucioLake
from localgrid.demo import download
from localgrid.grid import Grid
from localgrid.samples.cta_reprocessing import fill_heavy
from tests.e2e.conftest import Runs

DAG = "cta_reprocessing"


def test_waveforms_become_event_lists(alice: Runs, grid: Grid, lake: RucioLake, tmp_path: Path) -> None:
    fill_heavy(grid, lake)
    run = alice.start(DAG, sb_ids="91", processor="ctapipe")
    assert alice.end(DAG, run, within=900) == "success", alice.told(DAG, run, "process_observations")
    assert alice.api.xcom(DAG, run, "report_end")["done"] == 2
    bulk = BulkLake(lake)
    made = bulk.metadata(bulk.find("dl3", [{"kind": "observation", "esap_run": f"{DAG}/{run}"}]))
    assert sorted(int(m["obs_id"]) for m in made.values()) == [901, 902]
    for about in made.values():
        assert about["activity_software_name"] == "esap-ctapipe, esap-fits"
        assert about["n_events"] > 10
        assert about["esap_verdict"] == "passed"
    first = min(made)
    names = {p.name for p in download(lake, first, tmp_path)}
    assert {"dl3_000901.fits.gz", "obs-index.fits.gz", "hdu-index.fits.gz"} <= names
