"""The search in sub-cubes: what is known to be there is found, and how the cube is cut changes nothing."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.payloads.ska_programs import (
    HELPERS,
    SEARCH,
    SKA_BIN,
    SMALL,
    TOY,
    Production,
    configure,
    edges,
    esap_ska,
    find,
    make_cube,
    merge,
    produce,
    ska_helper,
    subcubes,
)

PIXEL_DEG, BEAM_DEG = TOY["pixel_arcsec"] / 3600, TOY["beam_arcsec"] / 3600
CENTRE = (32.39, -10.16)
ALONE = (2, 3, 4)  # galaxies that no bridge joins to another
CUT = subcubes(edges(96, 2), edges(96, 2), edges(64, 1))


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Production:
    return produce(tmp_path_factory.mktemp("ska"), TOY, CUT)


@pytest.fixture(scope="module")
def rows(production: Production) -> list[dict[str, str]]:
    return production.rows()


def place_of(galaxy: dict[str, float]) -> tuple[float, float]:
    """Give right ascension and declination in deg of a pixel of the sample, near its centre."""
    dec = CENTRE[1] + (galaxy["y"] - 47.5) * PIXEL_DEG
    return CENTRE[0] - (galaxy["x"] - 47.5) * PIXEL_DEG / math.cos(math.radians(dec)), dec


def apart(row: dict[str, str], place: tuple[float, float]) -> float:
    ra, dec = float(row["ra"]), float(row["dec"])
    return math.hypot((ra - place[0]) * math.cos(math.radians(dec)), dec - place[1])


@pytest.mark.parametrize("number", ALONE)
def test_each_galaxy_is_found_where_it_is_with_its_flux(number: int, rows: list[dict[str, str]]) -> None:
    galaxy = TOY["galaxies"][number]
    (row,) = [r for r in rows if apart(r, place_of(galaxy)) < BEAM_DEG / 2]
    assert float(row["v_rad"]) == pytest.approx(galaxy["v_kms"], abs=TOY["channel_kms"])
    errors = abs(float(row["f_sum"]) - galaxy["flux_jy_kms"]) / float(row["f_sum_err"])
    assert errors < 4


def test_galaxies_with_a_bridge_are_one_source_across_the_borders_of_sub_cubes(
    rows: list[dict[str, str]],
) -> None:
    assert len(rows) == 4
    flux = sum(g["flux_jy_kms"] for g in (*TOY["galaxies"][:2], *TOY["bridges"]))
    assert float(rows[0]["f_sum"]) == pytest.approx(flux, rel=0.05)
    assert [r["id"] for r in rows] == ["1", "2", "3", "4"]


def test_flux_is_conserved(production: Production, rows: list[dict[str, str]]) -> None:
    total = sum(float(r["f_sum"]) for r in rows)
    assert total == pytest.approx(production.truth["flux_jy_kms"], rel=0.05)
    report = esap_ska(production.directory, "validate", "moments.fits").document
    assert report["summary"]["flux_jy_kms"] == pytest.approx(total, rel=1e-5)


def test_every_file_is_valid_and_says_that_it_is_a_toy(production: Production) -> None:
    for name, more in (
        ("moments.fits", ()),
        ("catalogue.vot", ("--maps", "moments.fits")),
        ("mask.fits.gz", ()),
        ("overview.png", ()),
        ("part_00000.fits.gz", ()),
    ):
        result = esap_ska(production.directory, "validate", name, *more)
        assert (result.code, result.document["verdict"]) == (0, "valid"), (name, result.stdout)
    assert "TOY" in (production.directory / "catalogue.vot").read_text()


def test_one_piece_or_many_make_the_same_bytes(production: Production, tmp_path: Path) -> None:
    made = produce(tmp_path, TOY, subcubes([0, 96], [0, 96], [0, 64]))
    for name in ("moments.fits", "catalogue.vot", "mask.fits.gz"):
        assert (made.directory / name).read_bytes() == (production.directory / name).read_bytes(), name


class Splitter:
    """A process that cuts one cube in the ways it is told."""

    def __init__(self, directory: Path) -> None:
        line = [str(SKA_BIN / "python"), str(HELPERS), "splits", "config.json"]
        self.process = subprocess.Popen(
            line,
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def digest(self, **edges: list[int]) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(edges) + "\n")
        self.process.stdin.flush()
        return str(json.loads(self.process.stdout.readline())["digest"])


@pytest.fixture(scope="module")
def splitter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Splitter]:
    directory = tmp_path_factory.mktemp("splits")
    make_cube(directory, SMALL)
    configure(directory)
    made = Splitter(directory)
    yield made
    assert made.process.stdin is not None
    made.process.stdin.close()
    made.process.wait(30)


def cuts(length: int) -> st.SearchStrategy[list[int]]:
    inside = st.sets(st.integers(1, length - 1), max_size=2)
    return inside.map(lambda found: [0, *sorted(found), length])


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(x=cuts(30), y=cuts(30), channel=cuts(20))
def test_the_result_does_not_depend_on_the_split(
    splitter: Splitter, x: list[int], y: list[int], channel: list[int]
) -> None:
    whole = splitter.digest(x=[0, 30], y=[0, 30], channel=[0, 20])
    assert splitter.digest(x=x, y=y, channel=channel) == whole


def test_a_frequency_axis_gives_the_same_velocities(tmp_path: Path) -> None:
    found = []
    for axis in ("VRAD", "FREQ"):
        directory = tmp_path / axis
        directory.mkdir()
        made = produce(directory, {**SMALL, "spectral_axis": axis}, subcubes([0, 30], [0, 30], [0, 20]))
        found.append([(float(r["v_rad"]), float(r["f_sum"])) for r in made.rows()])
    assert found[0]
    assert [v for r in found[0] for v in r] == pytest.approx([v for r in found[1] for v in r], rel=1e-6)


def test_a_cube_without_sources_makes_empty_maps_and_an_empty_catalogue(tmp_path: Path) -> None:
    empty = {**SMALL, "galaxies": []}
    made = produce(tmp_path, empty, subcubes([0, 30], [0, 15, 30], [0, 20]))
    assert made.rows() == []
    for line in (["moments.fits"], ["catalogue.vot", "--maps", "moments.fits"], ["mask.fits.gz"]):
        result = esap_ska(tmp_path, "validate", *line)
        assert result.code == 0, result.stdout


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a small cube and both of its parts."""
    directory = tmp_path_factory.mktemp("small")
    produce(directory, SMALL, subcubes([0, 15, 30], [0, 30], [0, 20]))
    return directory


