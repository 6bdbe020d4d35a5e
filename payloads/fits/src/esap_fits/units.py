"""Units of table columns: files may have other ones than this project computes with."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u

from .detector import Floats


def scale_to(hdu: Any, name: str, unit: str) -> float | None:
    """Give the factor from a column's unit to another; None when there is none."""
    try:
        return float(u.Unit(hdu.columns[name].unit or "").to(u.Unit(unit)))
    except (u.UnitConversionError, ValueError):
        return None


def column(hdu: Any, name: str, unit: str) -> Floats:
    """Give a column in a unit.

    Raises:
        KeyError: there is no such column.
        ValueError: its unit is missing or of another kind.

    """
    scale = scale_to(hdu, name, unit)
    if scale is None:
        raise ValueError(
            f"{name} is in {hdu.columns[name].unit!r}: allowed is what converts to {unit or '1'}"
        )
    return np.asarray(hdu.data[name], dtype=float) * scale
