"""esap-ska as jobs run it, and a small production of it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from localgrid.samples.ska_hi_cube import toy
from tests.unit.payloads.conftest import PROJECT, Json, Result, run

SKA_BIN = PROJECT / ".envs" / "ska" / "bin"
HELPERS = Path(__file__).parent / "ska_helpers.py"
TOY: Json = toy()
SMALL: Json = {
    "seed": 3,
    "size_pixels": 30,
    "channels": 20,
    "galaxies": [
        {**TOY["galaxies"][0], "x": 13, "y": 15, "v_kms": 3520, "radius_pix": 4, "rotation_kms": 60},
        {**TOY["galaxies"][1], "x": 22, "y": 7, "v_kms": 3600, "radius_pix": 3, "rotation_kms": 40},
    ],
}
SEARCH: Json = {
    "cube": "cube.fits",
    "spatial_kernels": [0, 3, 6],
    "spectral_kernels": [0, 3, 7],
    "threshold_sigma": 4,
    "overlap_pixels": 8,
    "overlap_channels": 3,
    "min_cells": 60,
    "min_pixels": 12,
    "min_channels": 3,
    "date": "2026-11-21T10:00:00",
}


def esap_ska(directory: Path, *arguments: str | Path, **environment: str) -> Result:
    """Run `esap-ska` of the environment that `localgrid/bootstrap.sh ska` makes."""
    program = SKA_BIN / "esap-ska"
    assert program.exists(), "no .envs/ska: run `localgrid/bootstrap.sh ska`"
    path = f"{SKA_BIN}{os.pathsep}{os.environ['PATH']}"
    return run([program, *arguments], directory, PATH=path, **environment)


def ska_helper(directory: Path, *arguments: str | Path) -> Any:
    """Run one of `ska_helpers.py`, and give the JSON that it prints."""
    result = run([SKA_BIN / "python", HELPERS, *arguments], directory)
    assert result.code == 0, result.stderr
    return json.loads(result.stdout)


def edges(length: int, parts: int) -> list[int]:
    return [length * n // parts for n in range(parts + 1)]


def subcubes(x: list[int], y: list[int], channel: list[int]) -> list[Json]:
    """Cut a cube at these edges."""
    boxes = product(pairwise(channel), pairwise(y), pairwise(x))
    return [{"index": n, "x": list(x), "y": list(y), "channel": list(z)} for n, (z, y, x) in enumerate(boxes)]


def make_cube(directory: Path, config: Json, name: str = "cube.fits") -> Json:
    """Make a toy cube in a directory; give what was put in."""
    (directory / "toy.json").write_text(json.dumps(config))
    result = esap_ska(directory, "make-cube", "--config", "toy.json", "--output", name)
    assert result.code == 0, result.stderr
    return result.document


def configure(directory: Path, **changes: Any) -> Json:
    """Write the configuration of the steps."""
    config = {**SEARCH, "subcubes": [], **changes}
    (directory / "config.json").write_text(json.dumps(config))
    return config


def find(directory: Path, index: int, **environment: str) -> Result:
    name = f"part_{index:05d}.fits.gz"
    line = ("find", "--config", "config.json", "--subcube", str(index), "--output", name)
    return esap_ska(directory, *line, **environment)


def merge(directory: Path, *parts: str) -> Result:
    given = parts or tuple(sorted(p.name for p in directory.glob("part_*.fits.gz")))
    return esap_ska(directory, "merge", "--config", "config.json", *given)


@dataclass(frozen=True)
class Production:
    """A search of the sample cube that went well, and what was put into it. Nothing may be written to it."""

    directory: Path
    truth: Json

    def rows(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = ska_helper(self.directory, "rows", "catalogue.vot")
        return found


def produce(directory: Path, config: Json, cut: list[Json]) -> Production:
    truth = make_cube(directory, config)
    configure(directory, subcubes=cut)
    for one in cut:
        result = find(directory, one["index"])
        assert result.code == 0, result.stderr
    result = merge(directory)
    assert result.code == 0, result.stderr
    return Production(directory, truth)
