"""Running again what is missing of a run: failed and cancelled jobs, and never one that is done."""

from __future__ import annotations

import os
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from esap_batch.jobs import JobState, group_name
from esap_batch.products import work_lfn
from hooks.dirac_wms import DiracWms
from hooks.rucio_lake import RucioLake
from hooks.storage_element import local_path
from tests.e2e.conftest import Runs

DAG = "hello_world"
PAPERS = ["provenance.json", "steering.json", "verdict.json"]
RETENTION_S = 15 * 86400


def submissions(dirac: DiracWms, run: str) -> Counter[tuple[int, int]]:
    return Counter(a.key for a in dirac.submissions(group_name(DAG, run, "submit_jobs")))


def names(lake: RucioLake, dataset: str) -> list[str]:
    return sorted(f["name"].rsplit("/", 1)[-1] for f in lake.files(dataset))


def folder(lake: RucioLake, lfn: str) -> Path:
    return local_path(lake.pfns("LAPALMA-DISK", [lfn])[lfn])


def some_fail(alice: Runs, **conf: Any) -> str:
    """Start a run whose first job fails until its fourth attempt."""
    common = {"behaviour": "some_fail", "failing_jobs": 1, "failing_attempts": 3, "facility": "lapalma"}
    return alice.start(DAG, message=uuid.uuid4().hex, **common, **conf)


def test_after_a_failure_only_the_failed_jobs_are_repeated(
    alice: Runs, dirac: DiracWms, lake: RucioLake
) -> None:
    run = some_fail(alice, n_jobs=4)
    assert alice.end(DAG, run) == "failed"
    group = group_name(DAG, run, "submit_jobs")
    work = folder(lake, work_lfn(group))
    left = ["batch.json", "ended", "reports.json", "run.json"]
    assert sorted(p.name for p in work.iterdir()) == left
    assert dirac.reports(dirac.attempts(group)) == {}, "the sandboxes are let go"
    alice.api.clear(DAG, run, "await_jobs")
    assert alice.end(DAG, run) == "success"
    assert submissions(dirac, run) == Counter([(0, 1), (0, 2), (0, 3), (0, 4), (1, 1), (2, 1), (3, 1)])
    product = alice.api.xcom(DAG, run, "report_end")["product"]
    assert names(lake, product["dataset"]) == [f"hello_0000{n}.json" for n in range(4)] + PAPERS
    assert lake.metadata(product["dataset"])["esap_complete"] is True
    assert sorted(p.name for p in work.iterdir()) == ["reports.json", "run.json"]


def test_after_a_cancel_no_finished_job_is_repeated(
    alice: Runs, dirac: DiracWms, wait_for: Callable[..., Any]
) -> None:
    conf = {"n_jobs": 4, "behaviour": "slow", "duration_s": 8, "facility": "lapalma"}
    run = alice.start(DAG, message=uuid.uuid4().hex, **conf)
    group = group_name(DAG, run, "submit_jobs")
    wait_for(lambda: dirac.counts([group])[group][JobState.DONE] > 0, 60)
    alice.api.set_state(DAG, run, "failed")
    wait_for(lambda: alice.task_state(DAG, run, "report_end") == "failed", 60)
    assert alice.end(DAG, run) == "failed"
    done = {a.index for a in dirac.attempts(group) if a.state is JobState.DONE}
    assert done, "no job was done before the cancel"
    assert len(done) < 4
    alice.api.clear(DAG, run, "await_jobs")
    assert alice.end(DAG, run) == "success"
    others = set(range(4)) - done
    assert submissions(dirac, run) == Counter([(i, 1) for i in range(4)] + [(i, 2) for i in others])


def test_a_partial_product_says_what_is_missing_and_can_be_completed(
    alice: Runs, dirac: DiracWms, lake: RucioLake
) -> None:
    conf = {"message": uuid.uuid4().hex, "n_jobs": 3, "allowed_failure_fraction": 0.4}
    failing = {"behaviour": "some_fail", "failing_jobs": 1, "failing_attempts": 3}
    run = alice.start(DAG, **conf, **failing)
    assert alice.end(DAG, run) == "success"
    told = alice.api.xcom(DAG, run, "report_end")
    first = told["product"]["dataset"]
    assert told["missing"] == 1
    assert "1 of 3 jobs are missing" in told["note"]
    partial = ["hello_00001.json", "hello_00002.json", "missing.json", *PAPERS]
    assert names(lake, first) == partial
    described = lake.metadata(first)
    assert (described["esap_complete"], described["esap_missing_jobs"]) == (False, 1)
    equal = alice.start(DAG, **conf, **failing)
    assert alice.end(DAG, equal) == "success"
    assert "1 of 3 jobs are missing" in alice.told(DAG, equal, "check_duplicate")
    assert alice.api.xcom(DAG, equal, "report_end")["missing"] == 1

    alice.api.clear(DAG, run, "await_jobs")
    assert alice.end(DAG, run) == "success"
    told = alice.api.xcom(DAG, run, "report_end")
    second = told["product"]["dataset"]
    assert (told["missing"], second) == (0, first.removesuffix("1") + "2")
    assert names(lake, second) == [f"hello_0000{n}.json" for n in range(3)] + PAPERS
    assert names(lake, first) == partial
    superseded = lake.metadata(first)
    assert superseded == {**described, "esap_state": "superseded", "esap_superseded_by": second}
    assert submissions(dirac, run) == Counter([(0, 1), (0, 2), (0, 3), (0, 4), (1, 1), (2, 1)])


def test_what_nobody_comes_back_for_is_deleted_at_last(
    users: Callable[[str], Runs], alice: Runs, lake: RucioLake
) -> None:
    run, young = (some_fail(alice, n_jobs=2) for _ in range(2))
    assert {alice.end(DAG, r) for r in (run, young)} == {"failed"}
    old, new = (
        [
            folder(lake, work_lfn(group_name(DAG, r, "submit_jobs"))),
            folder(lake, alice.api.xcom(DAG, r, "check_duplicate")["dataset"]),
        ]
        for r in (run, young)
    )
    then = time.time() - RETENTION_S
    for path in [p for place in old for p in (*place.rglob("*"), place)]:
        os.utime(path, (then, then))
    admin = users("carol")
    for dry_run in (True, False):
        cleaning = admin.start("housekeeping", dry_run=dry_run)
        assert admin.end("housekeeping", cleaning) == "success"
        told = admin.api.xcom("housekeeping", cleaning, "delete_leftovers")
        assert {local_path(p) for p in told["deleted"]} >= set(old)
        assert {local_path(p) for p in told["kept"]} >= set(new)
        assert [p.exists() for p in old] == [dry_run, dry_run]
    assert all(p.exists() for p in new)
