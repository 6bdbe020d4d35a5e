"""The toy simulation, its event files and their checks."""

from __future__ import annotations

import gzip
import json
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from .conftest import FITS_BIN, GAMMA, PROTON, Json, Production, esap_fits, failed, helper, simulate

MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_equal_configurations_give_equal_bytes(tmp_path: Path) -> None:
    config = GAMMA | {"n_events": 250_000}  # more than one chunk
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert simulate(tmp_path, name, config | {"seed": seed}).code == 0
    a, b, c = ((tmp_path / f"{n}.fits.gz").read_bytes() for n in "abc")
    assert a == b
    assert a != c


def test_it_says_that_it_is_a_toy(tmp_path: Path) -> None:
    result = simulate(tmp_path, "a", GAMMA | {"n_events": 1000})
    assert "TOY SIMULATION" in result.stderr
    assert [h["TELESCOP"] for h in helper(tmp_path, "headers", "a.fits.gz")] == ["TOY", "TOY"]


def test_header_tells_what_was_thrown(production: Production) -> None:
    header = helper(production.directory, "headers", "proton.fits.gz")[1]
    assert header["NTHROWN"] == PROTON["n_events"]
    assert (header["PARTICLE"], header["SEED"]) == ("proton", 2)
    assert (header["E_MIN"], header["E_MAX"], header["SPINDEX"]) == (0.05, 200, -1.5)
    assert (header["SITE"], header["LAYOUT"], header["MODEL"]) == ("LaPalma", "alpha", "prod5-v2.0")
    assert header["DATE"] == "2026-01-01T00:00:00"
    assert 0 < header["NTRIG"] == header["NAXIS2"] < header["NTHROWN"]


@pytest.mark.parametrize("name", ["gamma.fits.gz", "proton.fits.gz"])
def test_validate_events_accepts_them(production: Production, name: str) -> None:
    result = esap_fits(production.directory, "validate-events", name)
    assert (result.code, result.document["verdict"]) == (0, "valid")
    assert {c["name"] for c in result.document["checks"]} == {
        "file.readable",
        "file.checksum",
        "events.header",
        "events.columns",
        "events.units",
        "events.finite",
        "events.ranges",
        "events.count",
    }


def test_validate_events_refuses_what_is_none(production: Production, tmp_path: Path) -> None:
    result = esap_fits(tmp_path, "validate-events", production.irf)
    assert result.code == 1
    assert {"events.header", "events.columns"} <= failed(result.document)


def test_validate_events_sees_damage(production: Production, tmp_path: Path) -> None:
    packed = (production.directory / "gamma.fits.gz").read_bytes()
    (tmp_path / "cut.fits.gz").write_bytes(packed[: len(packed) // 2])
    plain = bytearray(gzip.decompress(packed))
    plain[-20_000] ^= 1
    (tmp_path / "flip.fits").write_bytes(plain)
    assert esap_fits(tmp_path, "validate-events", "cut.fits.gz").code == 2
    flipped = esap_fits(tmp_path, "validate-events", "flip.fits")
    assert flipped.code == 1, flipped.stdout
    assert "file.checksum" in failed(flipped.document)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"particle": "muon"}, 'particle = "muon": allowed gamma or electron or proton'),
        ({"n_events": 0}, "n_events = 0"),
        ({"n_events": 10.5}, "n_events = 10.5"),
        ({"seed": None}, "seed = null"),
        ({"energy_range_tev": [10, 1]}, "energy_range_tev = [10, 1]"),
        ({"zenith_deg": 80}, "zenith_deg = 80"),
        ({"site": "Mars"}, 'site = "Mars"'),
        ({"model_version": "prod4"}, 'model_version = "prod4"'),
        ({"date": "yesterday"}, 'date = "yesterday"'),
        ({"colour": "red"}, "colour is unknown"),
    ],
)
def test_wrong_configuration_is_named(tmp_path: Path, change: Json, named: str) -> None:
    result = simulate(tmp_path, "a", GAMMA | change)
    assert result.code == 3
    assert named in result.stderr
    assert not (tmp_path / "a.fits.gz").exists()


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    config = {k: v for k, v in GAMMA.items() if k != "seed"} | {"site": "Mars", "zenith_deg": -1}
    stderr = simulate(tmp_path, "a", config).stderr
    assert all(name in stderr for name in ("seed is missing", "site =", "zenith_deg ="))


