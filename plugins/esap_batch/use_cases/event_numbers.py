"""How many showers to simulate so that every bin of a response is known well enough.

Source: simtools' event scaling. With p_ij the share of all thrown showers that trigger in offset band i and
energy bin j, the relative uncertainty of a bin is 1/sqrt(N p_ij); N = max_ij 1/(delta^2 p_ij).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise


def energy_edges(low: float, high: float, per_decade: int) -> list[float]:
    """Divide [low, high] into equal logarithmic bins, none narrower than 1/per_decade of a decade."""
    bins = max(1, math.floor(per_decade * math.log10(high / low) + 1e-9))
    return [low * (high / low) ** (k / bins) for k in range(bins)] + [high]


def power_law_fractions(edges: Sequence[float], index: float, thrown: tuple[float, float]) -> list[float]:
    """Share of showers thrown as E^index over `thrown` that falls into each bin."""
    total = _power_law_integral(*thrown, index)
    return [_power_law_integral(low, high, index) / total for low, high in pairwise(edges)]


def _power_law_integral(low: float, high: float, index: float) -> float:
    power, width = index + 1, math.log(high / low)
    # expm1, since the difference of the two powers is lost in rounding where the index is close to -1.
    return width if power == 0 else low**power * math.expm1(power * width) / power


def triggered_shares(
    edges: Sequence[float], index: float, efficiency: Sequence[Sequence[float]], thrown: tuple[float, float]
) -> list[list[float]]:
    """Give p_ij: `efficiency` has a row for each offset band, a column for each energy bin.

    Entries are triggered in band and bin over thrown in the bin at any offset.
    """
    fractions = power_law_fractions(edges, index, thrown)
    return [[e * w for e, w in zip(row, fractions, strict=True)] for row in efficiency]


def required_events(shares: Sequence[Sequence[float]], uncertainty: float) -> float:
    """Give how many showers to throw, rounded up, for a relative uncertainty in every bin.

    Infinity when a bin never triggers. ValueError without bins.
    """
    lowest = min(p for row in shares for p in row)
    events = 1 / uncertainty**2 / lowest if lowest > 0 else math.inf
    return math.ceil(events) if math.isfinite(events) else math.inf


def interpolated(energy: float, centres: Sequence[float], values: Sequence[float]) -> float:
    """Give a value at an energy, from a table along straight lines in log-log; never above its last value.

    Below the first centre the first slope goes on. 0 where the table has 0 on either side.
    """
    upper = next((k for k in range(1, len(centres)) if energy <= centres[k]), None)
    if upper is None:
        return values[-1]
    low, high = values[upper - 1], values[upper]
    if low <= 0 or high <= 0:
        return 0.0
    slope = math.log(high / low) / math.log(centres[upper] / centres[upper - 1])
    return float(low * (energy / centres[upper - 1]) ** slope)


def split_evenly(total: int, parts: int) -> list[int]:
    """Divide a number into parts that differ by at most one."""
    share, rest = divmod(total, parts)
    return [share + 1] * rest + [share] * (parts - rest)
