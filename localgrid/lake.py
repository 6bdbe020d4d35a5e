"""The grid's lake, with the service's own account."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from hooks.rucio_lake import RucioLake, RucioSettings
from localgrid.setup import airflow

if TYPE_CHECKING:
    from localgrid.grid import Grid


def lake_of(grid: Grid) -> RucioLake:
    """Reach the grid's lake."""
    # Rucio's download client insists on a rucio.cfg.
    os.environ["RUCIO_HOME"] = str(grid.home / "rucio-client")
    entry = cast("dict[str, Any]", airflow.connections(grid.layout)["rucio_lake"])
    credentials = {"username": entry["login"], "password": entry["password"]}
    return RucioLake(RucioSettings(entry["host"], entry["extra"]["account"], "userpass", credentials))
