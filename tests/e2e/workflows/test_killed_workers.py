"""Worker processes are killed at random moments; no job and no file is there twice, none is lost."""

from __future__ import annotations

import random
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import psutil
import pytest

from esap_batch.jobs import group_name
from hooks.dirac_wms import DiracWms
from hooks.rucio_lake import RucioLake
from hooks.storage_element import StorageElement, local_path
from tests.e2e.conftest import Runs

DAG = "hello_world"
KILLS = 10
JOBS = 25
LONGEST_DELAY = {"submit_jobs": 3.0, "ingest_products": 2.0}  # seconds; about as long as the tasks take
STARTED = ("running", "success", "deferred", "up_for_retry")


def task_processes(instance: str, with_supervisor: bool = True) -> list[psutil.Process]:
    """Find the processes that run a task: its supervisor and, below it, the task (Airflow's own titles)."""
    titles = [f"airflow worker -- {instance}"]
    if with_supervisor:
        titles.insert(0, f"airflow worker -- LocalExecutor: {instance}")
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if " ".join(process.info["cmdline"] or ()).strip() in titles
    ]


def kill_once(
    alice: Runs, run_id: str, task_id: str, delay: float, with_supervisor: bool, wait_for: Any
) -> int:
    """Wait for the task to start, then kill it after a while with no warning; give how many died."""
    wait_for(lambda: alice.task_state(DAG, run_id, task_id) in STARTED, 240)
    instance = str(alice.api.tasks(DAG, run_id)[task_id]["id"])
    threading.Event().wait(delay)
    victims = task_processes(instance, with_supervisor)
    for victim in victims:
        with suppress(psutil.NoSuchProcess):
            victim.kill()
    return len(victims)


@pytest.mark.parametrize("task_id", ["submit_jobs", "ingest_products"])
def test_a_killed_task_goes_on_where_it_was(
    task_id: str, dirac: DiracWms, alice: Runs, lake: RucioLake, wait_for: Any
) -> None:
    seeds = random.Random(task_id)
    conf: dict[str, Any] = {"n_jobs": JOBS if task_id == "submit_jobs" else 2, "facility": "lapalma"}
    runs = [alice.start(DAG, **conf, message=uuid.uuid4().hex) for _ in range(KILLS)]
    delays = [seeds.uniform(0.0, LONGEST_DELAY[task_id]) for _ in runs]
    with ThreadPoolExecutor(KILLS) as pool:
        kills = list(
            pool.map(
                lambda n: kill_once(alice, runs[n], task_id, delays[n], n % 3 == 0, wait_for), range(KILLS)
            )
        )
    assert sum(1 for k in kills if k) >= KILLS // 2, f"too few tasks were caught alive: {kills}"
    for run in runs:
        assert alice.end(DAG, run, within=420) == "success"
        jobs = Counter(a.key for a in dirac.submissions(group_name(DAG, run, "submit_jobs")))
        assert jobs == Counter((i, 1) for i in range(conf["n_jobs"]))
        dataset = alice.api.xcom(DAG, run, "ingest_products")["dataset"]
        files = lake.files(dataset)
        assert len(files) == conf["n_jobs"] + 3
        assert lake.is_published(dataset)
        pfns = lake.pfns("LAPALMA-DISK", [f["name"] for f in files])
        stored = {f["name"]: StorageElement().stat(pfns[f["name"]]) for f in files}
        assert {n: s.adler32 for n, s in stored.items() if s} == {f["name"]: f["adler32"] for f in files}
        on_disk = list(local_path(pfns[files[0]["name"]]).parent.iterdir())
        assert len(on_disk) == len(files)
