"""Puts parts together: every cell of the cube once, and pieces that touch across borders as one source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from esap_fits.reading import PayloadError
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .arrays import Cells, Floats
from .parts import Part

FORWARD = [o for o in product((-1, 0, 1), repeat=3) if o > (0, 0, 0)]  # half of the 26 neighbours


@dataclass(frozen=True)
class Signal:
    """Cells with signal of a whole cube, in the order of their places. `source` counts from 0."""

    x: Cells
    y: Cells
    channel: Cells
    flux: Floats
    source: Cells
    noise: float
    number: int

    def only(self, sources: Cells) -> Signal:
        """Keep some sources, numbered in the order in which they are given."""
        rank = np.full(self.number, -1, dtype=np.int64)
        rank[sources] = np.arange(len(sources))
        kept = rank[self.source] >= 0
        places = (self.x[kept], self.y[kept], self.channel[kept])
        return Signal(*places, self.flux[kept], rank[self.source[kept]], self.noise, len(sources))


def unite(parts: Sequence[Part], digest: str) -> Signal:
    """Put parts together; PayloadError unless they cover the cube, each cell once, and were made alike."""
    shape = parts[0].shape
    problems = [*_strangers(parts, shape, digest), *_coverage(parts, shape)]
    if problems:
        raise PayloadError("\n".join(problems))
    x, y, channel = (np.concatenate([getattr(p, name) for p in parts]) for name in ("x", "y", "channel"))
    flux = np.concatenate([p.flux for p in parts])
    order = np.lexsort((x, y, channel))
    x, y, channel, flux = x[order], y[order], channel[order], flux[order]
    source, number = _components(x, y, channel, shape)
    return Signal(x, y, channel, flux, source, parts[0].noise, number)


def _strangers(parts: Sequence[Part], shape: tuple[int, int, int], digest: str) -> list[str]:
    problems = [f"{p.name}: it is of a cube of {p.shape}: allowed {shape}" for p in parts if p.shape != shape]
    first = parts[0].geometry.cards
    problems += [
        f"{p.name}: it is of another cube than {parts[0].name}: their headers differ"
        for p in parts
        if p.geometry.cards != first
    ]
    problems += [
        f"{p.name}: other kernels or another threshold made it: its digest is {p.digest}, allowed {digest}"
        for p in parts
        if p.digest != digest
    ]
    levels = {p.noise for p in parts}
    if len(levels) > 1:
        problems.append(f"noise = {sorted(levels)}: allowed is one value, since the parts are of one cube")
    return problems


def _coverage(parts: Sequence[Part], shape: tuple[int, int, int]) -> list[str]:
    """Compare volumes and look for pairs that overlap: together that is every cell once."""
    volume = sum(int(np.prod([high - low for low, high in p.bounds])) for p in parts)
    whole = int(np.prod(shape))
    problems = (
        [f"the parts have {volume} cells together: allowed {whole}, each once"] if volume != whole else []
    )
    for n, one in enumerate(parts):
        for other in parts[n + 1 :]:
            if all(a[0] < b[1] and b[0] < a[1] for a, b in zip(one.bounds, other.bounds, strict=True)):
                problems.append(f"{one.name} and {other.name} share cells")
    for p in parts:
        inside = True
        for values, (low, high) in zip((p.x, p.y, p.channel), p.bounds, strict=True):
            inside &= bool(((values >= low) & (values < high)).all())
        if not inside:
            problems.append(f"{p.name}: it has cells outside of its sub-cube")
    return problems


def _components(x: Cells, y: Cells, channel: Cells, shape: tuple[int, int, int]) -> tuple[Any, int]:
    """Label cells that touch, also by a corner."""
    if not len(x):
        return np.zeros(0, dtype=np.int64), 0
    # A border of one cell, so that the last of a row does not touch the first of the next.
    width, height = shape[0] + 2, shape[1] + 2
    place = (channel + 1) * width * height + (y + 1) * width + (x + 1)
    rows, columns = [], []
    for dz, dy, dx in FORWARD:
        wanted = place + dz * width * height + dy * width + dx
        at = np.minimum(np.searchsorted(place, wanted), len(place) - 1)
        there = np.flatnonzero(place[at] == wanted)
        rows.append(there)
        columns.append(at[there])
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array((np.ones(len(row), dtype=np.int8), (row, column)), shape=(len(x), len(x)))
    number, labels = connected_components(graph, directed=False)
    return np.asarray(labels, dtype=np.int64), int(number)
