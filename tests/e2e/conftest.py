"""Airflow of the local grid, as its users see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from esap_batch.jobs import JobBackend
from hooks.dirac_wms import DiracSettings, DiracWms
from hooks.settings import runner_dir
from localgrid.airflow_api import ENDED, AirflowApi
from localgrid.grid import Grid
from tests.integration.backends.places import Slurm


@dataclass
class Runs:
    """Runs of one user."""

    api: AirflowApi
    wait_for: Callable[..., Any]

    def start(self, dag_id: str, **conf: Any) -> str:
        answer = self.api.trigger(dag_id, conf)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["dag_run_id"])

    def state(self, dag_id: str, run_id: str) -> str:
        return str(self.api.run(dag_id, run_id)["state"])

    def end(self, dag_id: str, run_id: str, within: float = 240) -> str:
        """Wait for the end of a run and give its state."""
        self.wait_for(lambda: self.state(dag_id, run_id) in ENDED, within)
        return self.state(dag_id, run_id)

    def task_state(self, dag_id: str, run_id: str, task_id: str) -> str:
        return str(self.api.tasks(dag_id, run_id)[task_id]["state"])

    def told(self, dag_id: str, run_id: str, task_id: str) -> str:
        """Give all that a task's log says, over all its tries."""
        last = int(self.api.tasks(dag_id, run_id)[task_id]["try_number"])
        return "\n".join("\n".join(self.api.log(dag_id, run_id, task_id, n)) for n in range(1, last + 1))


@pytest.fixture(scope="session")
def users(grid: Grid, wait_for: Callable[..., Any]) -> Callable[[str], Runs]:
    return lambda user: Runs(AirflowApi.of(grid.info, user), wait_for)


@pytest.fixture(scope="session")
def alice(users: Callable[[str], Runs]) -> Runs:
    return users("alice")


@pytest.fixture
def dirac(grid: Grid) -> DiracWms:
    """Reach DiracX as alice, to count what the runs have really submitted."""
    credentials = Path(grid.home) / "secrets" / "diracx" / "alice.json"
    return DiracWms(DiracSettings(grid.info["diracx"]["url"], credentials), runner_dir())


@dataclass(frozen=True)
class Placed:
    """A facility, and its back end as alice reaches it."""

    facility: str
    backend: JobBackend


@pytest.fixture(params=["cscs", "fair-slurm"])
def placed(request: pytest.FixtureRequest, grid: Grid, dirac: DiracWms) -> Placed:
    """Give a facility of each kind of back end."""
    if request.param == "cscs":
        return Placed("cscs", dirac)
    return Placed("fair-slurm", Slurm(grid).open("alice"))