@pytest.fixture
def copied(small: Path, tmp_path: Path) -> Path:
    shutil.copytree(small, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_a_missing_part_is_named_by_what_it_leaves_open(copied: Path) -> None:
    result = merge(copied, "part_00000.fits.gz")
    assert result.code == 3
    assert "the parts have 9000 cells together: allowed 18000, each once" in result.stderr


def test_a_part_that_is_given_twice_is_refused(copied: Path) -> None:
    shutil.copy(copied / "part_00000.fits.gz", copied / "again.fits.gz")
    result = merge(copied, "part_00000.fits.gz", "again.fits.gz")
    assert result.code == 3
    assert "part_00000.fits.gz and again.fits.gz share cells" in result.stderr


def test_parts_of_other_settings_or_of_another_cube_are_refused(copied: Path) -> None:
    configure(copied, subcubes=subcubes([0, 15, 30], [0, 30], [0, 20]), threshold_sigma=6)
    assert find(copied, 1).code == 0
    result = merge(copied)
    assert result.code == 3
    assert "part_00000.fits.gz: other kernels or another threshold made it" in result.stderr
    make_cube(copied, {**SMALL, "ra_deg": 40.0})
    configure(copied, subcubes=subcubes([0, 15, 30], [0, 30], [0, 20]))
    assert find(copied, 1).code == 0
    assert "it is of another cube than part_00000.fits.gz" in merge(copied).stderr


def test_what_is_no_part_is_refused(copied: Path) -> None:
    result = merge(copied, "cube.fits")
    assert result.code == 3
    assert "cube.fits: it is no part of a search" in result.stderr


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("kelvin.fits", "BUNIT = 'K': allowed Jy/beam"),
        ("no_beam.fits", "BMAJ = None: allowed a number above 0, in deg"),
        ("no_velocity.fits", "CTYPE3 and on = 'VELOCITY': allowed is one of VRAD, FREQ, VOPT"),
        ("other_frame.fits", "RADESYS = 'GAPPT': allowed ICRS, FK5, FK4 and FK4-NO-E"),
        ("no_rest.fits", "RESTFRQ = 0.0: allowed a number above 0, in Hz"),
        ("beam_in_arcsec.fits", "BMAJ = 36: allowed at most 0.0833333, the side of the map in deg"),
        ("galactic.fits", "'GLON-TAN', 'GLAT-TAN': allowed RA and DEC"),
        ("two_stokes.fits", "axes beside those of sky and spectrum have lengths [2]: allowed 1"),
        ("silent.fits", "it has no noise"),
        ("cut.fits", "it cannot be read as FITS"),
        ("nothing.fits", "it cannot be read as FITS"),
    ],
)
def test_a_cube_that_cannot_be_searched_is_refused(damaged: Path, name: str, told: str) -> None:
    configure(damaged, cube=name, subcubes=subcubes([0, 30], [0, 30], [0, 20]))
    result = find(damaged, 0)
    assert result.code == 3
    assert told in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture(scope="module")
