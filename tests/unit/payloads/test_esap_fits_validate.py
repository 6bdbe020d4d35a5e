"""The IRF validator catches every corruption, and names the check that did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Production, esap_fits, failed, helper

TEN = {
    "bit_flip.fits": {"file.checksum"},
    "truncated.fits": {"file.readable"},
    "wrong_unit.fits": {"gadf.units"},
    "no_hduclas4.fits": {"gadf.keywords", "file.components"},
    "energy_reversed.fits": {"axis.increasing"},
    "negative_aeff.fits": {"values.non_negative"},
    "nan_aeff.fits": {"values.finite"},
    "psf_times_3.fits": {"psf.normalisation"},
    "edisp_halved.fits": {"edisp.normalisation"},
    "no_psf.fits": {"file.components"},
}
MORE = {
    "truncated.fits.gz": {"file.readable"},
    "bit_flip.fits.gz": {"file.readable"},
    "no_fits.fits": {"file.readable"},
    "empty.fits": {"file.readable"},
    "absent.fits": {"file.readable"},
    "no_checksum.fits": {"file.checksum"},
    "no_bkg.fits": {"file.components"},
    "energy_gap.fits": {"axis.contiguous"},
    "aeff_twice.fits": {"file.components"},
    "aeff_huge.fits": {"aeff.maximum"},
    "aeff_zero.fits": {"values.not_empty", "values.populated"},
    "wrong_date.fits": {"gadf.date"},
    "wrong_version.fits": {"gadf.version"},
    "point_like.fits": {"gadf.keywords"},
    "edisp_other_grid.fits": {"axis.agreement"},
    "edisp_hole.fits": {"values.populated"},
}


@pytest.fixture(scope="session")
def corrupted(production: Production, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("corrupted")
    helper(production.directory, "corrupt", production.irf, directory)
    return directory


def test_the_real_one_is_valid(production: Production) -> None:
    result = esap_fits(production.directory, "validate", "irf.fits.gz")
    assert (result.code, result.document["verdict"]) == (0, "valid")
    assert len(result.document["checks"]) > 50
    assert result.document["file"] == "irf.fits.gz"
    assert result.document["summary"]["header"]["TELESCOP"] == "TOY"
    assert result.document["summary"]["energy_tev"] == pytest.approx([0.1, 10])


def test_a_copy_by_astropy_is_valid(corrupted: Path) -> None:
    assert esap_fits(corrupted, "validate", "untouched.fits").code == 0


@pytest.mark.parametrize(("name", "checks"), (TEN | MORE).items(), ids=(TEN | MORE).keys())
def test_corruption_is_caught(corrupted: Path, name: str, checks: set[str]) -> None:
    result = esap_fits(corrupted, "validate", name)
    verdict = "unreadable" if checks == {"file.readable"} else "invalid"
    assert (result.document["verdict"], result.code) == (verdict, 2 if verdict == "unreadable" else 1)
    assert checks <= failed(result.document)
    messages = [c["message"] for c in result.document["checks"] if not c["passed"]]
    assert all(messages)


def test_checks_have_the_form_that_the_service_reads(corrupted: Path) -> None:
    for check in esap_fits(corrupted, "validate", "edisp_halved.fits").document["checks"]:
        assert set(check) == {"name", "target", "passed", "value", "allowed", "message"}
        assert isinstance(check["passed"], bool)
    bad = next(
        c for c in esap_fits(corrupted, "validate", "edisp_halved.fits").document["checks"] if not c["passed"]
    )
    assert (bad["target"], bad["value"], bad["allowed"]) == ("ENERGY DISPERSION", 0.5, "0.95..1.01")


def test_any_flipped_bit_is_caught(production: Production, tmp_path: Path) -> None:
    verdicts = helper(tmp_path, "flips", production.irf, "60")
    assert verdicts["valid"] == []
    assert sum(len(places) for places in verdicts.values()) == 60


def test_profile_widens_the_tolerance(corrupted: Path, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps({"edisp_norm": [0.4, 1.01]}))
    assert esap_fits(corrupted, "validate", "edisp_halved.fits", "--profile", profile).code == 0
    profile.write_text(json.dumps({"required": ["AEFF_2D", "EDISP_2D", "BKG_2D"]}))
    assert esap_fits(corrupted, "validate", "no_psf.fits", "--profile", profile).code == 0
    profile.write_text(json.dumps({"max_aeff_m2": 1e5}))
    result = esap_fits(corrupted, "validate", "untouched.fits", "--profile", profile)
    assert failed(result.document) == {"aeff.maximum"}


@pytest.mark.parametrize("content", ['{"edisp_nrom": [0, 1]}', '{"psf_norm": [1.1, 0.9]}', "{", "[]"])
def test_wrong_profile_is_refused(production: Production, tmp_path: Path, content: str) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text(content)
    result = esap_fits(production.directory, "validate", "irf.fits.gz", "--profile", profile)
    assert result.code == 3
    assert "profile.json" in result.stderr
    assert result.stdout == ""
