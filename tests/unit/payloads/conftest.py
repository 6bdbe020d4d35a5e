"""The payload programs, run as jobs run them: by their command lines, in environments of their own."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[3]
FITS_BIN = PROJECT / ".envs" / "fits" / "bin"
HELPERS = Path(__file__).parent / "helpers.py"

Json = dict[str, Any]

GAMMA: Json = {
    "particle": "gamma",
    "n_events": 400_000,
    "seed": 1,
    "energy_range_tev": [0.05, 50],
    "spectral_index": -1.5,
    "zenith_deg": 20,
    "azimuth_deg": 180,
    "site": "LaPalma",
    "array_layout": "alpha",
    "model_version": "prod5-v2.0",
    "systematic_uncertainty": 0.05,
}
PROTON: Json = GAMMA | {"particle": "proton", "seed": 2, "energy_range_tev": [0.05, 200]}
MERGE: Json = {
    "signal_files": ["gamma.fits.gz"],
    "proton_files": ["proton.fits.gz"],
    "energy_range_tev": [0.1, 10],
    "provenance": {"production_id": "cta-irf-0123", "period_start": "2026-01-01"},
    "date": "2026-11-21T06:00:00",
}


@dataclass
class Result:
    """How a program ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Json:
        parsed: Json = json.loads(self.stdout)
        return parsed


def run(command: list[str | Path], directory: Path, **environment: str) -> Result:
    """Run a program to its end."""
    done = subprocess.run(
        [str(c) for c in command],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(directory), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def esap_fits(directory: Path, *arguments: str | Path) -> Result:
    """Run `esap-fits` of the environment that `localgrid/bootstrap.sh` makes."""
    program = FITS_BIN / "esap-fits"
    assert program.exists(), "no .envs/fits: run `make setup`"
    return run([program, *arguments], directory, MPLCONFIGDIR=str(PROJECT / ".envs" / "fits"))


def helper(directory: Path, *arguments: str | Path) -> Any:
    """Run one of `helpers.py`, which needs astropy, and give the JSON that it prints."""
    result = run([FITS_BIN / "python", HELPERS, *arguments], directory)
    assert result.code == 0, result.stderr
    return json.loads(result.stdout)


def simulate(directory: Path, name: str, config: Json) -> Result:
    """Simulate into a file of the directory."""
    (directory / f"{name}.json").write_text(json.dumps(config))
    return esap_fits(directory, "simulate", "--config", f"{name}.json", "--output", f"{name}.fits.gz")


def merge(directory: Path, config: Json, *options: str) -> Result:
    """Merge event files of the directory into `irf.fits.gz` and `irf.png`."""
    (directory / "merge.json").write_text(json.dumps(config))
    outputs = ("--output", "irf.fits.gz", "--plot", "irf.png")
    return esap_fits(directory, "merge", "--config", "merge.json", *outputs, *options)


@dataclass(frozen=True)
class Production:
    """A small production that went well. Nothing may be written to its directory."""

    directory: Path
    irf: Path
    plot: Path

    def copy_events(self, target: Path) -> None:
        for name in ("gamma.fits.gz", "proton.fits.gz"):
            (target / name).symlink_to(self.directory / name)


@pytest.fixture(scope="session")
def production(tmp_path_factory: pytest.TempPathFactory) -> Production:
    directory = tmp_path_factory.mktemp("production")
    for name, config in (("gamma", GAMMA), ("proton", PROTON)):
        result = simulate(directory, name, config)
        assert result.code == 0, result.stderr
    result = merge(directory, MERGE)
    assert result.code == 0, result.stderr
    return Production(directory, directory / "irf.fits.gz", directory / "irf.png")


def failed(report: Json) -> set[str]:
    """Give the names of the checks that failed."""
    return {check["name"] for check in report["checks"] if not check["passed"]}


RAW: Json = {
    "obs_id": 123,
    "sb_id": 12,
    "telescopes": [1, 2],
    "files_per_telescope": 3,
    "events": 2000,
    "start_time": "2026-11-05T22:00:00",
    "duration_s": 1200,
    "ra_pnt_deg": 83.633,
    "dec_pnt_deg": 22.5145,
    "ra_obj_deg": 83.633,
    "dec_obj_deg": 22.0145,
    "target": "Crab (toy)",
    "project": "PI-2026-001",
    "site": "LaPalma",
    "zenith_deg": 20,
    "seed": 1,
}
REPROCESS: Json = {
    "processor": "esap-fits",
    "obs_id": 123,
    "sb_id": 12,
    "inputs": [f"obs_000123_tel{t:03d}_{c:02d}.fits.gz" for t in (1, 2) for c in range(3)],
    "dl2": "dl2_000123.fits.gz",
    "dl3": "dl3_000123.fits.gz",
    "obs_index": "obs-index.fits.gz",
    "hdu_index": "hdu-index.fits.gz",
    "pointing": {"ra_deg": 83.633, "dec_deg": 22.5145},
    "object": {"name": "Crab (toy)", "ra_deg": 83.633, "dec_deg": 22.0145},
    "site": "LaPalma",
    "array_layout": "alpha",
    "model_version": "prod6-v1.1",
    "start_time": "2026-11-05T22:00:00",
    "stop_time": "2026-11-05T22:20:00",
    "project": "PI-2026-001",
    "campaign": "c1",
    "software_version": "0.2.0",
    "expected_files": 6,
    "missing_files": [],
}


def dl3_helper(directory: Path, *arguments: str | Path) -> Any:
    """Run one of `dl3_helpers.py`, and give the JSON that it prints."""
    result = run([FITS_BIN / "python", HELPERS.with_name("dl3_helpers.py"), *arguments], directory)
    assert result.code == 0, result.stderr
    return json.loads(result.stdout)


def make_dl0(directory: Path, *observations: Json) -> list[Json]:
    """Make raw files in a directory; give what the program said of each."""
    (directory / "dl0.json").write_text(json.dumps({"observations": observations}))
    result = esap_fits(directory, "make-dl0", "--config", "dl0.json", "--directory", directory)
    assert result.code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def reprocess(directory: Path, config: Json) -> Result:
    """Reprocess the raw files of a directory."""
    (directory / "config.json").write_text(json.dumps(config))
    return esap_fits(directory, "reprocess", "--config", "config.json")


@pytest.fixture(scope="session")
def observation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a reprocessed observation. Nothing may be written to it."""
    directory = tmp_path_factory.mktemp("observation")
    make_dl0(directory, RAW)
    result = reprocess(directory, REPROCESS)
    assert result.code == 0, result.stderr
    return directory
