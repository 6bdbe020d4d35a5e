"""What esap-ska's validator refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.payloads.conftest import failed
from tests.unit.payloads.ska_programs import SMALL, Production, esap_ska, produce, ska_helper, subcubes

WRONG = {
    "nan_map.fits": {"maps.values"},
    "wrong_wcs.fits": {"maps.wcs"},
    "no_wcs.fits": {"maps.wcs"},
    "no_unit.fits": {"maps.units"},
    "wrong_unit.fits": {"maps.units"},
    "negative_flux.fits": {"maps.negative", "maps.flux"},
    "flux_halved.fits": {"maps.flux"},
    "velocity_outside.fits": {"maps.velocity"},
    "velocity_lost.fits": {"maps.known"},
    "dispersion_negative.fits": {"maps.dispersion"},
    "no_moment2.fits": {"maps.hdus"},
    "no_beam.fits": {"maps.keywords"},
    "other_size.fits": {"maps.hdus"},
    "bit_flip.fits": {"file.checksum"},
    "labels_doubled.fits": {"mask.labels"},
    "off_the_map.vot": {"catalogue.positions"},
    "off_the_sky.vot": {"catalogue.sky"},
    "negative.vot": {"catalogue.positive", "catalogue.flux"},
    "flux_changed.vot": {"catalogue.flux"},
    "flux_unknown.vot": {"catalogue.values"},
    "no_frame.vot": {"catalogue.frame"},
    "other_frame.vot": {"catalogue.frame"},
    "no_rest_frequency.vot": {"catalogue.rest"},
    "no_units.vot": {"catalogue.units"},
    "no_ucd.vot": {"catalogue.ucds"},
    "id_wrong.vot": {"catalogue.ids"},
}
UNREADABLE = (
    "truncated.fits",
    "truncated.fits.gz",
    "cut.vot",
    "wrong_ucd.vot",
    "cut.png",
    "nothing.fits",
    "nothing.vot",
    "no.png",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Production:
    big = {
        **SMALL,
        "size_pixels": 64,
        "galaxies": [{**g, "x": g["x"] + 30, "y": g["y"] + 32} for g in SMALL["galaxies"]],
    }
    return produce(tmp_path_factory.mktemp("made"), big, subcubes([0, 64], [0, 64], [0, 20]))


@pytest.fixture(scope="module")
def corrupted(made: Production, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("corrupted")
    names = ska_helper(directory, "corrupt", made.directory, directory)
    assert set(WRONG) <= set(names)
    return directory


@pytest.mark.parametrize("name", sorted(WRONG))
def test_what_is_wrong_is_found_and_named(name: str, corrupted: Path, made: Production) -> None:
    maps = ("--maps", str(made.directory / "moments.fits")) if name.endswith(".vot") else ()
    result = esap_ska(corrupted, "validate", name, *maps)
    assert (result.code, result.document["verdict"]) == (1, "invalid")
    assert failed(result.document) >= WRONG[name]


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_unreadable(name: str, corrupted: Path) -> None:
    result = esap_ska(corrupted, "validate", name)
    assert (result.code, result.document["verdict"]) == (2, "unreadable")


def test_a_file_that_was_not_touched_is_valid(corrupted: Path) -> None:
    assert esap_ska(corrupted, "validate", "untouched.fits").code == 0


def test_a_catalogue_without_its_maps_is_invalid(made: Production) -> None:
    result = esap_ska(made.directory, "validate", "catalogue.vot", "--maps", "lost.fits")
    assert failed(result.document) == {"catalogue.maps"}


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("own.json", b'{"a": 1}', 0),
        ("own.json", b'{"a": ', 2),
        ("own.txt", b"text", 0),
        ("own.txt", b"", 2),
        ("own.xml", b"<VOTABLE", 2),
    ],
)
def test_files_of_other_kinds_have_to_be_whole(tmp_path: Path, name: str, content: bytes, code: int) -> None:
    (tmp_path / name).write_bytes(content)
    assert esap_ska(tmp_path, "validate", name).code == code
