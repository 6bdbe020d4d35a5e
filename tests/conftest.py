"""What tests of every kind share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hooks.rucio_lake import RucioLake, RucioSettings
from localgrid.grid import Grid
from localgrid.lake import lake_of
from localgrid.layout import PROJECT


@pytest.fixture(scope="session")
def wait_for(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Give a function that waits until a condition holds, and fails when it does not within a time (s).

    It looks the more rarely the longer it waits: what is looked at has work to do, on the same machine.
    """

    def wait(condition: Callable[[], Any], within: float = 120) -> Any:
        start = time.monotonic()
        while not (value := condition()):
            waited = time.monotonic() - start
            if waited > within:
                pytest.fail(f"still not true after {within} s")
            time.sleep(min(max(0.2, waited / 20), 1.0))
        return value

    return wait


@pytest.fixture(scope="session")
def grid() -> Iterator[Grid]:
    """Start a local grid of the tests' own; `ESAP_TEST_GRID_HOME` names a standing one to use instead.

    Tests that run beside each other say by `ESAP_TEST_GRID_NAME` which is theirs.
    """
    standing, name = os.environ.get("ESAP_TEST_GRID_HOME"), os.environ.get("ESAP_TEST_GRID_NAME", "test")
    grid = Grid(Path(standing) if standing else PROJECT / f".localgrid-{name}")
    grid.up()
    yield grid
    if not standing:
        grid.down(purge=True)


@pytest.fixture(scope="session")
def lake_settings(grid: Grid) -> RucioSettings:
    return lake_of(grid).settings


@pytest.fixture(scope="session")
def lake(lake_settings: RucioSettings) -> RucioLake:
    return RucioLake(lake_settings)
