"""Sky maps of excess and significance, with the background from a ring around each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from scipy.signal import fftconvolve

from .analyse import toy_cards
from .counting import li_ma
from .detector import Floats
from .dl3 import put_cards
from .geometry import Geometry
from .storing import write_fits

MAPS = ("COUNTS", "BACKGROUND", "EXCESS", "SIGNIFICANCE")
RING_INNER, RING_WIDTH, LEAST_INNER = 2.5, 0.3, 0.35  # in on radii, deg, deg
LEAST_ACCEPTANCE = 1e-6  # of the largest: what is less counts as outside the field of view


@dataclass(frozen=True)
class SkyMaps:
    """Maps of shape (pixels, pixels), nan where nothing is known.

    `counts` are events a pixel; the others are of a disc of the on region's radius around each pixel.
    """

    geometry: Geometry
    counts: Floats
    background: Floats
    excess: Floats
    significance: Floats


def ring_maps(geometry: Geometry, counts: Floats, acceptance: Floats) -> SkyMaps:
    """Estimate the background of each pixel from a ring around it, the source left out."""
    inner = max(RING_INNER * geometry.on_radius, LEAST_INNER)
    source = geometry.offsets < inner
    disc = _kernel(geometry, 0.0, geometry.on_radius)
    ring = _kernel(geometry, inner, inner + RING_WIDTH)
    kept = np.where(source, 0.0, 1.0)
    n_on, a_on = np.rint(_smeared(counts, disc)), _smeared(acceptance, disc)
    n_off, a_off = np.rint(_smeared(counts * kept, ring)), _smeared(acceptance * kept, ring)
    floor = LEAST_ACCEPTANCE * max(float(a_on.max()), 1e-300)
    seen = (a_on > floor) & (a_off > floor)
    alpha = np.where(seen, a_on / np.where(seen, a_off, 1.0), np.nan)
    background = alpha * n_off
    return SkyMaps(
        geometry,
        counts,
        background,
        n_on - background,
        np.where(seen, li_ma(n_on, n_off, np.where(seen, alpha, 1.0)), np.nan),
    )


def _kernel(geometry: Geometry, inner_deg: float, outer_deg: float) -> Floats:
    reach = int(np.ceil(outer_deg / geometry.pixel_deg))
    steps = np.arange(-reach, reach + 1) * geometry.pixel_deg
    distance = np.hypot(*np.meshgrid(steps, steps))
    inside = (distance >= inner_deg) & (distance <= outer_deg)
    if not inside.any():  # a pixel larger than the region
        inside[reach, reach] = True
    return inside.astype(float)


def _smeared(image: Floats, kernel: Floats) -> Floats:
    """Sum an image over a kernel; what the transform leaves below 0 is rounding."""
    return np.maximum(_same(fftconvolve(image, kernel, mode="full"), image.shape, kernel.shape), 0.0)


def _same(full: Floats, shape: tuple[int, ...], kernel: tuple[int, ...]) -> Floats:
    """Cut the middle out: scipy's mode `same` gives the kernel's shape where that is the larger one."""
    start = [(k - 1) // 2 for k in kernel]
    return np.asarray(full[start[0] : start[0] + shape[0], start[1] : start[1] + shape[1]])


def write_skymap(maps: SkyMaps, path: Path, cards: dict[str, tuple[Any, str]], date: str) -> None:
    """Write the four maps as images of one FITS file."""
    hdus = fits.HDUList([fits.PrimaryHDU()])
    for name in MAPS:
        values = getattr(maps, name.lower())
        image = fits.ImageHDU(values.astype(np.int32 if name == "COUNTS" else np.float32), name=name)
        put_cards(image.header, maps.geometry.cards | toy_cards(maps.geometry) | cards)
        image.header["BUNIT"] = "" if name == "SIGNIFICANCE" else "count"
        hdus.append(image)
    write_fits(hdus, path, date)