def varied(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("varied")
    ska_helper(directory, "vary", small / "cube.fits", directory)
    return directory


def searched(directory: Path, cube: str) -> list[dict[str, str]]:
    """Search a cube of a directory; give its catalogue, which has to be valid."""
    configure(directory, cube=cube, subcubes=subcubes([0, 30], [0, 30], [0, 20]))
    assert find(directory, 0).code == 0
    assert merge(directory, "part_00000.fits.gz").code == 0
    result = esap_ska(directory, "validate", "catalogue.vot", "--maps", "moments.fits")
    assert result.code == 0, result.stdout
    assert esap_ska(directory, "validate", "moments.fits").code == 0
    found: list[dict[str, str]] = ska_helper(directory, "rows", "catalogue.vot")
    return found


def numbers(rows: list[dict[str, str]], *names: str) -> list[float]:
    return [float(row[name]) for row in rows for name in names]


def test_positions_of_1950_are_published_as_icrs(small: Path, varied: Path) -> None:
    before, now = ska_helper(small, "rows", "catalogue.vot"), searched(varied, "fk4.fits")
    ra, dec = (math.radians(numbers(before, name)[0]) for name in ("ra", "dec"))
    # 50 years of precession: m = 3.07327 s and n = 1.33617 s a year, in time (Explanatory Supplement).
    move_ra = 50 * (3.07327 + 1.33617 * math.sin(ra) * math.tan(dec)) * 15 / 3600
    move_dec = 50 * 1.33617 * math.cos(ra) * 15 / 3600
    assert numbers(now, "ra")[0] - numbers(before, "ra")[0] == pytest.approx(move_ra, abs=0.003)
    assert numbers(now, "dec")[0] - numbers(before, "dec")[0] == pytest.approx(move_dec, abs=0.003)


def test_the_catalogue_says_its_frames(small: Path, varied: Path) -> None:
    text = (small / "catalogue.vot").read_text()
    for told in ('<COOSYS ID="sky" system="ICRS"/>', 'name="specsys"', 'value="BARYCENT"', 'name="restfrq"'):
        assert told in text
    assert searched(varied, "lsr.fits")
    assert 'value="LSRK"' in (varied / "catalogue.vot").read_text()


@pytest.mark.parametrize("name", ["stokes_third.fits", "stokes_last.fits", "lsr.fits"])
def test_an_axis_of_length_1_or_an_old_name_of_the_spectral_one_changes_nothing(
    name: str, small: Path, varied: Path
) -> None:
    before, now = ska_helper(small, "rows", "catalogue.vot"), searched(varied, name)
    same = ("ra", "dec", "v_rad", "f_sum", "n_cells")
    assert numbers(now, *same) == pytest.approx(numbers(before, *same), rel=1e-9)


def test_optical_velocities_become_radio_ones_with_the_widths_of_each_channel(
    small: Path, varied: Path
) -> None:
    before, now = ska_helper(small, "rows", "catalogue.vot"), searched(varied, "optical.fits")
    for row, optical in zip(now, before, strict=True):
        stretch = 1 + float(optical["v_rad"]) / 299_792.458
        assert float(row["v_rad"]) == pytest.approx(float(optical["v_rad"]) / stretch, abs=0.1)
        assert float(row["f_sum"]) == pytest.approx(float(optical["f_sum"]) / stretch**2, rel=1e-3)


@pytest.fixture(scope="module")
def damaged(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("damaged")
    ska_helper(directory, "damage", small / "cube.fits", directory)
    return directory


def test_too_few_cells_with_a_value_are_refused(damaged: Path) -> None:
    configure(damaged, cube="nearly_blank.fits", subcubes=subcubes([0, 30], [0, 30], [0, 20]))
    result = find(damaged, 0)
    assert result.code == 3
    assert "80 cells have a value where the noise is measured: allowed at least 100" in result.stderr


@pytest.mark.parametrize("share", [0.22, 0.45])
def test_noise_within_a_circle_of_values_makes_no_source(share: float, tmp_path: Path) -> None:
    make_cube(tmp_path, {**TOY, "galaxies": [], "bridges": []}, "whole.fits")
    blank = ska_helper(tmp_path, "blank", "whole.fits", str(share), "cube.fits")
    assert blank == pytest.approx(share, abs=0.01)
    configure(tmp_path, subcubes=subcubes([0, 96], [0, 96], [0, 64]))
    assert find(tmp_path, 0).code == 0
    noise = ska_helper(tmp_path, "header", "part_00000.fits.gz")["NOISE"]
    assert noise == pytest.approx(TOY["noise_mjy"] * 1e-3, rel=0.05)
    assert esap_ska(tmp_path, "validate", "part_00000.fits.gz").document["summary"]["cells"] < 1000
    assert merge(tmp_path).code == 0
    assert ska_helper(tmp_path, "rows", "catalogue.vot") == []


def test_galaxies_within_a_circle_of_values_keep_their_flux_whatever_the_split(
    rows: list[dict[str, str]], tmp_path: Path
) -> None:
    make_cube(tmp_path, TOY, "whole.fits")
    ska_helper(tmp_path, "blank", "whole.fits", "0.22", "cube.fits")
    catalogues = []
    for cut in (CUT, subcubes([0, 96], [0, 96], [0, 64])):
        configure(tmp_path, subcubes=cut)
        for part in tmp_path.glob("part_*"):
            part.unlink()
        assert [find(tmp_path, one["index"]).code for one in cut] == [0] * len(cut)
        assert merge(tmp_path).code == 0
        catalogues.append(ska_helper(tmp_path, "rows", "catalogue.vot"))
    assert catalogues[0] == catalogues[1]
    fluxes = [[float(row["f_sum"]) for row in found] for found in (catalogues[0], rows)]
    assert fluxes[0] == pytest.approx(fluxes[1], rel=0.05)


def test_the_noise_of_a_product_is_that_before_any_kernel(copied: Path) -> None:
    before = ska_helper(copied, "header", "part_00000.fits.gz")["NOISE"]
    configure(copied, spatial_kernels=[3], subcubes=subcubes([0, 30], [0, 30], [0, 20]))
    assert find(copied, 0).code == 0
    assert ska_helper(copied, "header", "part_00000.fits.gz")["NOISE"] == before


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"overlap_pixels": 7}, "overlap_pixels = 7: allowed at least 8, how far the kernels reach"),
        ({"overlap_channels": 2}, "overlap_channels = 2: allowed at least 3"),
        ({"spectral_kernels": [4]}, "spectral_kernels = [4]: allowed 1 to 10 odd whole numbers"),
        ({"threshold_sigma": 0}, "threshold_sigma = 0: allowed a number from 1 to 100"),
        ({"surprise": 1}, "surprise is unknown"),
        ({"subcubes": [{"index": 0, "x": [5, 5], "y": [0, 1], "channel": [0, 1]}]}, "x = [5, 5]: allowed"),
        ({"subcubes": subcubes([0, 31], [0, 30], [0, 20])}, "subcubes.x = [0, 31]: allowed 0 to 30"),
        ({"subcubes": []}, "subcube = 0: allowed is one of none"),
    ],
)
def test_a_wrong_configuration_is_refused_with_what_is_allowed(
    copied: Path, changes: dict[str, Any], told: str
) -> None:
    configure(copied, **{"subcubes": subcubes([0, 30], [0, 30], [0, 20]), **changes})
    result = find(copied, 0)
    assert result.code == 3
    assert told in result.stderr


def test_the_overlap_that_the_service_plans_is_what_the_kernels_need() -> None:
    from esap_batch.subcubes import least_overlap

    needed = least_overlap(SEARCH["spatial_kernels"], SEARCH["spectral_kernels"], 0)
    assert needed == (SEARCH["overlap_pixels"], SEARCH["overlap_channels"])
