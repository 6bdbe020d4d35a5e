"""The configuration of the steps: one JSON document, of which each step uses what it needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from esap_fits.reading import (
    Key,
    PayloadError,
    complete,
    date,
    integer,
    is_number,
    number,
    read_document,
    text,
)
from esap_fits.storing import FIXED_DATE

from .arrays import Box
from .cube import Cube
from .detect import kernels_of, reach_of

MOST_CELLS = 1_000_000
FINDING = ("spatial_kernels", "spectral_kernels", "threshold_sigma")


def _numbers(low: float, high: float, *, odd: bool = False) -> Key:
    words = f"1 to 10 {'odd whole numbers, or 0,' if odd else 'numbers'} from {low:g} to {high:g}"

    def accepts(value: Any) -> bool:
        if not isinstance(value, list) or not 1 <= len(value) <= 10:  # noqa: PLR2004
            return False
        if not all(is_number(v, low, high) for v in value):
            return False
        return not odd or all(isinstance(v, int) and (v == 0 or v % 2) for v in value)

    return Key(words, accepts)


def _bounds(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2  # noqa: PLR2004
        and all(isinstance(v, int) and not isinstance(v, bool) for v in value)
        and 0 <= value[0] < value[1]
    )


BOUNDS = Key("first index and the one after the last, as whole numbers", _bounds)
SUBCUBE = {"index": integer(0, 99_999), "x": BOUNDS, "y": BOUNDS, "channel": BOUNDS}
KEYS = {
    "cube": text(200),
    "spatial_kernels": _numbers(0, 100),
    "spectral_kernels": _numbers(0, 999, odd=True),
    "threshold_sigma": number(1, 100),
    "overlap_pixels": integer(0, 10_000),
    "overlap_channels": integer(0, 10_000),
    "min_cells": integer(1, MOST_CELLS),
    "min_pixels": integer(1, MOST_CELLS),
    "min_channels": integer(1, MOST_CELLS),
    "subcubes": Key("a list of objects with index, x, y and channel", lambda v: isinstance(v, list)),
    "production_id": text(60, default="none"),
    "date": date(default=FIXED_DATE),
}


def read_settings(path: Path) -> dict[str, Any]:
    """Read the configuration; PayloadError lists every key that is unknown, missing or wrong."""
    settings: dict[str, Any] = read_document(path, KEYS)
    settings["subcubes"] = [complete(one, SUBCUBE, f"{path}: subcubes") for one in settings["subcubes"]]
    return settings


def finding_digest(settings: Mapping[str, Any]) -> str:
    """Give a short digest of what decides which cells are taken: parts of one cube must agree in it."""
    deciding = {name: settings[name] for name in FINDING}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]


def box_of(settings: Mapping[str, Any], index: int, cube: Cube) -> Box:
    """Give the cells of a sub-cube; PayloadError when there is none, or the cube is smaller."""
    found = [one for one in settings["subcubes"] if one["index"] == index]
    if len(found) != 1:
        known = ", ".join(str(one["index"]) for one in settings["subcubes"][:20]) or "none"
        raise PayloadError(f"subcube = {index}: allowed is one of {known}")
    x, y, channel = (slice(*found[0][axis]) for axis in ("x", "y", "channel"))
    outside = [
        f"subcubes.{axis} = {found[0][axis]}: allowed 0 to {length}, the size of {cube.path.name}"
        for axis, length, part in zip(
            ("x", "y", "channel"), cube.geometry.shape, (x, y, channel), strict=True
        )
        if part.stop > length
    ]
    if outside:
        raise PayloadError("\n".join(outside))
    return x, y, channel


def overlap_of(settings: Mapping[str, Any]) -> tuple[int, int]:
    """Give the overlap in pixels and channels; PayloadError when kernels reach farther."""
    pixels, channels = reach_of(kernels_of(settings))
    problems = [
        f"{name} = {settings[name]}: allowed at least {least}, how far the kernels reach"
        for name, least in (("overlap_pixels", pixels), ("overlap_channels", channels))
        if settings[name] < least
    ]
    if problems:
        raise PayloadError("\n".join(problems))
    return settings["overlap_pixels"], settings["overlap_channels"]
