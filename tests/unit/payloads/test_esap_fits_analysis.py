"""From a response to observations, and from these to maps, spectrum and significance."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.unit.payloads.conftest import FITS_BIN, Json, Production, Result, esap_fits, failed, run

HELPERS = Path(__file__).parent / "analysis_helpers.py"
RA, DEC, AMPLITUDE = 83.633, 22.0145, 4e-12
GEOMETRY: Json = {
    "target_ra_deg": RA,
    "target_dec_deg": DEC,
    "on_radius_deg": 0.15,
    "map_width_deg": 3,
    "map_bin_deg": 0.05,
    "energy_range_tev": [0.1, 10],
    "bins_per_decade": 4,
}
OBSERVATION: Json = {
    "sb_id": 1,
    "project": "PI-1",
    "target": "Crab (toy)",
    "site": "LaPalma",
    "array_layout": "alpha",
    "model_version": "prod5-v2.0",
    "start_time": "2026-01-05T22:00:00",
    "duration_s": 1200,
    "ra_pnt_deg": RA,
    "ra_obj_deg": RA,
    "dec_obj_deg": DEC,
    "zenith_deg": 20,
}
OBSERVATIONS = [
    OBSERVATION | {"obs_id": 1, "dec_pnt_deg": DEC + 0.7},
    OBSERVATION | {"obs_id": 2, "dec_pnt_deg": DEC - 0.7},
    OBSERVATION | {"obs_id": 3, "dec_pnt_deg": DEC + 0.05},
]


def helper(*arguments: str | Path) -> Any:
    result = run([FITS_BIN / "python", HELPERS, *arguments], Path.cwd())
    assert result.code == 0, result.stderr
    return json.loads(result.stdout)


def step(directory: Path, command: str, config: Json, *more: str) -> Result:
    (directory / f"{command}.json").write_text(json.dumps(config))
    return esap_fits(directory, command, "--config", f"{command}.json", *more)


def count(directory: Path, *obs_ids: int, number: int = 0, **changes: Any) -> Result:
    """Run the first step on observations of the directory."""
    parts = [{"obs_id": i, "events": [f"dl3_{i:06d}.fits.gz"], "irf": "irf.fits.gz"} for i in obs_ids]
    outputs = [f"counts_{number:05d}.fits.gz"]
    return step(
        directory, "analyse", {"label": "a unit", "parts": parts, "outputs": outputs, **GEOMETRY, **changes}
    )


def combine(directory: Path, *counts: str, **changes: Any) -> Result:
    config = {"units": 2, "observations": 2, "unmatched": 1, "target": "Crab (toy)", "production_id": "p-g1"}
    return step(directory, "combine", {**config, "counts": list(counts), **GEOMETRY, **changes})


@pytest.fixture(scope="module")
def observed(production: Production, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a response and three observations. Nothing may be written to it."""
    directory = tmp_path_factory.mktemp("observed")
    shutil.copy(production.irf, directory / "irf.fits.gz")
    config = {"irf": "irf.fits.gz", "amplitude": AMPLITUDE, "observations": OBSERVATIONS}
    result = step(directory, "make-dl3", config, "--directory", ".")
    assert result.code == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["obs_id"] for line in lines] == [1, 2, 3]
    return directory


@pytest.fixture
def work(observed: Path, tmp_path: Path) -> Path:
    for path in observed.glob("*.fits.gz"):
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


