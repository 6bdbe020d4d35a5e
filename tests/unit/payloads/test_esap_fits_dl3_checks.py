"""The validators of DL3, of index tables and of DL2 catch every corruption, and name the check that did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Json, dl3_helper, esap_fits, failed

EXPECT: Json = {
    "obs_id": 123,
    "ra_pnt_deg": 83.633,
    "dec_pnt_deg": 22.5145,
    "tolerance_deg": 0.05,
    "start_time": "2026-11-05T22:00:00",
    "stop_time": "2026-11-05T22:20:00",
    "n_events_min": 1,
}
DL3 = {
    "truncated": {"file.readable"},
    "bit_flip": {"file.checksum"},
    "no_checksum": {"file.checksum"},
    "wrong_unit": {"gadf.units"},
    "no_energy": {"gadf.columns"},
    "time_outside_gti": {"dl3.good_times"},
    "gti_unsorted": {"gti.order"},
    "gti_overlaps": {"gti.order"},
    "gti_negative": {"gti.positive"},
    "gti_too_long": {"gti.span", "dl3.ontime"},
    "no_gti": {"file.hdus"},
    "no_events": {"dl3.n_events"},
    "time_before_start": {"dl3.times", "dl3.good_times"},
    "negative_energy": {"dl3.energies"},
    "energy_nan": {"dl3.finite"},
    "declination_100": {"dl3.directions"},
    "far_from_pointing": {"dl3.field_of_view"},
    "doubled_event": {"dl3.event_ids"},
    "livetime_too_long": {"dl3.livetime"},
    "ontime_not_gti": {"dl3.ontime"},
    "deadc_zero": {"dl3.live_share"},
    "no_obs_id": {"gadf.keywords"},
    "obs_id_text": {"gadf.keywords"},
    "other_obs_id": {"dl3.obs_id"},
    "other_pointing": {"dl3.pointing"},
    "no_clock": {"gadf.keywords"},
    "wrong_class": {"gadf.classes"},
    "wrong_version": {"gadf.classes"},
    "stop_before_start": {"dl3.span", "dl3.stop_time"},
}
INDICES = {
    "missing_file": {"index.files"},
    "missing_hdu": {"index.agreement"},
    "other_obs_id": {"index.agreement"},
    "other_size": {"index.agreement"},
    "unknown_type": {"index.hdu_types"},
    "absolute": {"index.relative", "index.files"},
    "other_pointing": {"index.agreement"},
    "other_livetime": {"index.agreement"},
    "ends_before_start": {"index.span"},
    "wrong_class": {"gadf.classes"},
}


@pytest.fixture(scope="session")
def corrupted(observation: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Json]:
    """Exit code and report of each corrupted DL3 file."""
    directory = tmp_path_factory.mktemp("corrupted-dl3")
    dl3_helper(observation, "corrupt_dl3", observation / "dl3_000123.fits.gz", directory)
    (directory / "expect.json").write_text(json.dumps(EXPECT))
    found: dict[str, Json] = dl3_helper(
        directory, "reports", directory, "validate-dl3", "--expect", "expect.json"
    )
    return found


@pytest.fixture(scope="session")
def indices(observation: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Json]:
    """Exit code and report of each corrupted index table."""
    directory = tmp_path_factory.mktemp("corrupted-index")
    dl3_helper(observation, "corrupt_indices", observation, directory)
    found: dict[str, Json] = dl3_helper(directory, "reports", directory, "validate-index")
    return found


def test_what_reprocess_writes_is_valid(observation: Path, tmp_path: Path) -> None:
    (tmp_path / "expect.json").write_text(json.dumps(EXPECT))
    dl3 = esap_fits(observation, "validate-dl3", "dl3_000123.fits.gz", "--expect", tmp_path / "expect.json")
    assert (dl3.code, dl3.document["verdict"], dl3.document["format"]) == (0, "valid", "gadf-dl3")
    assert {"dl3.obs_id", "dl3.pointing", "dl3.start_time"} <= {c["name"] for c in dl3.document["checks"]}
    assert dl3.document["summary"]["header"]["TELESCOP"] == "TOY"
    dl2 = esap_fits(observation, "validate-dl2", "dl2_000123.fits.gz")
    assert (dl2.code, dl2.document["verdict"]) == (0, "valid")
    assert dl2.document["summary"]["events"] == dl3.document["summary"]["events"]
    for name in ("obs-index.fits.gz", "hdu-index.fits.gz"):
        index = esap_fits(observation, "validate-index", name)
        assert (index.code, index.document["verdict"]) == (0, "valid"), index.stdout


@pytest.mark.parametrize(("name", "checks"), DL3.items(), ids=DL3.keys())
def test_a_corrupt_event_list_is_caught(corrupted: dict[str, Json], name: str, checks: set[str]) -> None:
    code, document = corrupted[name]["code"], corrupted[name]["document"]
    unreadable = checks == {"file.readable"}
    assert (document["verdict"], code) == (("unreadable", 2) if unreadable else ("invalid", 1))
    assert checks <= failed(document)
    assert all(c["message"] for c in document["checks"] if not c["passed"])


def test_a_copy_by_astropy_is_valid_and_a_cut_archive_is_not(corrupted: dict[str, Json]) -> None:
    assert corrupted["untouched"]["code"] == 0
    assert corrupted["cut"]["code"] == 2


@pytest.mark.parametrize("expect", [None, {"obs_id": None, "ra_pnt_deg": None, "start_time": None}])
def test_without_expectations_only_the_file_itself_counts(
    observation: Path, tmp_path: Path, expect: Json | None
) -> None:
    (tmp_path / "expect.json").write_text(json.dumps(expect))
    options = () if expect is None else ("--expect", tmp_path / "expect.json")
    result = esap_fits(observation, "validate-dl3", "dl3_000123.fits.gz", *options)
    assert result.code == 0
    assert not {"dl3.obs_id", "dl3.pointing"} & {c["name"] for c in result.document["checks"]}


@pytest.mark.parametrize("content", ['{"obs": 1}', '{"tolerance_deg": -1}', "{", "[]"])
def test_wrong_expectations_are_refused(observation: Path, tmp_path: Path, content: str) -> None:
    expect = tmp_path / "expect.json"
    expect.write_text(content)
    result = esap_fits(observation, "validate-dl3", "dl3_000123.fits.gz", "--expect", expect)
    assert (result.code, result.stdout) == (3, "")
    assert "expect.json" in result.stderr


@pytest.mark.parametrize(("name", "checks"), INDICES.items(), ids=INDICES.keys())
def test_a_corrupt_index_is_caught(indices: dict[str, Json], name: str, checks: set[str]) -> None:
    code, document = indices[name]["code"], indices[name]["document"]
    assert (document["verdict"], code) == ("invalid", 1)
    assert checks <= failed(document)


def test_untouched_indices_are_valid(indices: dict[str, Json]) -> None:
    assert [indices[name]["code"] for name in ("obs_untouched", "hdu_untouched")] == [0, 0]


def test_an_event_list_is_no_index_and_no_dl2(observation: Path) -> None:
    assert failed(esap_fits(observation, "validate-index", "dl3_000123.fits.gz").document) == {"index.kind"}
    assert failed(esap_fits(observation, "validate-dl2", "dl3_000123.fits.gz").document) == {"file.hdus"}
