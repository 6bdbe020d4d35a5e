"""Flux points of a source from on and off counts.

A bin's flux is that of the reference spectrum times excess over expected counts, so that what the detector
does to energies is accounted for as far as the reference is like the source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from .counting import interval, li_ma, upper_limit
from .detector import Floats
from .dl3 import put_cards
from .response import reference_flux
from .storing import write_fits

FLUX = "cm-2 s-1 TeV-1"
COLUMNS: Mapping[str, tuple[str, str | None]] = {
    "e_ref": ("D", "TeV"),
    "e_min": ("D", "TeV"),
    "e_max": ("D", "TeV"),
    "dnde": ("D", FLUX),
    "dnde_errn": ("D", FLUX),
    "dnde_errp": ("D", FLUX),
    "dnde_ul": ("D", FLUX),
    "is_ul": ("L", None),
    "sqrt_ts": ("D", None),
    "n_on": ("D", None),
    "n_off": ("D", None),
    "alpha": ("D", None),
    "npred": ("D", None),
}
LEAST_SIGNIFICANCE = 2.0  # below it a point is an upper limit
LEAST_COUNTS = 1.0  # that the reference lets expect; with less nothing can be said


@dataclass(frozen=True)
class FluxPoint:
    """One energy bin: TeV and 1/(cm2 s TeV); errors at 68 %, `dnde_ul` at 95 %; nan where unknown."""

    e_ref: float
    e_min: float
    e_max: float
    dnde: float
    dnde_errn: float
    dnde_errp: float
    dnde_ul: float
    is_ul: bool
    sqrt_ts: float
    n_on: float
    n_off: float
    alpha: float
    npred: float


def flux_points(
    edges: Floats, n_on: Floats, n_off: Floats, alpha: Floats, expected: Floats
) -> list[FluxPoint]:
    """Make the points of all bins in which the reference spectrum lets expect at least a count."""
    rows = zip(pairwise(edges.tolist()), *(v.tolist() for v in (n_on, n_off, alpha, expected)), strict=True)
    return [_point(bounds, *values) for bounds, *values in rows if values[-1] >= LEAST_COUNTS]


def _point(
    bounds: tuple[float, float], n_on: float, n_off: float, alpha: float, expected: float
) -> FluxPoint:
    e_ref = float(np.sqrt(bounds[0] * bounds[1]))
    scale = float(reference_flux(np.array(e_ref))) / expected
    excess = n_on - alpha * n_off
    low, high = interval(n_on, n_off, alpha)
    significance = float(np.nan_to_num(li_ma(np.array(n_on), np.array(n_off), np.array(alpha))))
    return FluxPoint(
        e_ref,
        *bounds,
        dnde=excess * scale,
        dnde_errn=(max(excess, 0.0) - low) * scale,
        dnde_errp=(high - max(excess, 0.0)) * scale,
        dnde_ul=upper_limit(n_on, n_off, alpha) * scale,
        is_ul=significance < LEAST_SIGNIFICANCE,
        sqrt_ts=significance,
        n_on=n_on,
        n_off=n_off,
        alpha=alpha,
        npred=expected,
    )


def write_spectrum(
    points: Sequence[FluxPoint], path: Path, cards: dict[str, tuple[Any, str]], date: str
) -> None:
    """Write flux points as a table that gammapy reads (SED_TYPE dnde)."""
    rows = [asdict(p) for p in points]
    columns = [
        fits.Column(n, form, unit, array=np.array([r[n] for r in rows]))
        for n, (form, unit) in COLUMNS.items()
    ]
    table = fits.BinTableHDU.from_columns(columns, name="FLUXPOINTS")
    put_cards(
        table.header, {"SED_TYPE": ("dnde", "differential flux"), "UL_CONF": (0.95, "of dnde_ul")} | cards
    )
    write_fits(fits.HDUList([fits.PrimaryHDU(), table]), path, date)
