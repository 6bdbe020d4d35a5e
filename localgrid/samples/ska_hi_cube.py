"""A toy HI cube of a compact group like HCG 16: five galaxies, two of them joined by a bridge of gas."""

from __future__ import annotations

import json
import subprocess
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localgrid.samples.observations import Observation, SampleFile, register_observations, unpublished

if TYPE_CHECKING:
    from hooks.rucio_lake import RucioLake
    from localgrid.grid import Grid

SCOPE, AREA, RSE = "ska", "/ctao/ska/cubes/sample", "CSCS-DISK"
DATASET = f"{AREA}/hcg16_toy"
PROJECT = "HI-2026-016"  # which user sofia may read
PIXEL_ARCSEC, BEAM_ARCSEC, CHANNEL_KMS, NOISE_MJY = 10.0, 35.0, 20.0, 0.4
SIZE, CHANNELS, SEED = 96, 64, 16
GALAXIES = [  # places in pixels and km/s, fluxes in Jy km/s; two of them lie across borders of sub-cubes
    (58, 36, 3920, 25, 7, 55, 150, 5.0),
    (40, 45, 3870, 110, 6, 45, 120, 4.0),
    (72, 66, 4060, 160, 6, 60, 100, 2.5),
    (22, 72, 3760, 60, 5, 40, 80, 1.8),
    (24, 20, 4180, 10, 5, 65, 90, 1.5),
]
MEMBERS = ("x", "y", "v_kms", "angle_deg", "radius_pix", "inclination_deg", "rotation_kms", "flux_jy_kms")
BRIDGES = [{"from": 0, "to": 1, "width_pix": 2.2, "flux_jy_kms": 1.6}]


def fill(grid: Grid, lake: RucioLake) -> None:
    """Put the cube into the lake if it is not there."""
    if not unpublished(lake, [DATASET]):
        return
    with tempfile.TemporaryDirectory(prefix="esap-cube-") as place:
        cube = make_cube(grid.layout.program("ska", "esap-ska"), Path(place))
        register_observations(lake, scope=SCOPE, rse=RSE, observations=[cube])


def toy() -> dict[str, Any]:
    """Describe the cube as `esap-ska make-cube` takes it."""
    return {
        "seed": SEED,
        "size_pixels": SIZE,
        "channels": CHANNELS,
        "pixel_arcsec": PIXEL_ARCSEC,
        "channel_kms": CHANNEL_KMS,
        "beam_arcsec": BEAM_ARCSEC,
        "noise_mjy": NOISE_MJY,
        "target": "HCG 16 (toy)",
        "galaxies": [dict(zip(MEMBERS, galaxy, strict=True)) for galaxy in GALAXIES],
        "bridges": BRIDGES,
    }


def make_cube(program: str, directory: Path) -> Observation:
    """Make the cube; give what the lake has to know of it."""
    config, path = directory / "toy.json", directory / "hcg16_toy.fits"
    config.write_text(json.dumps(toy()))
    line = [program, "make-cube", "--config", str(config), "--output", str(path)]
    subprocess.run(line, check=True, stdout=subprocess.PIPE)
    content = path.read_bytes()
    file = SampleFile(f"{DATASET}/{path.name}", path, len(content), f"{zlib.adler32(content):08x}")
    return Observation(DATASET, metadata(), [file])


def metadata() -> dict[str, Any]:
    """Give what the lake tells of the cube: sizes in cells, widths in deg and km/s."""
    return {
        "obs_id": 16,
        "project": PROJECT,
        "target": "HCG 16 (toy)",
        "data_level": "HI-CUBE",
        "telescope": "TOY",
        "naxis1": SIZE,
        "naxis2": SIZE,
        "naxis3": CHANNELS,
        "pixel_deg": PIXEL_ARCSEC / 3600,
        "bmaj_deg": BEAM_ARCSEC / 3600,
        "channel_kms": CHANNEL_KMS,
    }
