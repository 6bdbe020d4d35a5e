from __future__ import annotations

import pytest

from localgrid.grid import Grid
from tests.integration.backends.places import Dirac, Place, Slurm


@pytest.fixture(scope="session", params=[Dirac, Slurm], ids=["dirac", "slurm"])
def place(request: pytest.FixtureRequest, grid: Grid) -> Place:
    """Give each back end that must pass the suite."""
    found: Place = request.param(grid)
    return found


@pytest.fixture(scope="session")
def slurm(grid: Grid) -> Slurm:
    return Slurm(grid)
