"""From cells to sources and maps: the catalogue's numbers, and moments 0, 1 and 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .arrays import Floats
from .geometry import Geometry
from .unite import Signal

KIND_MAPS, KIND_MASK = "HI-MAPS", "HI-MASK"  # what a file says that it is
UNITS = {"MOMENT0": "Jy/beam km/s", "MOMENT1": "km/s", "MOMENT2": "km/s"}
# Column: unit, UCD, description.
COLUMNS: Mapping[str, tuple[str, str, str]] = {
    "id": ("", "meta.id;meta.main", "number, by falling flux"),
    "name": ("", "meta.id", "name by position, ICRS"),
    "ra": ("deg", "pos.eq.ra;meta.main", "right ascension, ICRS, weighted by flux"),
    "dec": ("deg", "pos.eq.dec;meta.main", "declination, ICRS, weighted by flux"),
    "v_rad": ("km/s", "spect.dopplerVeloc.radio", "velocity, radio convention, weighted by flux"),
    "v_min": ("km/s", "spect.dopplerVeloc.radio;stat.min", "lowest velocity"),
    "v_max": ("km/s", "spect.dopplerVeloc.radio;stat.max", "highest velocity"),
    "f_sum": ("Jy km/s", "phot.flux;em.line", "flux, summed over position and velocity"),
    "f_sum_err": ("Jy km/s", "stat.error;phot.flux;em.line", "error of the flux by the noise alone"),
    "f_max": ("Jy/beam", "phot.flux.density;stat.max", "highest flux density"),
    "n_cells": ("", "meta.number", "cells of the cube"),
    "n_pix": ("", "meta.number;instr.pixel", "pixels on the sky"),
    "n_chan": ("", "meta.number;spect.binSize", "channels"),
}


@dataclass(frozen=True)
class Least:
    """How large a source must be, in cells, pixels and channels."""

    cells: int
    pixels: int
    channels: int


def reliable(signal: Signal, least: Least) -> Signal:
    """Leave out what is too small or adds up to no flux; order sources by falling flux."""
    if not signal.number:
        return signal
    total = np.bincount(signal.source, signal.flux, signal.number)
    pixels, channels = extents(signal)
    kept = np.bincount(signal.source, minlength=signal.number) >= least.cells
    kept &= (pixels >= least.pixels) & (channels >= least.channels) & (total > 0)
    chosen = np.flatnonzero(kept)
    return signal.only(chosen[np.argsort(-total[chosen], kind="stable")])


def extents(signal: Signal) -> tuple[Any, Any]:
    """Count the pixels and the channels of each source."""
    sky = np.unique(np.stack([signal.source, signal.y, signal.x]), axis=1)
    spectrum = np.unique(np.stack([signal.source, signal.channel]), axis=1)
    pixels, channels = (np.bincount(one[0], minlength=signal.number) for one in (sky, spectrum))
    return pixels, channels


def catalogue(signal: Signal, geometry: Geometry) -> dict[str, Any]:
    """Give the columns of the catalogue, in the units of `COLUMNS`."""
    number, source, flux = signal.number, signal.source, signal.flux
    width, beam = geometry.widths[signal.channel], geometry.beam_pixels
    weight = np.maximum(flux, 0.0)  # a centre weighted with negative numbers can lie outside
    sums = np.bincount(source, weight, number)
    x, y, z = (np.bincount(source, weight * p, number) / sums for p in (signal.x, signal.y, signal.channel))
    ra, dec = geometry.position(x, y)
    cells = np.bincount(source, minlength=number)
    pixels, channels = extents(signal) if number else (cells, cells)
    velocity = geometry.velocity(signal.channel.astype(float))
    low, high, peak = np.full(number, np.inf), np.full(number, -np.inf), np.full(number, -np.inf)
    np.minimum.at(low, source, velocity)
    np.maximum.at(high, source, velocity)
    np.maximum.at(peak, source, flux)
    return {
        "id": np.arange(1, number + 1),
        "name": [_name(*place) for place in zip(ra, dec, strict=True)],
        "ra": ra,
        "dec": dec,
        "v_rad": geometry.velocity(z),
        "v_min": low,
        "v_max": high,
        "f_sum": np.bincount(source, flux * width, number) / beam,
        "f_sum_err": signal.noise * np.sqrt(np.bincount(source, width**2, number) / beam),
        "f_max": peak,
        "n_cells": cells,
        "n_pix": pixels,
        "n_chan": channels,
    }


def _name(ra: float, dec: float) -> str:
    """Name a source by its place, cut and not rounded, as the IAU wants it."""
    hours, degrees = ra / 15, abs(dec)
    ra_text = f"{int(hours):02d}{int(hours * 60 % 60):02d}{int(hours * 3600 % 60):02d}"
    dec_text = f"{int(degrees):02d}{int(degrees * 60 % 60):02d}{int(degrees * 3600 % 60):02d}"
    return f"HITOY J{ra_text}{'-' if dec < 0 else '+'}{dec_text}"


def moments(signal: Signal, geometry: Geometry) -> dict[str, Floats]:
    """Give maps by y, x: flux in Jy/beam km/s, mean velocity and its dispersion in km/s.

    Pixels without signal are 0 in the first and without a value in the others, where only cells above 0
    count: with negative weights a mean can lie outside of its values.
    """
    nx, ny, _ = geometry.shape
    place = signal.y * nx + signal.x
    velocity = geometry.velocity(signal.channel.astype(float))
    zeroth = np.bincount(place, signal.flux * geometry.widths[signal.channel], nx * ny)
    weight = np.maximum(signal.flux, 0.0)
    sums = np.bincount(place, weight, nx * ny)
    known = sums > 0
    first, second = np.full(nx * ny, np.nan), np.full(nx * ny, np.nan)
    first[known] = np.bincount(place, weight * velocity, nx * ny)[known] / sums[known]
    offset = (velocity - np.where(known, first, 0.0)[place]) ** 2
    second[known] = np.sqrt(np.bincount(place, weight * offset, nx * ny)[known] / sums[known])
    maps = {"MOMENT0": zeroth, "MOMENT1": first, "MOMENT2": second}
    return {name: values.reshape(ny, nx) for name, values in maps.items()}
