"""What a product has to hold: the `profile` of a workflow's product.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from esap_fits.reading import Key, complete, integer, is_number, number, read_json, text

from .opening import HISTOGRAM, TREE

CLASSES = (TREE, HISTOGRAM)


def _are_objects(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(v in CLASSES for v in value.values())


def _are_bounds(value: Any) -> bool:
    return isinstance(value, list) and [is_number(v) for v in value] == [True, True] and value[0] < value[1]


BOUNDS = "two numbers in GeV, the lower first"
KEYS = {
    "required": Key(f"names of objects and for each {' or '.join(CLASSES)}", _are_objects),
    "min_entries": integer(0, 10**12, 1),
    "peak": Key("an object", lambda v: isinstance(v, dict), None),
}
PEAK_KEYS = {
    "histogram": text(),
    "search_gev": Key(BOUNDS, _are_bounds),
    "window_gev": Key(BOUNDS, _are_bounds),
    "min_significance": number(0, 1e6, "", 5),
}


@dataclass(frozen=True)
class PeakProfile:
    """Where a peak is looked for (GeV), where its mean has to be, and how significant it must be."""

    histogram: str
    search_gev: tuple[float, float]
    window_gev: tuple[float, float]
    min_significance: float


@dataclass(frozen=True)
class Profile:
    """Objects that must be there with their classes, entries of each tree, and the peak if there is one."""

    required: Mapping[str, str] = field(default_factory=dict)
    min_entries: int = 1
    peak: PeakProfile | None = None

    @classmethod
    def read(cls, path: Path) -> Profile:
        """Read a profile from JSON; PayloadError names what is wrong."""
        return cls.of(read_json(path), str(path))

    @classmethod
    def of(cls, document: Any, where: str) -> Profile:
        told = complete(document, KEYS, where)
        peak = told["peak"] and complete(told["peak"], PEAK_KEYS, f"{where}: peak")
        return cls(told["required"], told["min_entries"], _peak(peak) if peak else None)


def _peak(told: Mapping[str, Any]) -> PeakProfile:
    search, window = told["search_gev"], told["window_gev"]
    return PeakProfile(
        told["histogram"], (search[0], search[1]), (window[0], window[1]), told["min_significance"]
    )
