"""What is found in one sub-cube, as a file: the cells with signal, and what they make by themselves.

The overlap is read, so that smoothing knows its surroundings, and not kept: each cell is in one part only.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from esap_fits.reading import PayloadError
from esap_fits.storing import write_fits
from scipy import ndimage

from . import CREATOR
from .arrays import Box, Cells, Floats
from .cube import open_cube
from .detect import UNSMOOTHED, grown, inner, kernels_of, noise_levels, signal_mask
from .geometry import Geometry, geometry_of
from .settings import box_of, finding_digest, overlap_of, read_settings

log = logging.getLogger(__name__)
PART = "HI-PART"
CELLS, SOURCES, GEOMETRY = "CELLS", "SOURCES", "GEOMETRY"  # tables, and the header of the whole cube
TOUCHING = ndimage.generate_binary_structure(3, 3)  # cells that share a corner belong together
BOUNDS = ("X0", "X1", "Y0", "Y1", "Z0", "Z1")


@dataclass(frozen=True)
class Part:
    """Cells with signal of one sub-cube. `bounds` and `shape` are x, y, channel; flux in Jy/beam."""

    name: str
    bounds: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    shape: tuple[int, int, int]
    noise: float
    digest: str
    geometry: Geometry
    x: Cells
    y: Cells
    channel: Cells
    flux: Floats


def find(config: Path, index: int, output: Path) -> None:
    """Find the cells with signal in one sub-cube and write them; PayloadError when it cannot be done."""
    settings = read_settings(config)
    cube = open_cube(Path(settings["cube"]))
    box, overlap = box_of(settings, index, cube), overlap_of(settings)
    kernels, shape = kernels_of(settings), cube.geometry.shape
    own, *noise = noise_levels(cube, [UNSMOOTHED, *kernels])
    outer, begin = grown(box, overlap, shape)
    cells = cube.read(outer)
    mask = np.asarray(inner(signal_mask(cells, kernels, noise, settings["threshold_sigma"]), begin, box))
    flux = np.asarray(inner(cells, begin, box), dtype=float)
    hdus = _hdus(mask, flux, box)
    hdus.append(fits.ImageHDU(header=cube.geometry.cards, name=GEOMETRY))
    head = hdus[0].header
    _fill(head, settings, box, shape, own, index)
    write_fits(hdus, output, settings["date"])
    log.info(
        "sub-cube %d: %d of %d cells with signal, %d pieces",
        index, int(mask.sum()), mask.size, len(hdus[SOURCES].data),
    )  # fmt: skip


def _hdus(mask: Any, flux: Floats, box: Box) -> fits.HDUList:
    labels, number = ndimage.label(mask, structure=TOUCHING)
    z, y, x = np.nonzero(mask)
    label, values = labels[mask].astype(np.int64), flux[mask]
    x, y, z = x + box[0].start, y + box[1].start, z + box[2].start
    columns = [
        fits.Column("X", "J", array=x),
        fits.Column("Y", "J", array=y),
        fits.Column("CHANNEL", "J", array=z),
        fits.Column("FLUX", "D", unit="Jy/beam", array=values),
        fits.Column("LABEL", "J", array=label),
    ]
    count = np.bincount(label, minlength=number + 1)[1:]
    pieces = [
        fits.Column("LABEL", "J", array=np.arange(1, number + 1)),
        fits.Column("N_CELLS", "J", array=count),
        *(
            fits.Column(name, "D", unit=unit, array=np.bincount(label, place, number + 1)[1:] / count)
            for name, unit, place in (("X", "pix", x), ("Y", "pix", y), ("CHANNEL", "chan", z))
        ),
        fits.Column("SUM", "D", unit="Jy/beam", array=np.bincount(label, values, number + 1)[1:]),
    ]
    tables = [
        fits.BinTableHDU.from_columns(columns, name=CELLS),
        fits.BinTableHDU.from_columns(pieces, name=SOURCES),
    ]
    return fits.HDUList([fits.PrimaryHDU(), *tables])


def _fill(
    head: fits.Header,
    settings: Mapping[str, Any],
    box: Box,
    shape: tuple[int, int, int],
    noise: float,
    index: int,
) -> None:
    head["CREATOR"] = CREATOR
    head["TELESCOP"] = ("TOY", "toy data, no telescope")
    head["KIND"] = (PART, "cells with signal of a sub-cube")
    head["SUBCUBE"] = (index, "number of the sub-cube")
    head["FINDING"] = (finding_digest(settings), "digest of kernels and threshold")
    head["NOISE"] = (noise, "[Jy/beam] noise of the whole cube")
    for key, length in zip(("NX", "NY", "NZ"), shape, strict=True):
        head[key] = (length, "size of the whole cube")
    for key, value in zip(BOUNDS, [v for part in box for v in (part.start, part.stop)], strict=True):
        head[key] = (value, "sub-cube: first, one after last")


def read_part(path: Path) -> Part:
    """Read a part; PayloadError when it is none."""
    try:
        with fits.open(path) as hdus:
            head, table = hdus[0].header, hdus[CELLS].data
            low_high = [int(head[k]) for k in BOUNDS]
            shape = (int(head["NX"]), int(head["NY"]), int(head["NZ"]))
            return Part(
                name=path.name,
                bounds=((low_high[0], low_high[1]), (low_high[2], low_high[3]), (low_high[4], low_high[5])),
                shape=shape,
                noise=float(head["NOISE"]),
                digest=str(head["FINDING"]),
                geometry=geometry_of(hdus[GEOMETRY].header, shape, str(path)),
                x=np.array(table["X"], dtype=np.int64),
                y=np.array(table["Y"], dtype=np.int64),
                channel=np.array(table["CHANNEL"], dtype=np.int64),
                flux=np.array(table["FLUX"], dtype=np.float64),
            )
    except (OSError, KeyError, ValueError) as error:
        raise PayloadError(f"{path}: it is no part of a search: {type(error).__name__}: {error}") from error
