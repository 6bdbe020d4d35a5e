"""The IRF of event files: what it holds, that it is the same again, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from .conftest import GAMMA, MERGE, PROJECT, PROTON, Json, Production, helper, merge, run, simulate


def test_headers_tell_what_it_was_made_of(production: Production) -> None:
    headers = helper(production.directory, "headers", production.irf)
    assert [h.get("HDUCLAS4") for h in headers] == [None, "AEFF_2D", "EDISP_2D", "PSF_TABLE", "BKG_2D"]
    for header in headers:
        assert header["TELESCOP"] == "TOY"
        assert header["NSIMGAM"] == GAMMA["n_events"]
        assert header["NSIMPRO"] == PROTON["n_events"]
        assert header["SYSTUNC"] == 0.0
        assert header["PRODID"] == "cta-irf-0123"
        assert header["PERSTART"] == "2026-01-01"
        assert header["DATE"] == "2026-11-21T06:00:00"
        assert "CHECKSUM" in header


def test_energy_bins_cover_the_range_and_are_never_narrower(production: Production) -> None:
    headers = helper(production.directory, "headers", production.irf)
    assert headers[1]["TDIM5"] == "(10,5)"  # 2 decades, 5 bins each; 5 offsets


def test_plot_is_a_picture(production: Production) -> None:
    content = production.plot.read_bytes()
    assert content.startswith(b"\x89PNG\r\n")
    assert int.from_bytes(content[16:20]) > 1000  # pixels wide


def test_equal_inputs_give_equal_bytes_in_any_order(production: Production, tmp_path: Path) -> None:
    production.copy_events(tmp_path)
    assert simulate(tmp_path, "more", GAMMA | {"seed": 3, "n_events": 50_000}).code == 0
    files = ["gamma.fits.gz", "more.fits.gz"]
    made = []
    for order, options in ((files, ()), (files[::-1], ("--threads", "2"))):
        assert merge(tmp_path, MERGE | {"signal_files": order}, *options).code == 0
        made.append(((tmp_path / "irf.fits.gz").read_bytes(), (tmp_path / "irf.png").read_bytes()))
    assert made[0] == made[1]
    assert made[0][0] != production.irf.read_bytes()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"spectral_index": -2.5}, r"spectral_index = -2.5 in more.fits.gz, but -1.5 in gamma.fits.gz"),
        ({"energy_range_tev": [0.05, 60]}, r"energy_max_tev = 60 in more"),
        ({"site": "Paranal"}, r"site = 'Paranal' in more"),
        ({"model_version": "prod6-v1.1"}, r"model_version = 'prod6-v1.1' in more"),
        ({"zenith_deg": 40}, r"zenith_deg = 40 in more"),
        ({"particle": "electron"}, r"particle = 'electron' in more"),
        ({"particle": "proton"}, r"more.fits.gz holds protons: allowed gamma or electron"),
        ({"seed": 1}, r"seed 1 is in 2 files: gamma.fits.gz, more.fits.gz"),
        ({"seed": 2}, r"seed 2 is in 2 files: more.fits.gz, proton.fits.gz"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    production: Production, tmp_path: Path, change: Json, named: str
) -> None:
    production.copy_events(tmp_path)
    assert simulate(tmp_path, "more", GAMMA | {"seed": 3, "n_events": 1000} | change).code == 0
    result = merge(tmp_path, MERGE | {"signal_files": ["gamma.fits.gz", "more.fits.gz"]})
    assert result.code == 3
    assert re.search(named, result.stderr)
    assert not (tmp_path / "irf.fits.gz").exists()


def test_protons_of_another_pointing_are_refused(production: Production, tmp_path: Path) -> None:
    (tmp_path / "gamma.fits.gz").symlink_to(production.directory / "gamma.fits.gz")
    assert simulate(tmp_path, "proton", PROTON | {"n_events": 1000, "zenith_deg": 60}).code == 0
    result = merge(tmp_path, MERGE)
    assert result.code == 3
    assert "zenith_deg = 60 in proton.fits.gz, but 20 in gamma.fits.gz" in result.stderr


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"energy_range_tev": [0.01, 10]}, "energy_range_tev = 0.01 to 10: allowed is what was thrown"),
        ({"energy_range_tev": [0.1, 100]}, "energy_range_tev = 0.1 to 100"),
        ({"offset_edges_deg": [0, 4, 8]}, "offset_edges_deg up to 8"),
        ({"signal_files": ["absent.fits.gz"]}, "absent.fits.gz"),
        ({"signal_files": []}, "signal_files = []"),
        ({"signal_files": ["../gamma.fits.gz"]}, "signal_files"),
        ({"signal_files": ["proton.fits.gz"]}, "in signal_files and in proton_files"),
        ({"provenance": {"colour": "red"}}, "provenance"),
        ({"observation_time_h": 0}, "observation_time_h = 0"),
    ],
)
def test_wrong_configuration_is_named(
    production: Production, tmp_path: Path, change: Json, named: str
) -> None:
    production.copy_events(tmp_path)
    result = merge(tmp_path, MERGE | change)
    assert result.code == 3
    assert named in result.stderr


def test_damaged_event_file_is_refused(production: Production, tmp_path: Path) -> None:
    production.copy_events(tmp_path)
    content = (tmp_path / "gamma.fits.gz").read_bytes()
    (tmp_path / "gamma.fits.gz").unlink()
    (tmp_path / "gamma.fits.gz").write_bytes(content[:-5000])
    result = merge(tmp_path, MERGE)
    assert result.code == 3
    assert "gamma.fits.gz" in result.stderr


def test_gammapy_reads_and_evaluates_it(production: Production) -> None:
    python = PROJECT / ".envs" / "gammapy" / "bin" / "python"
    if not python.exists():
        pytest.skip("no .envs/gammapy: made of requirements/gammapy.txt for this check only")
    result = run(
        [python, PROJECT / "payloads" / "fits" / "check_gammapy.py", production.irf], production.directory
    )
    assert result.code == 0, result.stdout + result.stderr
    found = json.loads(result.stdout)
    assert found["classes"] == {
        "aeff": "EffectiveAreaTable2D",
        "edisp": "EnergyDispersion2D",
        "psf": "PSF3D",
        "bkg": "Background2D",
    }
    assert 1e5 < found["aeff_m2"] < 1e7
