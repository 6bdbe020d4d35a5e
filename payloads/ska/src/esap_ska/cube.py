"""HI data cubes on disk: reading of a part without the rest."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from esap_fits.reading import PayloadError

from .arrays import Box, Floats
from .geometry import Geometry, geometry_of


@dataclass(frozen=True)
class Cube:
    """A cube on disk."""

    path: Path
    geometry: Geometry

    def read(self, box: Box) -> Floats:
        """Read a part: an array by channel, y, x; cells without a value are NaN."""
        x, y, channel = box
        with fits.open(self.path, mode="readonly", memmap=True) as hdus:
            beyond = [slice(0, 1)] * (len(hdus[0].shape) - 2)  # axes of length 1 but for the channels
            beyond[self.geometry.spectral - 2] = channel
            part = np.array(hdus[0].section[(*reversed(beyond), y, x)], dtype=np.float64)
        part = part.reshape(-1, *part.shape[-2:])
        part[~np.isfinite(part)] = np.nan
        return part


def open_cube(path: Path) -> Cube:
    """Read a cube's header; PayloadError names everything in it that cannot be used."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyUserWarning)
            with fits.open(path, mode="readonly", memmap=True) as hdus:
                header = hdus[0].header.copy()
                shape = tuple(reversed(hdus[0].shape))
    except Exception as error:  # on damaged headers astropy raises nearly anything
        raise PayloadError(f"{path}: it cannot be read as FITS: {type(error).__name__}: {error}") from error
    return Cube(path, geometry_of(header, shape, str(path)))
