"""Toy input data for the demo and the tests: one module a use case, with `fill(grid, lake)`."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hooks.rucio_lake import RucioLake
    from localgrid.grid import Grid


def prepare(use_case: str, grid: Grid, lake: RucioLake) -> None:
    """Put into the lake what the example request of a use case needs; what is there already stays."""
    name = f"{__name__}.{use_case}"
    if find_spec(name):
        import_module(name).fill(grid, lake)
