"""How a data cube is cut into sub-cubes, one a job."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))  # of a Gaussian, in sigma
TRUNCATE = 3.0  # sigma at which the Gaussian kernels of esap-ska end
Bounds = tuple[int, int]  # first, and one after the last


@dataclass(frozen=True)
class SubCube:
    """The cells that one job is answerable for: every cell of a cube is in exactly one sub-cube."""

    index: int
    x: Bounds
    y: Bounds
    channel: Bounds

    @property
    def label(self) -> str:
        """Say in words which cells they are, counted from 0."""
        x, y, channel = (f"{low} to {high - 1}" for low, high in (self.x, self.y, self.channel))
        return f"x {x}, y {y}, channels {channel}"

    def document(self) -> dict[str, Any]:
        """Give it as JSON, as esap-ska reads it."""
        bounds = {name: list(getattr(self, name)) for name in ("x", "y", "channel")}
        return {"index": self.index, **bounds}

    def read_cells(self, shape: Sequence[int], overlap: tuple[int, int]) -> int:
        """Count the cells that its job reads, with an overlap in pixels and channels."""
        sides = zip((self.x, self.y, self.channel), (overlap[0], overlap[0], overlap[1]), shape, strict=True)
        return math.prod(min(n, high + more) - max(0, low - more) for (low, high), more, n in sides)


def cut(shape: Sequence[int], pixels: int, channels: int) -> list[SubCube]:
    """Cut a cube (x, y, channel) into as few sub-cubes as have at most so many pixels a side and channels.

    They differ by at most one cell a side. ValueError for a size below 1.
    """
    if min(*shape, pixels, channels) < 1:
        raise ValueError(
            f"shape = {tuple(shape)}, pixels = {pixels}, channels = {channels}: allowed from 1 on"
        )
    nx, ny, nz = shape
    places = product(_spans(nz, channels), _spans(ny, pixels), _spans(nx, pixels))
    return [SubCube(n, x, y, channel) for n, (channel, y, x) in enumerate(places)]


def _spans(length: int, longest: int) -> Iterator[Bounds]:
    number = math.ceil(length / longest)
    edges = [length * n // number for n in range(number + 1)]
    yield from pairwise(edges)


def least_overlap(
    spatial_kernels: Sequence[float], spectral_kernels: Sequence[int], beam_pixels: float
) -> tuple[int, int]:
    """Give how far a job has to see beyond its sub-cube, in pixels and channels.

    :param spatial_kernels: FWHM in pixels of the Gaussians. :param spectral_kernels: widths in channels of
        the boxcars. :param beam_pixels: FWHM of the beam's major axis in pixels.
    """
    reach = math.ceil(TRUNCATE * max(spatial_kernels) / FWHM)
    return max(reach, math.ceil(beam_pixels)), max(spectral_kernels) // 2
