"""Reprocessing with the real ctapipe, in the environment of `localgrid/bootstrap.sh ctapipe`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.unit.payloads.conftest import PROJECT, RAW, REPROCESS, Json, Result, dl3_helper, esap_fits, run

BIN = PROJECT / ".envs" / "ctapipe" / "bin"
INPUT = "obs_000123_tel000_00.dl0.h5"
MODEL = {"site": "Paranal", "array_layout": "beta", "model_version": "prod5-v2.0"}
HEAVY_RAW = RAW | MODEL | {"telescopes": [1, 2, 3, 4], "files_per_telescope": 1, "events": 60}
CONFIG = (
    REPROCESS
    | MODEL
    | {
        "processor": "ctapipe",
        "inputs": [INPUT],
        "dl2": "dl2_000123.h5",
        "expected_files": 1,
    }
)
KEYS = {"site": "SITE", "array_layout": "LAYOUT", "model_version": "MODEL"}
PRODUCTS = ("dl3_000123.fits.gz", "obs-index.fits.gz", "hdu-index.fits.gz")


def esap_ctapipe(directory: Path, *arguments: str | Path) -> Result:
    return run([BIN / "esap-ctapipe", *arguments], directory)


def reprocess(directory: Path, config: Json) -> Result:
    (directory / "config.json").write_text(json.dumps(config))
    return esap_ctapipe(directory, "reprocess", "--config", "config.json")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("waveforms")
    (directory / "dl0.json").write_text(json.dumps({"observations": [HEAVY_RAW]}))
    result = esap_ctapipe(directory, "make-dl0", "--config", "dl0.json", "--directory", directory)
    assert result.code == 0, result.stderr
    assert json.loads(result.stdout)["name"] == INPUT
    return directory


@pytest.fixture(scope="module")
def done(raw: Path) -> tuple[Path, Result]:
    result = reprocess(raw, CONFIG)
    assert result.code == 0, result.stderr
    return raw, result


def test_its_products_are_valid_dl3(done: tuple[Path, Result]) -> None:
    directory, result = done
    assert "STAND-IN" in result.stderr
    (directory / "expect.json").write_text(
        json.dumps({"obs_id": 123, "ra_pnt_deg": 83.633, "dec_pnt_deg": 22.5145, "tolerance_deg": 0.01})
    )
    report = esap_fits(directory, "validate-dl3", PRODUCTS[0], "--expect", "expect.json")
    assert (report.code, report.document["verdict"]) == (0, "valid"), report.stdout
    assert report.document["summary"]["events"] > 10
    for name in PRODUCTS[1:]:
        assert esap_fits(directory, "validate-index", name).code == 0


def test_header_names_the_stand_in_and_the_toy(done: tuple[Path, Result]) -> None:
    header = dl3_helper(done[0], "header", PRODUCTS[0], "EVENTS")
    assert header["TELESCOP"] == "TOY"
    assert header["STANDIN"] == "DL3 from DL2 by a toy light model; dead time is not known"
    assert header["CREATOR"].startswith("esap-ctapipe ")


def test_header_has_the_array_that_the_observation_was_made_with(done: tuple[Path, Result]) -> None:
    header = dl3_helper(done[0], "header", PRODUCTS[0], "EVENTS")
    assert {name: header[key] for name, key in KEYS.items()} == MODEL


def test_ctapipe_finds_the_source(done: tuple[Path, Result]) -> None:
    events = dl3_helper(done[0], "table", PRODUCTS[0], "EVENTS", "RA", "DEC", "ENERGY")
    near = [
        abs(ra - 83.633) * 0.927 < 0.3 and abs(dec - 22.0145) < 0.3
        for ra, dec in zip(events["RA"], events["DEC"], strict=True)
    ]
    assert sum(near) > len(near) / 3  # 0.2 % of the field of view
    assert all(0.03 < energy < 300 for energy in events["ENERGY"])


def test_a_second_try_goes_over_the_first_and_gives_the_same_events(
    done: tuple[Path, Result], tmp_path: Path
) -> None:
    for path in done[0].glob("*.*5"):
        shutil.copyfile(path, tmp_path / path.name)
    (tmp_path / "dl2_000123.h5").write_bytes(b"half")
    result = reprocess(tmp_path, CONFIG)
    assert result.code == 0, result.stderr
    for name in PRODUCTS:
        assert (tmp_path / name).read_bytes() == (done[0] / name).read_bytes(), name
    assert not list(tmp_path.glob("ctapipe-*"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"obs_id": 124}, f"{INPUT} has obs_id 123, not 124"),
        ({"sb_id": 13}, f"{INPUT} has sb_id 12, not 13"),
        ({"pointing": {"ra_deg": 83.633, "dec_deg": 21.5}}, f"{INPUT} points to 83.633, 22.5145 deg"),
        ({"start_time": "2026-11-05T21:00:00"}, f"{INPUT} starts at 2026-11-05T22:00:00"),
        ({"inputs": ["config.json"]}, "cannot read config.json with ctapipe"),
        ({"processor": "esap-fits"}, 'processor = "esap-fits": allowed ctapipe'),
    ],
)
def test_a_file_of_something_else_is_refused_by_name(
    raw: Path, tmp_path: Path, change: Json, named: str
) -> None:
    shutil.copyfile(raw / INPUT, tmp_path / INPUT)
    result = reprocess(tmp_path, CONFIG | change)
    assert result.code == 3, result.stderr
    assert named in result.stderr
    assert not (tmp_path / PRODUCTS[0]).exists()
