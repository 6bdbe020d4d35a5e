"""Statistics of on and off counts.

Source: Li & Ma 1983 (ApJ 272, 317), formula 17, and the same likelihood with the background profiled out.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq

from .detector import Floats

ONE_SIGMA, UPPER_95 = 1.0, 2.706  # rises of the statistic: two-sided 68 %, one-sided 95 %


def li_ma(n_on: Floats, n_off: Floats, alpha: Floats) -> Floats:
    """Significance in standard deviations, negative for a deficit, nan without any counts; elementwise."""
    on, off, scale = np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in (n_on, n_off, alpha)))
    with np.errstate(divide="ignore", invalid="ignore"):
        total = on + off
        first = np.where(on > 0, on * np.log((1 + scale) / scale * on / total), 0.0)
        second = np.where(off > 0, off * np.log((1 + scale) * off / total), 0.0)
        size = np.sqrt(np.maximum(2 * (first + second), 0.0))
        signed = np.where(on >= scale * off, size, -size)
    return np.asarray(np.where((total > 0) & (scale > 0), signed, np.nan))


def statistic(signal: float, n_on: float, n_off: float, alpha: float) -> float:
    """Give -2 ln L of `signal` counts in the on region, with the best background; 0 is a perfect fit."""
    if n_off == 0 and alpha <= 0:
        background = 0.0
    else:
        c = alpha * (n_on + n_off) - (1 + alpha) * signal
        root = math.sqrt(c * c + 4 * alpha * (1 + alpha) * n_off * signal)
        background = max(0.0, (c + root) / (2 * alpha * (1 + alpha)))
    return 2 * (_poisson(n_on, signal + alpha * background) + _poisson(n_off, background))


def _poisson(counts: float, mean: float) -> float:
    if counts == 0:
        return mean
    return math.inf if mean <= 0 else mean - counts + counts * math.log(counts / mean)


def interval(n_on: float, n_off: float, alpha: float) -> tuple[float, float]:
    """Give the bounds of the signal counts at 68 %; the lower one is never below 0."""
    best = max(0.0, n_on - alpha * n_off)
    floor = statistic(best, n_on, n_off, alpha)

    def rise(signal: float) -> float:
        return statistic(signal, n_on, n_off, alpha) - floor - ONE_SIGMA

    lower = 0.0 if best == 0 or rise(0.0) <= 0 else brentq(rise, 0.0, best)
    return float(lower), _above(rise, best, n_on)


def upper_limit(n_on: float, n_off: float, alpha: float) -> float:
    """Give the signal counts that are exceeded with 5 % probability only."""
    best = max(0.0, n_on - alpha * n_off)
    floor = statistic(best, n_on, n_off, alpha)
    return _above(lambda s: statistic(s, n_on, n_off, alpha) - floor - UPPER_95, best, n_on)


def _above(rise: Callable[[float], float], best: float, n_on: float) -> float:
    step = 10 + 5 * math.sqrt(n_on)
    top = best + step
    while rise(top) < 0:
        top += step
    return float(brentq(rise, best, top))
