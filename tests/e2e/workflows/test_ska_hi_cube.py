"""HI sources of a cube, from its name to maps and catalogue; and a group's own Snakemake workflow."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hooks.rucio_lake import RucioLake
from localgrid.demo import download
from localgrid.grid import Grid
from localgrid.samples import prepare
from localgrid.samples.ska_hi_cube import BRIDGES, DATASET, GALAXIES
from tests.e2e.conftest import Runs
from tests.e2e.images import image_of, ran_in

DAG = "ska_hi_cube"
RESULTS = {"moments.fits", "catalogue.vot", "mask.fits.gz", "overview.png"}
PAPERS = {"selection.json", "steering.json", "verdict.json", "provenance.json"}
FLUX = sum(g[-1] for g in GALAXIES) + sum(float(str(b["flux_jy_kms"])) for b in BRIDGES)
WITHIN = 600  # seconds, for ten programs one after the other on a busy machine
CUT = {"subcube_pixels": 48, "subcube_channels": 64}
OWN = """
rule all:
    input: "spectrum of the cube.json"

rule spectrum:
    input: config["cube"]
    output: "spectrum of the cube.json"
    log: "logs/spectrum.log"
    run:
        import json
        from astropy.io import fits
        about = json.load(open(config["about"]))
        total = fits.getdata(input[0]).sum(axis=(1, 2)).tolist()
        json.dump({"cores": workflow.cores, "factor": config["factor"], "shape": about["shape"],
                   "spectrum": total}, open(output[0], "w"))

onsuccess:
    shell("cp 'spectrum of the cube.json' spectrum.json")
"""
BROKEN = """
rule all:
    input: "never.json"

rule unlucky:
    output: "never.json"
    log: "logs/unlucky.log"
    shell: "echo 'the detector was asleep' > {log}; exit 7"
"""


@pytest.fixture(scope="module", autouse=True)
def _sample(grid: Grid, lake: RucioLake) -> None:
    prepare(DAG, grid, lake)


@pytest.fixture(scope="module")
def sofia(users: Callable[[str], Runs]) -> Runs:
    return users("sofia")


def start(runs: Runs, processor: str = "esap-noop", **conf: Any) -> str:
    return runs.start(DAG, **{"cube": DATASET, "processor": processor, "force": True, **CUT, **conf})


def produced(runs: Runs, lake: RucioLake, run: str, target: Path) -> dict[str, Path]:
    assert runs.end(DAG, run, WITHIN) == "success"
    product = runs.api.xcom(DAG, run, "ingest_products")
    return {p.name: p for p in download(lake, product["dataset"], target)}


def rows(catalogue: Path) -> list[dict[str, str]]:
    """Read a VOTable without astropy, which Airflow's environment has not."""
    table = next(e for e in ET.parse(catalogue).iter() if e.tag.endswith("}TABLE"))
    names = [e.attrib["name"] for e in table.iter() if e.tag.endswith("}FIELD")]
    return [
        dict(zip(names, (cell.text or "" for cell in row), strict=True))
        for row in table.iter()
        if row.tag.endswith("}TR")
    ]


@pytest.fixture(scope="module")
def cut_run(sofia: Runs) -> str:
    """Search the cube in four sub-cubes."""
    return start(sofia, "esap-ska", facility="escape-local")


