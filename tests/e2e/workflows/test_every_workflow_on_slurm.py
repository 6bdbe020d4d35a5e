"""Every workflow runs on SLURM as on DIRAC, where its own tests run it: no DAG says which it is."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from esap_batch.workflows import workflow_names
from hooks.rucio_lake import RucioLake
from hooks.settings import config_dir
from localgrid import samples
from localgrid.demo import example
from localgrid.grid import Grid
from tests.e2e.conftest import Runs

FACILITY = "fair-slurm"
SEED = random.SystemRandom().randint(1, 899_999_999)
NOOP = {"processor": "esap-noop", "force": True}
# Who asks for what. Payloads are real where that takes seconds.
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "cta_concordia": ("alice", {"NSHOW": 4, "n_jobs": 2, "SEED": [[SEED, 0, 0], [SEED + 1, 0, 0]]}),
    "cta_irf": (
        "alice",
        {**example("cta_irf"), "statistical_uncertainty": 0.2, "zenith_deg": 31, "force": True},
    ),
    "cta_pi_analysis": ("alice", {**example("cta_pi_analysis"), **NOOP}),
    "cta_reprocessing": ("alice", {"obs_ids": "103-104", "processor": "esap-noop"}),
    "hello_world": ("alice", {"n_jobs": 3, "message": f"hello {SEED}"}),
    "km3net_concordia": ("dave", {**example("km3net_concordia"), "SEED": [[SEED, 0, 0], [SEED + 1, 0, 0]]}),
}

WITH_THEIR_OWN_TESTS = ["fair_analysis", "km3net_reduction", "ska_hi_cube"]  # run there on both back ends


@pytest.fixture(scope="module")
def runs(grid: Grid, lake: RucioLake, users: Callable[[str], Runs]) -> dict[str, tuple[Runs, str]]:
    """Start all of them at once."""
    for name in REQUESTS:
        samples.prepare(name, grid, lake)
    people = {user: users(user) for user, _ in REQUESTS.values()}
    return {
        name: (people[user], people[user].start(name, **conf, facility=FACILITY))
        for name, (user, conf) in REQUESTS.items()
    }


def test_no_workflow_is_forgotten() -> None:
    assert sorted([*REQUESTS, *WITH_THEIR_OWN_TESTS]) == workflow_names(config_dir())
    for name in WITH_THEIR_OWN_TESTS:
        assert FACILITY in Path(__file__).with_name(f"test_{name}.py").read_text()


@pytest.mark.parametrize("name", REQUESTS)
def test_it_runs_on_slurm(name: str, grid: Grid, runs: dict[str, tuple[Runs, str]], lake: RucioLake) -> None:
    user, run = runs[name]
    assert user.end(name, run, within=600) == "success", user.api.tasks(name, run)
    chosen = user.api.xcom(name, run, "select_facility")
    assert chosen["facility"] == FACILITY
    area = Path(grid.info["slurm"]["work_area"]) / REQUESTS[name][0]
    groups = {
        told["group"]
        for task in user.api.tasks(name, run)
        if isinstance(told := user.api.xcom(name, run, task), dict) and "group" in told
    }
    assert all((area / group / "0000.id").is_file() for group in groups)
    outcome = user.api.xcom(name, run, "report_end")["outcome"]
    if outcome == "nothing to do" and "ESAP_TEST_GRID_HOME" in os.environ:
        pytest.skip("its observations are done already, by an earlier run of this test on the standing grid")
    assert outcome == "published"
