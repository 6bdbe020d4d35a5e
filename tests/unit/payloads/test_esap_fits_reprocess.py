"""Toy raw data, and their way to an event list."""

from __future__ import annotations

import json
import math
import shutil
import zlib
from pathlib import Path

import pytest

from .conftest import PROJECT, RAW, REPROCESS, Json, dl3_helper, esap_fits, make_dl0, reprocess, run

PRODUCTS = ("dl2_000123.fits.gz", "dl3_000123.fits.gz", "obs-index.fits.gz", "hdu-index.fits.gz")


@pytest.fixture
def raw(observation: Path, tmp_path: Path) -> Path:
    """A directory with the raw files, to write to."""
    for path in observation.glob("obs_*.fits.gz"):
        shutil.copyfile(path, tmp_path / path.name)
    return tmp_path


def significance(on: int, off: int, alpha: float) -> float:
    """Li and Ma, equation 17."""
    total = on + off
    return math.sqrt(
        2 * (on * math.log((1 + alpha) / alpha * on / total) + off * math.log((1 + alpha) * off / total))
    )


def test_raw_files_are_named_measured_and_the_same_each_time(tmp_path: Path) -> None:
    made = make_dl0(tmp_path, RAW, RAW | {"obs_id": 124, "files_per_telescope": 1})
    assert [f["name"] for f in made][:2] == ["obs_000123_tel001_00.fits.gz", "obs_000123_tel001_01.fits.gz"]
    assert len(made) == 2 * 3 + 2
    for file in made:
        content = (tmp_path / file["name"]).read_bytes()
        assert (file["bytes"], file["adler32"]) == (len(content), f"{zlib.adler32(content):08x}")
    assert make_dl0(tmp_path, RAW)[:6] == made[:6]


def test_raw_files_say_what_they_are(observation: Path) -> None:
    header = dl3_helper(observation, "header", "obs_000123_tel002_01.fits.gz", "TRIGGERS")
    assert (header["TELESCOP"], header["OBS_ID"], header["SB_ID"]) == ("TOY", 123, 12)
    assert (header["TEL_ID"], header["CHUNK"], header["NCHUNKS"]) == (2, 1, 3)
    assert header["TSTOP"] - header["TSTART"] == pytest.approx(400)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"telescopes": [2, 1]}, "telescopes = [2, 1]"),
        ({"events": 0}, "events = 0"),
        ({"start_time": "tonight"}, 'start_time = "tonight"'),
        ({"site": "Mars"}, 'site = "Mars": allowed LaPalma or Paranal'),
        ({"colour": 1}, "colour is unknown"),
    ],
)
def test_wrong_observations_are_named(tmp_path: Path, change: Json, named: str) -> None:
    (tmp_path / "dl0.json").write_text(json.dumps({"observations": [RAW | change]}))
    result = esap_fits(tmp_path, "make-dl0", "--config", "dl0.json", "--directory", tmp_path)
    assert result.code == 3
    assert "observations[0]" in result.stderr
    assert named in result.stderr


def test_the_source_is_found_where_it_is(observation: Path) -> None:
    events = dl3_helper(observation, "table", "dl3_000123.fits.gz", "EVENTS", "RA", "DEC", "ENERGY")

    def inside(ra: float, dec: float) -> int:
        shrink = math.cos(math.radians(dec))
        return sum(
            math.hypot((r - ra) * shrink, d - dec) < 0.2
            for r, d in zip(events["RA"], events["DEC"], strict=True)
        )

    on, off = inside(83.633, 22.0145), inside(83.633, 23.0145)
    assert significance(on, max(off, 1), 1.0) > 10
    assert min(events["ENERGY"]) > 0


def test_equal_inputs_give_equal_bytes_in_any_order(observation: Path, raw: Path) -> None:
    result = reprocess(raw, REPROCESS | {"inputs": REPROCESS["inputs"][::-1]})
    assert result.code == 0, result.stderr
    assert "TOY RECONSTRUCTION" in result.stderr
    for name in PRODUCTS:
        assert (raw / name).read_bytes() == (observation / name).read_bytes(), name


def test_header_tells_the_observation(observation: Path) -> None:
    header = dl3_helper(observation, "header", "dl3_000123.fits.gz", "EVENTS")
    assert (header["OBS_ID"], header["PROJECT"], header["CAMPAIGN"]) == (123, "PI-2026-001", "c1")
    assert (header["TELESCOP"], header["HDUVERS"], header["NMISSING"]) == ("TOY", "0.3", 0)
    assert (header["ONTIME"], header["TELAPSE"]) == (pytest.approx(1200), pytest.approx(1200))
    assert header["LIVETIME"] == pytest.approx(1200 * 0.98)
    assert header["DATE-OBS"] == "2026-11-05T22:00:00.000"


def missing(*names: str) -> Json:
    return REPROCESS | {
        "inputs": [n for n in REPROCESS["inputs"] if n not in names],
        "missing_files": [f"/ctao/acada/DL0/x/{n}" for n in names],
    }


