"""The analysis of cta_pi_analysis with gammapy, on the local grid."""

from __future__ import annotations

import json
from pathlib import Path

from hooks.rucio_lake import RucioLake
from localgrid.demo import download
from localgrid.grid import Grid
from localgrid.samples import prepare
from localgrid.samples.cta_pi_analysis import AMPLITUDE
from tests.e2e.conftest import Runs
from tests.e2e.workflows.test_cta_pi_analysis import DAG, observation, start

INDEX = 2.6  # of the sample's source


def test_gammapy_finds_the_spectrum_that_the_source_has(
    alice: Runs, grid: Grid, lake: RucioLake, tmp_path: Path
) -> None:
    prepare(DAG, grid, lake)
    run = start(alice, observation(201), observation(202), processor="gammapy", split="per_files")
    assert alice.end(DAG, run, within=900) == "success"
    product = alice.api.xcom(DAG, run, "ingest_products")
    files = {p.name: p for p in download(lake, product["dataset"], tmp_path)}
    assert {"skymap.fits.gz", "skymap.png", "spectrum.fits", "spectrum.png", "selection.json"} <= set(files)
    result = json.loads(files["result.json"].read_text())
    assert "gammapy" in result["processor"]
    assert result["observations"]["analysed"] == [201, 202]
    assert result["significance"] > 10
    fit = result["fit"]
    assert abs(fit["index"] - INDEX) < 4 * fit["index_error"]
    assert abs(fit["amplitude"] - AMPLITUDE) < 4 * fit["amplitude_error"]
    assert lake.metadata(product["dataset"])["activity_software_name"] == "esap-gammapy, esap-fits"
