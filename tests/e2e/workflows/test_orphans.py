"""What is left of a run that was deleted is ended."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from esap_batch.budget import entry_lfn
from esap_batch.housekeeping import RUN_FILE
from esap_batch.jobs import JobState, group_name
from esap_batch.products import work_lfn
from hooks.dirac_wms import DiracWms
from hooks.lake_bulk import BulkLake
from hooks.rucio_lake import RucioLake
from hooks.storage_element import local_path
from localgrid.grid import Grid
from tests.e2e.conftest import Runs
from tests.integration.backends.places import Dirac, a_batch, firsts

DAG, STEP, CAMPAIGN = "hello_world", "submit_jobs", "cta_reprocessing"


def run_file(lake: RucioLake, group: str) -> Path:
    lfn = f"{work_lfn(group)}/{RUN_FILE}"
    return local_path(lake.pfns("CSCS-DISK", [lfn])[lfn])


def test_jobs_and_reservations_of_a_run_that_is_gone_are_ended(
    grid: Grid, alice: Runs, users: Callable[[str], Runs], lake: RucioLake, dirac: DiracWms, wait_for: Any
) -> None:
    """Airflow deletes no run that goes on, so the jobs of the one that is gone are sent without it."""
    carol, bulk, gone = users("carol"), BulkLake(lake), f"gone-{uuid.uuid4().hex[:8]}"
    run = alice.start(
        DAG, n_jobs=1, message=uuid.uuid4().hex, behaviour="slow", duration_s=600, facility="cscs"
    )
    known, group, tag = (
        group_name(DAG, run, STEP),
        group_name(DAG, gone, STEP),
        group_name(CAMPAIGN, gone, "campaign"),
    )
    wait_for(lambda: alice.task_state(DAG, run, "await_jobs") == "deferred")
    assert carol.api.call("DELETE", f"/dags/{DAG}/dagRuns/{run}").status_code == 409

    batch = a_batch(Dirac(grid), 2, "slow", group=group)
    dirac.submit(batch, firsts(batch))
    signed = {**json.loads(run_file(lake, known).read_text()), "run": f"{DAG}/{gone}"}
    run_file(lake, known).write_text(json.dumps(signed))  # a forgery
    for name, whose in ((group, {}), (tag, {"run": f"{CAMPAIGN}/{gone}", "task": "campaign"})):
        run_file(lake, name).parent.mkdir(parents=True)
        run_file(lake, name).write_text(json.dumps({**signed, **whose}))
    reserved = entry_lfn(f"test/{gone}", 1)
    assert bulk.append(f"test/{gone}", reserved, f"{CAMPAIGN}/{gone}", 1000)

    cleaning = carol.start("housekeeping", dry_run=False)
    assert carol.end("housekeeping", cleaning) == "success"
    ended = carol.api.xcom("housekeeping", cleaning, "end_orphans")["ended"]
    assert (ended[group], ended[tag]) == (2, 0)
    assert dirac.counts([group])[group][JobState.CANCELLED] == 2
    assert known not in ended
    assert not dirac.counts([known])[known][JobState.CANCELLED]
    assert bulk.metadata([reserved])[reserved]["esap_bytes"] == 0
    alice.api.set_state(DAG, run, "failed")
    assert alice.end(DAG, run) == "failed"
