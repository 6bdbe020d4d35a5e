"""A product in terms of IVOA's ObsCore, so that a TAP service can be filled from the lake's metadata.

Source: Observation Data Model Core Components 1.1 (2017), table 1: positions in deg (ICRS), times as MJD,
here in UTC, wavelengths in m. A column that nothing is known of is left out; it is null in a table. In the
lake the columns have a prefix: `obs_id` is a number there already.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

PUBLISHER = "ivo://projectescape.eu/esap-batch"
PREFIX = "obscore_"
TEV_M = 1.23984198e-18  # wavelength of a photon of 1 TeV, h c / E
MJD_ZERO = datetime(1858, 11, 17, tzinfo=UTC)
DAY_S = 86_400

Column = str | int | float


def obscore(metadata: Mapping[str, Any], constants: Mapping[str, Column], dataset: str) -> dict[str, Column]:
    """Give the columns of a product: `constants` from product.yaml, the rest from its metadata.

    :returns: nothing for a workflow without constants, whose products are no observational data.
    """
    if not constants:
        return {}
    found: dict[str, Column] = {"obs_publisher_did": f"{PUBLISHER}?{dataset}", **constants}
    for column, (names, read) in COLUMNS.items():
        known = (read(metadata[name]) for name in names if name in metadata)
        value = next((v for v in known if v is not None), None)
        if value is not None:
            found[column] = value
    return {f"{PREFIX}{column}": value for column, value in found.items()}


def _text(value: Any) -> str | None:
    return str(value) if value not in (None, "") else None


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def _mjd(value: Any) -> float | None:
    """Read a time in ISO 8601; what is none tells nothing, and no product is lost for that."""
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    return (time - MJD_ZERO).total_seconds() / DAY_S


def _wavelength(value: Any) -> float | None:
    energy_tev = _number(value)
    return TEV_M / energy_tev if energy_tev else None


# From which metadata a column comes, the first that is there, and how they are read. The energy that is
# lowest makes the longest wavelength.
COLUMNS: Mapping[str, tuple[tuple[str, ...], Callable[[Any], Column | None]]] = {
    "obs_id": (("obs_id", "product_id"), _text),
    "obs_title": (("product_description",), _text),
    "obs_creator_name": (("contact_organization",), _text),
    "target_name": (("target",), _text),
    "s_ra": (("request_target_ra_deg", "ra_pnt_deg"), _number),
    "s_dec": (("request_target_dec_deg", "dec_pnt_deg"), _number),
    "s_fov": (("request_map_width_deg",), _number),
    "t_min": (("start_time",), _mjd),
    "t_max": (("stop_time",), _mjd),
    "t_exptime": (("livetime_s",), _number),
    "em_min": (("request_energy_max_tev",), _wavelength),
    "em_max": (("request_energy_min_tev",), _wavelength),
}
