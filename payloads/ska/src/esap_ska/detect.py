"""Smooth and clip: which cells of a cube hold signal, as SoFiA does it (Serra et al. 2015, MNRAS 448, 1922).

Whether a cell is taken depends on the cells within the reach of the kernels, and on the noise of the whole
cube, which is measured on the same few blocks whatever part is looked at: so the result does not depend on
how a cube is cut.

Cells without a value (blank, as outside of a primary beam) are never taken and are no sample of the noise.
Kernels see 0 there, as in SoFiA, and beyond the cube's edges: near a border the noise is then smaller, never
larger, than elsewhere. A mean over the known cells alone would have 10 times as many false cells there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from esap_fits.reading import PayloadError
from scipy import ndimage

from .arrays import Box, Floats
from .cube import Cube

FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))  # of a Gaussian, in sigma
TRUNCATE = 3.0  # sigma at which the Gaussian kernel ends
MAD_TO_SIGMA = 1.482602218505602
BLOCKS, BLOCK = (3, 3, 2), (16, 16, 16)  # number and size in cells of the blocks for the noise, by axis
LEAST_CELLS = 100  # with a value in all blocks, for a noise that means something


@dataclass(frozen=True)
class Kernel:
    """A Gaussian on the sky, `pixels` its FWHM, and a boxcar of so many `channels` (odd); 0 smooths not."""

    pixels: float
    channels: int

    @property
    def sigma(self) -> float:
        return self.pixels / FWHM

    @property
    def reach(self) -> tuple[int, int]:
        """How far a cell's value depends on others, in pixels and channels."""
        return math.ceil(TRUNCATE * self.sigma), self.channels // 2

    def smooth(self, cells: Floats) -> Floats:
        """Smooth an array by channel, y, x; outside of it, and where it is NaN, everything is 0.

        What was NaN is NaN afterwards.
        """
        radius, half = self.reach
        blank = np.isnan(cells)
        cells = np.where(blank, 0.0, cells)
        if radius:
            weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / self.sigma) ** 2)
            for axis in (1, 2):
                cells = ndimage.correlate1d(cells, weights / weights.sum(), axis=axis, mode="constant")
        if half:
            weights = np.full(2 * half + 1, 1.0 / (2 * half + 1))
            cells = ndimage.correlate1d(cells, weights, axis=0, mode="constant")
        cells[blank] = np.nan
        return cells


UNSMOOTHED = Kernel(0.0, 0)


def kernels_of(settings: Mapping[str, Sequence[float]]) -> list[Kernel]:
    """Give all pairs of a configuration's `spatial_kernels` (pixels) and `spectral_kernels` (channels)."""
    pairs = product(settings["spatial_kernels"], settings["spectral_kernels"])
    return [Kernel(float(pixels), int(channels)) for pixels, channels in pairs]


def reach_of(kernels: Sequence[Kernel]) -> tuple[int, int]:
    """Give how far the largest kernels reach, in pixels and channels."""
    return max(k.reach[0] for k in kernels), max(k.reach[1] for k in kernels)


def grown(box: Box, margin: tuple[int, int], shape: tuple[int, int, int]) -> tuple[Box, tuple[int, int, int]]:
    """Give a box with a margin in pixels and channels, cut at the cube's edges; and where the box begins."""
    margins = (margin[0], margin[0], margin[1])
    lows = tuple(max(0, s.start - m) for s, m in zip(box, margins, strict=True))
    highs = tuple(min(n, s.stop + m) for s, m, n in zip(box, margins, shape, strict=True))
    x, y, z = (slice(low, high) for low, high in zip(lows, highs, strict=True))
    begin = tuple(s.start - low for s, low in zip(box, lows, strict=True))
    return (x, y, z), (begin[0], begin[1], begin[2])


def inner(cells: npt.NDArray[np.generic], begin: tuple[int, int, int], box: Box) -> npt.NDArray[np.generic]:
    """Give of an array by channel, y, x the part that `box` is of it."""
    x, y, z = (slice(b, b + s.stop - s.start) for b, s in zip(begin, box, strict=True))
    return cells[z, y, x]


def blocks_of(shape: tuple[int, int, int]) -> list[Box]:
    """Give the blocks on which the noise is measured: in the middle of equal parts of the cube.

    Blocks at the edges would be lost to cubes that are blank outside of a circle.
    """
    x, y, z = (_spread(*one) for one in zip(shape, BLOCKS, BLOCK, strict=True))
    return list(product(x, y, z))


def _spread(length: int, number: int, size: int) -> list[slice]:
    size = min(size, length)
    number = min(number, length // size)
    starts = [int((n + 0.5) * length / number - size / 2) for n in range(number)]
    return [slice(start, start + size) for start in starts]


def noise_levels(cube: Cube, kernels: Sequence[Kernel]) -> list[float]:
    """Measure the noise after each kernel, in Jy/beam: median absolute deviation over all blocks.

    PayloadError when there is none, or too few cells of the blocks have a value.
    """
    samples: list[list[Floats]] = [[] for _ in kernels]
    shape, reach = cube.geometry.shape, reach_of(kernels)
    for box in blocks_of(shape):
        outer, begin = grown(box, reach, shape)
        cells = cube.read(outer)
        for sample, kernel in zip(samples, kernels, strict=True):
            values = np.asarray(inner(kernel.smooth(cells), begin, box), dtype=float)
            sample.append(values[np.isfinite(values)])
    known = sum(map(len, samples[0]))
    if known < LEAST_CELLS:
        raise PayloadError(
            f"{cube.path}: {known} cells have a value where the noise is measured: "
            f"allowed at least {LEAST_CELLS}"
        )
    levels = [_robust_sigma(np.concatenate(sample)) for sample in samples]
    if not all(level > 0 for level in levels):
        raise PayloadError(f"{cube.path}: it has no noise, so that no threshold can be told")
    return levels


def _robust_sigma(values: Floats) -> float:
    return float(MAD_TO_SIGMA * np.median(np.abs(values - np.median(values))))


def signal_mask(
    cells: Floats, kernels: Sequence[Kernel], noise: Sequence[float], threshold: float
) -> npt.NDArray[np.bool_]:
    """Take the cells that have a value and are above `threshold` times the noise after any of the kernels."""
    mask = np.zeros(cells.shape, dtype=bool)
    for kernel, level in zip(kernels, noise, strict=True):
        mask |= kernel.smooth(cells) > threshold * level
    return mask