def test_a_missing_file_shortens_the_livetime_and_leaves_a_gap(raw: Path, observation: Path) -> None:
    result = reprocess(raw, missing("obs_000123_tel001_01.fits.gz"))
    assert result.code == 0, result.stderr
    assert "chunk 1 is left out" in result.stderr
    header = dl3_helper(raw, "header", "dl3_000123.fits.gz", "EVENTS")
    assert (header["NMISSING"], header["ONTIME"]) == (1, pytest.approx(800))
    assert header["TELAPSE"] == pytest.approx(1200)
    gti = dl3_helper(raw, "table", "dl3_000123.fits.gz", "GTI", "START", "STOP")
    assert gti["START"][1] - gti["STOP"][0] == pytest.approx(400)
    whole = dl3_helper(observation, "header", "dl3_000123.fits.gz", "EVENTS")
    assert header["NAXIS2"] < whole["NAXIS2"]
    for validator, name in (("dl3", "dl3_000123"), ("index", "obs-index"), ("index", "hdu-index")):
        assert esap_fits(raw, f"validate-{validator}", f"{name}.fits.gz").code == 0


def test_one_telescope_of_two_can_be_taken_alone(raw: Path) -> None:
    result = reprocess(raw, REPROCESS | {"inputs": REPROCESS["inputs"][:3], "expected_files": 3})
    assert result.code == 0, result.stderr
    header = dl3_helper(raw, "header", "dl3_000123.fits.gz", "EVENTS")
    assert (header["TELLIST"], header["ONTIME"]) == ("1", pytest.approx(1200))


def test_without_one_complete_chunk_it_refuses(raw: Path) -> None:
    result = reprocess(raw, missing(*(f"obs_000123_tel001_{c:02d}.fits.gz" for c in range(3))))
    assert result.code == 3
    assert "no chunk has the files of all telescopes" in result.stderr


FIRST = "obs_000123_tel001_00.fits.gz"


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("OBS_ID", "124", f"{FIRST} has obs_id 124, not 123"),
        ("SB_ID", "13", f"{FIRST} has sb_id 13, not 12"),
        ("DEC_PNT", "21.5", f"{FIRST} points to 83.633, 21.5 deg"),
        ("TSTART", "1.0", f"{FIRST} is of 2000-01-01"),
        ("TEL_ID", "2", "both are chunk 0 of telescope 2"),
        ("NCHUNKS", "4", "chunks ="),
        ("GAIN", "null", f"{FIRST} is no raw file of esap-fits"),
    ],
)
def test_a_raw_file_of_something_else_is_refused_by_name(
    raw: Path, observation: Path, key: str, value: str, named: str
) -> None:
    dl3_helper(raw, "change_raw", observation / FIRST, raw / FIRST, key, value)
    result = reprocess(raw, REPROCESS)
    assert result.code == 3
    assert named in result.stderr
    assert not (raw / "dl3_000123.fits.gz").exists()


def test_a_damaged_raw_file_is_refused_by_name(raw: Path) -> None:
    content = (raw / FIRST).read_bytes()
    (raw / FIRST).write_bytes(content[: len(content) // 2])
    result = reprocess(raw, REPROCESS)
    assert (result.code, FIRST in result.stderr) == (3, True)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"expected_files": 7}, "expected_files = 7: allowed 6"),
        ({"stop_time": "2026-11-05T21:00:00"}, "stop_time = 2026-11-05T21:00:00"),
        ({"dl2": "dl3_000123.fits.gz"}, "different names"),
        ({"pointing": {"ra_deg": 400, "dec_deg": 0}}, "pointing ="),
        ({"processor": "ctapipe"}, 'processor = "ctapipe": allowed esap-fits'),
        ({"provenance": {"colour": "red"}}, "provenance ="),
        ({"site": "Paranal"}, f"{FIRST} has site LaPalma, not Paranal"),
        ({"array_layout": "beta"}, f"{FIRST} has array_layout alpha, not beta"),
    ],
)
def test_a_wrong_configuration_is_named(raw: Path, change: Json, named: str) -> None:
    result = reprocess(raw, REPROCESS | change)
    assert (result.code, named in result.stderr) == (3, True), result.stderr


def test_a_file_that_is_there_cannot_be_missing(raw: Path) -> None:
    config = REPROCESS | {"inputs": REPROCESS["inputs"][1:], "missing_files": ["/ctao/acada/x/greeting.json"]}
    result = reprocess(raw, config)
    assert result.code == 3
    assert "missing_files has /ctao/acada/x/greeting.json" in result.stderr


def test_gammapy_opens_it_by_its_index(raw: Path) -> None:
    python = PROJECT / ".envs" / "gammapy" / "bin" / "python"
    if not python.exists():
        pytest.skip("no .envs/gammapy: made by `localgrid/bootstrap.sh gammapy`")
    assert reprocess(raw, missing("obs_000123_tel001_01.fits.gz")).code == 0
    result = run([python, PROJECT / "payloads" / "fits" / "check_gammapy_dl3.py", raw], raw)
    assert result.code == 0, result.stderr
    found = result.document
    assert (found["obs_ids"], found["same_events"]) == ([123], True)
    assert found["ontime_s"] == pytest.approx(800)
    assert found["livetime_s"] == pytest.approx(800 * 0.98)
    assert found["start"] == "2026-11-05T22:00:00.000"
    assert found["pointing_deg"] == pytest.approx([83.633, 22.5145])
    assert 1 < found["largest_offset_deg"] < 6


def test_tangent_plane_and_clock_are_astropys(tmp_path: Path) -> None:
    differences = dl3_helper(tmp_path, "planes")
    assert differences["off"] < 1e-9
    assert differences["back"] < 1e-9
    assert differences["clock"] < 1e-6
    assert differences["year"] == 2026
