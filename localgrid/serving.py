"""The grid, or one of its systems, for an Airflow elsewhere, and what a site would hand over to that."""

from __future__ import annotations

import copy
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from localgrid.grid import Grid
from localgrid.layout import Layout, write_private_json
from localgrid.setup import airflow, ssh

LOOK_EVERY_S = 5.0
BROKER = "http://api-server:8080"  # where tasks find the API server, by its name in docker-compose.yaml


def mark(layout: Layout) -> Path:
    """A file that is there as long as everything is healthy."""
    return layout.own("serves")


def connections(layout: Layout, folder: Path) -> dict[str, Any]:
    """Airflow's connections to the grid, with the credentials that they name in `folder`."""
    found: dict[str, Any] = copy.deepcopy(airflow.connections(layout))
    found["esap_broker"]["host"] = BROKER
    found["dirac_local"]["extra"]["credentials_dir"] = str(folder / "diracx")
    if "slurm_local" in found:
        found["slurm_local"]["extra"]["keys_dir"] = str(folder / "ssh")
    return found


def hand_over(layout: Layout, folder: Path) -> None:
    """Write connections and copy credentials, each system its own; no other secret of the grid."""
    if layout.system in ("", "issuer"):
        write_private_json(folder / "connections.json", connections(layout, folder))
    if layout.system in ("", "diracx"):
        shutil.copytree(layout.diracx_credentials, folder / "diracx", dirs_exist_ok=True)
    if layout.system in ("", "slurm") and ssh.keys_directory(layout).exists():
        shutil.copytree(ssh.keys_directory(layout), folder / "ssh", dirs_exist_ok=True)


def serve_until_told(grid: Grid, folder: Path, say: Callable[[str], object]) -> None:
    """Start what runs here but Airflow, hand over, watch, and stop it when SIGTERM or SIGINT comes.

    Raises:
        ServiceDown: a service has crashed; the others were stopped.

    """
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    sign = mark(grid.layout)
    sign.unlink(missing_ok=True)
    before: dict[str, str] = {"all": "starting"}
    served = tuple(name for name in grid.services if name not in airflow.COMPONENTS)
    try:
        grid.start(*served)
        hand_over(grid.layout, folder)
        while not told.is_set():
            grid.check()
            troubles = grid.troubles(served)
            if troubles != before:
                say("; ".join(f"{name}: {trouble}" for name, trouble in troubles.items()) or "all is well")
            if troubles:
                sign.unlink(missing_ok=True)
            else:
                sign.touch()
            before = troubles
            told.wait(LOOK_EVERY_S)
    finally:
        sign.unlink(missing_ok=True)
        grid.down()
