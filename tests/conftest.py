"""What tests of every kind share."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hooks.rucio_lake import RucioLake, RucioSettings
from localgrid.grid import Grid


@pytest.fixture(scope="session")
def wait_for(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Give a function that waits until a condition holds, and fails when it does not within a time (s)."""

    def wait(condition: Callable[[], Any], within: float = 120) -> Any:
        deadline = time.monotonic() + within
        while not (value := condition()):
            if time.monotonic() > deadline:
                pytest.fail(f"still not true after {within} s")
            time.sleep(0.2)
        return value

    return wait


@pytest.fixture(scope="session")
def lake_settings(grid: Grid) -> RucioSettings:
    connections = json.loads(Path(grid.info["connections_file"]).read_text())
    entry = connections["rucio_lake"]
    credentials = {"username": entry["login"], "password": entry["password"]}
    return RucioSettings(entry["host"], "esap", "userpass", credentials)


@pytest.fixture(scope="session")
def lake(lake_settings: RucioSettings) -> Iterator[RucioLake]:
    yield RucioLake(lake_settings)