def test_memory_does_not_grow_with_the_number_of_events(tmp_path: Path) -> None:
    peaks = []
    for n_events in (200_000, 3_000_000):
        config = PROTON | {"n_events": n_events}  # few of them trigger: what stays is what was thrown
        (tmp_path / "config.json").write_text(json.dumps(config))
        command = [
            str(FITS_BIN / "esap-fits"),
            "simulate",
            "--config",
            "config.json",
            "--output",
            "a.fits.gz",
        ]
        measured = subprocess.run(
            [sys.executable, "-c", MEASURE, *command], cwd=tmp_path, capture_output=True, check=True
        )
        peaks.append(int(measured.stdout))
    assert peaks[1] - peaks[0] < 40_000  # kB; all at once would be some 200 MB


def efficiency(directory: Path, **config: object) -> Json:
    (directory / "table.json").write_text(json.dumps(config))
    return esap_fits(directory, "efficiency", "--config", "table.json").document


def one_table(document: Json, **wanted: object) -> list[float]:
    found = [t for t in document["tables"] if all(t[k] == v for k, v in wanted.items())]
    assert len(found) == 1
    values: list[float] = found[0]["efficiency"]
    return values


def power_law_shares(edges: list[float], thrown: tuple[float, float], index: float) -> list[float]:
    slope = index + 1
    total = thrown[1] ** slope - thrown[0] ** slope
    return [(b**slope - a**slope) / total for a, b in pairwise(edges)]


@pytest.mark.parametrize(("site", "zenith"), [("LaPalma", 20), ("Paranal", 40)])
def test_required_events_are_enough_in_every_bin(tmp_path: Path, site: str, zenith: float) -> None:
    """N = max 1/(delta^2 p), as simtools has it, gives 1/delta^2 triggered events a bin, not more."""
    delta, index, thrown = 0.1, -2.0, (0.05, 10.0)
    table = efficiency(tmp_path, energy_range_tev=[0.1, 5], spectral_index=index, zeniths_deg=[zenith, 60])
    edges = table["energy_edges_tev"]
    wanted = {"site": site, "array_layout": "alpha", "particle": "gamma", "zenith_deg": zenith}
    found = one_table(table, model_version="prod5-v2.0", **wanted)
    shares = power_law_shares(edges, thrown, index)
    expected = [e * share for e, share in zip(found, shares, strict=True)]
    n_events = math.ceil(max(1 / (delta**2 * p) for p in expected))
    config = GAMMA | {
        "site": site,
        "zenith_deg": zenith,
        "n_events": n_events,
        "spectral_index": index,
        "energy_range_tev": list(thrown),
    }
    assert simulate(tmp_path, "a", config).code == 0
    counted = helper(tmp_path, "counts", "a.fits.gz", "0.1", "5", str(len(edges) - 1))
    for n, p in zip(counted, expected, strict=True):
        mean = n_events * p
        assert mean > 1 / delta**2 * 0.999
        assert abs(n - mean) < 4 * math.sqrt(mean)


def test_efficiency_follows_the_declared_physics(tmp_path: Path) -> None:
    table = efficiency(tmp_path, particles=["gamma", "electron", "proton"])
    assert len(table["energy_edges_tev"]) == 21
    base = {"model_version": "prod5-v2.0", "site": "LaPalma", "array_layout": "alpha"}
    by_zenith = [one_table(table, **base, particle="gamma", zenith_deg=z)[0] for z in (20, 40, 60)]
    assert by_zenith == sorted(by_zenith, reverse=True)
    gamma, proton = (one_table(table, **base, particle=p, zenith_deg=20) for p in ("gamma", "proton"))
    assert all(g > 10 * p for g, p in zip(gamma, proton, strict=True))
    assert gamma == sorted(gamma)
    newer = one_table(table, **(base | {"model_version": "prod6-v1.1"}), particle="gamma", zenith_deg=20)
    assert newer[0] > gamma[0]
    for one in table["tables"]:
        whole = [
            sum(share * band[i] for share, band in zip(table["offset_shares"], one["by_offset"], strict=True))
            for i in range(20)
        ]
        assert whole == pytest.approx(one["efficiency"], rel=2e-3)