@pytest.fixture(scope="module")
def cut_product(
    cut_run: str, sofia: Runs, lake: RucioLake, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    return produced(sofia, lake, cut_run, tmp_path_factory.mktemp("cut"))


def test_a_cube_becomes_maps_catalogue_and_picture(
    cut_run: str, cut_product: dict[str, Path], sofia: Runs, lake: RucioLake
) -> None:
    assert set(cut_product) == RESULTS | PAPERS
    assert sofia.api.xcom(DAG, cut_run, "submit_subcubes")["count"] == 4
    sources = rows(cut_product["catalogue.vot"])
    assert len(sources) == len(GALAXIES) - len(BRIDGES)  # the bridge makes one source of two galaxies
    assert sum(float(s["f_sum"]) for s in sources) == pytest.approx(FLUX, rel=0.05)
    assert cut_product["overview.png"].read_bytes().startswith(b"\x89PNG")
    assert json.loads(cut_product["verdict.json"].read_text())["passed"] is True
    metadata = lake.metadata(sofia.api.xcom(DAG, cut_run, "ingest_products")["dataset"])
    assert metadata["cube"] == f"{DATASET}/hcg16_toy.fits"
    assert metadata["subcubes"] == 4
    assert metadata["target"] == "HCG 16 (toy)"


@pytest.mark.parametrize("processor", ["esap-ska", "snakemake"])
def test_slurm_makes_the_same_in_an_image_by_sub_cubes_and_by_our_own_workflow(
    processor: str, cut_product: dict[str, Path], sofia: Runs, lake: RucioLake, tmp_path: Path
) -> None:
    run = start(sofia, processor, facility="fair-slurm", cores=2)
    made = produced(sofia, lake, run, tmp_path)
    assert set(made) == RESULTS | PAPERS
    assert ran_in(cut_product["provenance.json"]) == {("plain",)}
    assert ran_in(made["provenance.json"]) == {image_of("ska")}
    assert rows(made["catalogue.vot"]) == rows(cut_product["catalogue.vot"])
    expected = {"esap-ska": 4, "snakemake": 1}[processor]
    assert sofia.api.xcom(DAG, run, "submit_subcubes")["count"] == expected


def test_equal_requests_find_the_product_however_they_cut_the_cube(cut_run: str, sofia: Runs) -> None:
    assert sofia.end(DAG, cut_run, WITHIN) == "success"
    run = sofia.start(DAG, cube=DATASET, subcube_pixels=30, subcube_channels=20, overlap_pixels=12)
    assert sofia.end(DAG, run) == "success"
    assert sofia.api.xcom(DAG, run, "report_end")["outcome"] == "found"


@pytest.mark.parametrize("facility", ["escape-local", "fair-slurm"])
def test_a_groups_own_workflow_runs_as_it_is_with_the_cores_it_asked_for(
    facility: str, sofia: Runs, lake: RucioLake, tmp_path: Path
) -> None:
    conf: dict[str, Any] = {"snakefile": OWN, "workflow_config": '{"factor": 3}', "cores": 2}
    conf["facility"] = facility
    run = start(sofia, "snakemake", workflow_outputs=["spectrum.json"], **conf)
    made = produced(sofia, lake, run, tmp_path)
    assert set(made) == {"spectrum.json"} | PAPERS
    document = json.loads(made["spectrum.json"].read_text())
    assert (document["cores"], document["factor"]) == (2, 3)
    assert document["shape"] == [96, 96, 64]
    assert len(document["spectrum"]) == 64


def test_the_log_of_a_rule_that_fails_is_in_the_diagnosis(sofia: Runs) -> None:
    run = start(sofia, "snakemake", snakefile=BROKEN, workflow_outputs=["never.json"])
    assert sofia.end(DAG, run) == "failed"
    told = sofia.told(DAG, run, "await_merge")
    assert "rule unlucky failed" in told
    assert "the detector was asleep" in told


def test_a_cube_that_is_not_in_the_lake_fails_the_run(sofia: Runs) -> None:
    run = start(sofia, cube="/ctao/ska/cubes/sample/nothing")
    assert sofia.end(DAG, run) == "failed"
    assert "it is not in the data lake" in sofia.told(DAG, run, "select_data")


def test_an_overlap_below_a_beam_fails_before_anything_is_submitted(sofia: Runs) -> None:
    run = start(sofia, spatial_kernels=[0], overlap_pixels=2)
    assert sofia.end(DAG, run) == "failed"
    assert "overlap_pixels = 2: allowed at least 4" in sofia.told(DAG, run, "select_data")
    assert sofia.task_state(DAG, run, "submit_subcubes") == "upstream_failed"
