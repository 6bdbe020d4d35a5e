"""A peak over a smooth background in a histogram."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
MIN_SIDE_BINS = 4
BACKGROUND_DEGREE = 1


@dataclass(frozen=True)
class Peak:
    """What was found: mean in GeV, entries above the background, and these over their error."""

    mean_gev: float
    entries: float
    significance: float

    def document(self) -> dict[str, float]:
        return asdict(self)


class NoPeak(ValueError):  # noqa: N818 - says what was found
    """There is nothing above the background, or not enough to tell."""


def find_peak(counts: Floats, edges: Floats, variances: Floats, low: float, high: float) -> Peak:
    """Take what is within [low, high] and above a straight line through the bins outside; NoPeak without.

    :param variances: of the bins: their contents, unless entries have weights.
    """
    centres = 0.5 * (edges[1:] + edges[:-1])
    inside = (centres >= low) & (centres <= high)
    if not inside.any() or (~inside).sum() < MIN_SIDE_BINS:
        around = f"around {low:g} to {high:g} GeV"
        raise NoPeak(f"the histogram has too few bins {around}: it is from {edges[0]:g} to {edges[-1]:g} GeV")
    if not (np.isfinite(counts).all() and np.isfinite(variances).all()):
        raise NoPeak("a bin or its error is not finite")
    line = background(counts, edges, low, high)
    above = (counts - line)[inside]
    entries, error = float(above.sum()), float(variances[inside].sum()) ** 0.5
    if entries < 1 or not error > 0:
        raise NoPeak(f"nothing is above the background from {low:g} to {high:g} GeV")
    mean = float((above * centres[inside]).sum() / entries)
    return Peak(mean, entries, entries / error)


def background(counts: Floats, edges: Floats, low: float, high: float) -> Floats:
    """Give the straight line through the bins outside [low, high], in entries a bin."""
    centres = 0.5 * (edges[1:] + edges[:-1])
    side = (centres < low) | (centres > high)
    found: Floats = np.polyval(np.polyfit(centres[side], counts[side], BACKGROUND_DEGREE), centres)
    return found


def read_histogram(histogram: Any) -> tuple[Floats, Floats, Floats]:
    """Give contents, edges and variances of uproot's histogram, without under- and overflow."""
    counts, edges = histogram.to_numpy()
    of_bins = (counts, edges, histogram.variances())
    contents, places, variances = (np.asarray(values, dtype=float) for values in of_bins)
    return contents, places, variances