@pytest.fixture(scope="module")
def analysed(observed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete analysis of two observations in two units. Nothing may be written to it."""
    directory = tmp_path_factory.mktemp("analysed")
    for path in observed.glob("*.fits.gz"):
        (directory / path.name).symlink_to(path)
    for number, obs_id in enumerate((1, 2)):
        result = count(directory, obs_id, number=number)
        assert result.code == 0, result.stderr
    result = combine(directory, "counts_00000.fits.gz", "counts_00001.fits.gz")
    assert result.code == 0, result.stderr
    return directory


def test_observations_from_a_response_are_valid_dl3(observed: Path) -> None:
    result = esap_fits(observed, "validate-dl3", "dl3_000001.fits.gz")
    assert result.code == 0, failed(result.document)
    for name in ("obs-index_000001.fits.gz", "hdu-index_000001.fits.gz"):
        assert esap_fits(observed, "validate-index", name).code == 0


def test_what_comes_out_passes_its_checks(analysed: Path) -> None:
    for command, name in (
        ("validate-fits", "counts_00000.fits.gz"),
        ("validate-map", "skymap.fits.gz"),
        ("validate-spectrum", "spectrum.fits"),
        ("validate-result", "result.json"),
    ):
        result = esap_fits(analysed, command, name)
        assert result.code == 0, (name, failed(result.document))
    for name in ("skymap.png", "spectrum.png"):
        assert (analysed / name).read_bytes().startswith(b"\x89PNG")


def test_the_source_is_found_where_it_is_with_the_flux_that_it_has(analysed: Path) -> None:
    found = helper("maps", analysed / "skymap.fits.gz")
    assert found["telescope"] == "TOY"
    assert found["largest"] > 10
    assert math.dist(found["at"], (RA, DEC)) < 0.1
    result = json.loads((analysed / "result.json").read_text())
    points = [p for p in result["spectrum"] if not p["is_ul"]]
    assert len(points) >= 4
    pulls = [
        (p["dnde"] - AMPLITUDE * p["e_ref"] ** -2.6) / max(p["dnde_errn"], p["dnde_errp"]) for p in points
    ]
    assert sum(pull**2 for pull in pulls) < 4 * len(pulls)
    assert result["observations"] == {"expected": 2, "analysed": [1, 2]}
    assert result["livetime_s"] == pytest.approx(2 * 1200 * 0.98)
    assert "TOY" in result["note"]


def test_the_division_into_units_does_not_change_the_result(analysed: Path, work: Path) -> None:
    assert count(work, 1, 2).code == 0
    assert combine(work, "counts_00000.fits.gz", units=1).code == 0
    one, two = (json.loads((d / "result.json").read_text()) for d in (work, analysed))
    assert [one.pop("units"), two.pop("units")] == [
        {"expected": 1, "analysed": 1},
        {"expected": 2, "analysed": 2},
    ]
    assert one == two


def test_equal_inputs_give_equal_bytes(analysed: Path, work: Path) -> None:
    for number, obs_id in enumerate((1, 2)):
        assert count(work, obs_id, number=number).code == 0
    assert combine(work, "counts_00000.fits.gz", "counts_00001.fits.gz").code == 0
    names = [
        "counts_00000.fits.gz",
        "skymap.fits.gz",
        "skymap.png",
        "spectrum.fits",
        "spectrum.png",
        "result.json",
    ]

    def digests(directory: Path) -> list[str]:
        return [hashlib.sha256((directory / n).read_bytes()).hexdigest() for n in names]

    assert digests(work) == digests(analysed)


def test_where_there_is_no_source_there_are_limits(work: Path) -> None:
    away: Json = {"target_dec_deg": DEC - 1.5, "energy_range_tev": [0.1, 10]}
    assert count(work, 1, **away).code == 0
    assert combine(work, "counts_00000.fits.gz", units=1, observations=1, **away).code == 0
    result = json.loads((work / "result.json").read_text())
    assert abs(result["significance"] or 0) < 4
    assert all(p["is_ul"] and p["dnde_ul"] > 0 for p in result["spectrum"])
    assert esap_fits(work, "validate-spectrum", "spectrum.fits").code == 0
    assert esap_fits(work, "validate-result", "result.json").code == 0


@pytest.mark.parametrize(
    ("obs_id", "changes", "told"),
    [
        (3, {}, "there is no room for an off region"),
        (1, {"target_dec_deg": DEC - 6}, "deg from the pointing: allowed at most"),
        (1, {"energy_range_tev": [10, 1]}, "energy_range_tev = [10, 1]"),
        (9, {}, "cannot read dl3_000009.fits.gz"),
        (1, {"nonsense": 1}, "nonsense is unknown"),
    ],
)
def test_what_cannot_be_analysed_is_refused(work: Path, obs_id: int, changes: Json, told: str) -> None:
    result = count(work, obs_id, **changes)
    assert result.code == 3
    assert told in result.stderr


def test_a_file_of_another_observation_is_refused(work: Path) -> None:
    (work / "dl3_000007.fits.gz").symlink_to((work / "dl3_000001.fits.gz").resolve())
    result = count(work, 7)
    assert result.code == 3
    assert "dl3_000007.fits.gz is of observation 1: allowed 7" in result.stderr


def test_a_damaged_event_list_is_refused(work: Path) -> None:
    content = (work / "dl3_000001.fits.gz").read_bytes()
    (work / "dl3_000001.fits.gz").unlink()
    (work / "dl3_000001.fits.gz").write_bytes(content[:-100])
    result = count(work, 1)
    assert result.code == 3
    assert "cannot read dl3_000001.fits.gz" in result.stderr


def exchange(work: Path, name: str, change: str) -> None:
    """Put another file of that name into the directory."""
    source = (work / name).resolve()
    (work / name).unlink()
    helper("rewrite", source, work / name, change)


def test_an_event_list_without_checksums_is_taken_and_the_log_says_so(analysed: Path, work: Path) -> None:
    exchange(work, "dl3_000001.fits.gz", "no checksums")
    result = count(work, 1)
    assert result.code == 0, result.stderr
    assert "dl3_000001.fits.gz could not be checked for damage: it has no DATASUM of PRIMARY" in result.stderr
    counts = "counts_00000.fits.gz"
    assert (work / counts).read_bytes() == (analysed / counts).read_bytes()


def test_a_response_whose_bytes_have_changed_is_refused(work: Path) -> None:
    content = bytearray(gzip.decompress((work / "irf.fits.gz").read_bytes()))
    content[-2880] ^= 1
    (work / "irf.fits.gz").unlink()
    (work / "irf.fits.gz").write_bytes(gzip.compress(content))
    result = count(work, 1)
    assert result.code == 3
    assert "irf.fits.gz is damaged: wrong DATASUM of BACKGROUND" in result.stderr


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("dl3_000001.fits.gz", "GeV and rad"),
        ("irf.fits.gz", "irf: cm2, TeV-1, arcmin, GeV, deg-2"),
    ],
)
def test_the_same_in_other_units_gives_the_same(analysed: Path, work: Path, name: str, change: str) -> None:
    exchange(work, name, change)
    result = count(work, 1)
    assert result.code == 0, result.stderr
    found, expected = (helper("sums", d / "counts_00000.fits.gz") for d in (work, analysed))
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("dl3_000001.fits.gz", "no units", "ENERGY is in None: allowed is what converts to TeV"),
        ("dl3_000001.fits.gz", "seconds", "RA is in 's': allowed is what converts to deg"),
        ("irf.fits.gz", "irf: no units", "EFFAREA is in None: allowed is what converts to m2"),
    ],
)
def test_columns_without_a_unit_that_fits_are_refused(work: Path, name: str, change: str, told: str) -> None:
    exchange(work, name, change)
    result = count(work, 1)
    assert result.code == 3
    assert name in result.stderr
    assert told in result.stderr


def test_counts_of_another_map_are_refused(work: Path) -> None:
    assert count(work, 1).code == 0
    result = combine(work, "counts_00000.fits.gz", map_bin_deg=0.1)
    assert result.code == 3
    assert "counts_00000.fits.gz is of another map" in result.stderr
    result = combine(work, "counts_00000.fits.gz", bins_per_decade=7)
    assert result.code == 3
    assert "other energy bins" in result.stderr


def test_every_corruption_of_a_map_is_found(analysed: Path, tmp_path: Path) -> None:
    found = helper("corrupt-map", analysed / "skymap.fits.gz", tmp_path)
    assert found.pop("untouched") == [0, []]
    expected = {
        "missing": "map.hdus",
        "shape": "map.hdus",
        "projection": "map.wcs",
        "negative": "map.values",
        "background": "map.values",
        "unknown": "map.values",
        "sums": "map.sums",
        "signs": "map.sums",
        "truncated": "file.readable",
        "flipped": "file.checksum",
    }
    assert {name: expected[name] in checks for name, (_, checks) in found.items()} == dict.fromkeys(
        expected, True
    )
    assert {code for code, _ in found.values()} == {1, 2}


def test_every_corruption_of_a_spectrum_is_found(
    work: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Up to 100 TeV, where nothing is left of the source, so that there are points and limits.
    wide: Json = {"energy_range_tev": [0.1, 100]}
    assert count(work, 1, **wide).code == 0
    assert combine(work, "counts_00000.fits.gz", units=1, **wide).code == 0
    found = helper("corrupt-spectrum", work / "spectrum.fits", tmp_path_factory.mktemp("spectra"))
    assert found.pop("untouched") == [0, []]
    expected = {
        "kind": "spectrum.columns",
        "energies": "spectrum.values",
        "negative": "spectrum.values",
        "nan": "spectrum.values",
        "limit": "spectrum.limits",
        "truncated": "file.readable",
        "flipped": "file.checksum",
    }
    assert {name: expected[name] in checks for name, (_, checks) in found.items()} == dict.fromkeys(
        expected, True
    )


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"significance": 99.0}, "result.significance"),
        ({"significance": None}, "result.significance"),
        ({"excess": 0.0}, "result.counts"),
        ({"n_on": -1}, "result.counts"),
        ({"alpha": "much"}, "result.members"),
        ({"note": ""}, "result.members"),
        ({"format": "another"}, "result.members"),
    ],
)
def test_every_corruption_of_the_summary_is_found(
    analysed: Path, tmp_path: Path, changes: Json, check: str
) -> None:
    document = json.loads((analysed / "result.json").read_text())
    (tmp_path / "result.json").write_text(json.dumps(document | changes))
    result = esap_fits(tmp_path, "validate-result", "result.json")
    assert result.code == 1
    assert check in failed(result.document)


def test_a_summary_that_is_no_json_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{")
    assert esap_fits(tmp_path, "validate-result", "result.json").code == 2


@pytest.mark.parametrize(
    ("on", "off", "alpha", "significance"),
    [
        (100, 100, 1.0, 0.0),
        (130, 100, 1.0, 1.982),
        (70, 100, 1.0, -2.307),
        (0, 20, 0.1, -1.953),
        (5, 0, 0.1, 4.897),
    ],
)
def test_significances_are_those_of_li_and_ma(
    on: float, off: float, alpha: float, significance: float
) -> None:
    found = helper("numbers", str(on), str(off), str(alpha))
    assert found["significance"] == pytest.approx(significance, abs=2e-3)
    low, high = found["interval"]
    assert 0 <= low <= max(0, on - alpha * off) <= high <= found["limit"] or on < alpha * off
