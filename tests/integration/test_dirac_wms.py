"""The DIRAC back end against a real DiracX. `parking` is a site that nobody serves: jobs wait there."""

from __future__ import annotations

import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from esap_batch.jobs import Batch, JobSpec, JobState, Limits, job_name
from hooks.dirac_wms import DiracSettings, DiracWms, jdl
from hooks.errors import BackendRefused, BackendUnavailable
from localgrid.grid import Grid

PROGRAMS = Path(__file__).parents[2] / "runner"
PARKING = "ESAP.Parking.local"
LAPALMA = "ESAP.LaPalma.local"


class CallCounter:
    """Counts the requests that leave a client (an azure-core pipeline policy)."""

    def __init__(self) -> None:
        from azure.core.pipeline.policies import SansIOHTTPPolicy

        self.calls = 0
        counter = self

        class Policy(SansIOHTTPPolicy):  # type: ignore[type-arg]
            def on_request(self, request: Any) -> None:
                counter.calls += 1

        self.policy = Policy()


def wms(grid: Grid, user: str = "alice", **options: Any) -> DiracWms:
    secrets = Path(grid.home) / "secrets" / "diracx" / f"{user}.json"
    return DiracWms(DiracSettings(grid.info["diracx"]["url"], secrets), PROGRAMS, **options)


def a_batch(count: int, site: str = PARKING, behaviour: str = "ok") -> Batch:
    group = f"esap-{uuid.uuid4().hex[:27]}"
    config = {"behaviour": behaviour, "outputs": ["hello.json"], "message": "hi", "index": 0}
    jobs = tuple(
        JobSpec(
            i, ("esap-noop", "run", "--config", "config.json"), {"config.json": config}, limits=Limits(60)
        )
        for i in range(count)
    )
    runtime = {"type": "plain", "software_root_env": "VO_CTAO_SW_DIR"}
    software = ({"name": "esap-noop", "version": "0.1.0"},)
    return Batch(group, jobs, runtime, software, site, "Test")


@pytest.fixture
def alice(grid: Grid) -> DiracWms:
    return wms(grid)


def firsts(count: int) -> dict[int, int]:
    return dict.fromkeys(range(count), 1)


def test_a_batch_is_submitted_once_however_often_it_is_asked_for(alice: DiracWms) -> None:
    batch = a_batch(45)
    for _ in range(3):
        assert len(alice.submit(batch, firsts(45))) == 45
    assert sorted(a.index for a in alice.submissions(batch.group)) == list(range(45))


def test_a_broken_submission_is_completed(alice: DiracWms) -> None:
    batch = a_batch(30)
    alice.submit(batch, firsts(12))
    alice.submit(batch, firsts(30))
    assert Counter(a.key for a in alice.submissions(batch.group)) == Counter((i, 1) for i in range(30))


def test_two_workers_at_the_same_time_leave_one_job_each(grid: Grid) -> None:
    batch = a_batch(25)
    workers = [wms(grid) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda w: w.submit(batch, firsts(25)), workers))
    workers[0].submit(batch, firsts(25))
    alive = [a for a in workers[0].submissions(batch.group) if not a.state.is_terminal]
    assert sorted(a.index for a in alive) == list(range(25))


def test_a_second_submission_under_one_name_is_killed(alice: DiracWms) -> None:
    batch = a_batch(2)
    alice.submit(batch, firsts(2))
    sandbox = alice._upload_sandbox(batch)
    alice._client.jobs.submit_jdl_jobs([jdl(batch, 0, 1, Limits(60), sandbox)])
    assert [a.index for a in alice.submit(batch, firsts(2))] == [0, 1]
    states = Counter((a.index, a.state) for a in alice.submissions(batch.group))
    assert states == {(0, JobState.QUEUED): 1, (0, JobState.CANCELLED): 1, (1, JobState.QUEUED): 1}
    assert [a.state for a in alice.attempts(batch.group)] == [JobState.QUEUED] * 2


def test_equal_sandboxes_are_one_sandbox(alice: DiracWms) -> None:
    batch = a_batch(1)
    assert alice._upload_sandbox(batch) == alice._upload_sandbox(batch)


@pytest.mark.parametrize("count", [1, 100, 1000])
def test_a_poll_is_one_call_however_many_jobs(grid: Grid, count: int) -> None:
    batch = a_batch(count)
    wms(grid).submit(batch, firsts(count))
    counter = CallCounter()
    polling = wms(grid, per_call_policies=[counter.policy])
    counts = polling.counts([batch.group, "esap-another", "esap-third"])
    assert counter.calls == 1
    assert counts[batch.group] == {JobState.QUEUED: count}
    assert counts["esap-another"] == {}


def test_jobs_run_and_report(alice: DiracWms, wait_for: Any) -> None:
    batch = a_batch(3, LAPALMA)
    alice.submit(batch, firsts(3))
    wait_for(lambda: alice.counts([batch.group])[batch.group][JobState.DONE] == 3)
    reports = alice.reports(alice.attempts(batch.group))
    assert sorted((r["index"], r["reason"]) for r in reports.values()) == [(i, "OK") for i in range(3)]
    alice.clean_up(batch.group)
    alice.clean_up(batch.group)
    assert alice.reports(alice.attempts(batch.group)) == {}


def test_cancel_kills_what_runs_and_what_waits(alice: DiracWms, wait_for: Any) -> None:
    batch = a_batch(8, LAPALMA, behaviour="too_long")
    alice.submit(batch, firsts(8))
    wait_for(lambda: alice.counts([batch.group])[batch.group][JobState.RUNNING] > 0)
    assert alice.cancel(batch.group) == 8
    assert alice.counts([batch.group])[batch.group] == {JobState.CANCELLED: 8}
    assert alice.cancel(batch.group) == 0


def test_jobs_are_killed_although_a_nodes_clock_is_ahead(alice: DiracWms) -> None:
    batch = a_batch(2)
    ids = [a.job_id for a in alice.submit(batch, firsts(2))]
    later = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    told = {later: {"Status": "Waiting", "MinorStatus": "by a clock that is ahead"}}
    alice._client.jobs.set_job_statuses({ids[0]: told})  # type: ignore[dict-item]
    assert alice.cancel(batch.group) == 2
    assert alice.counts([batch.group])[batch.group] == {JobState.CANCELLED: 2}


def test_the_load_of_a_site_is_what_the_user_has_there(grid: Grid, alice: DiracWms) -> None:
    batch, before = a_batch(5), alice.load(PARKING)
    alice.submit(batch, firsts(5))
    counter = CallCounter()
    assert wms(grid, per_call_policies=[counter.policy]).load(PARKING).queued == before.queued + 5
    assert counter.calls == 2
    alice.cancel(batch.group)
    assert alice.load(PARKING).active == before.active


def test_what_has_failed_recently_is_part_of_the_load(alice: DiracWms, wait_for: Any) -> None:
    batch, before = a_batch(2, LAPALMA, behaviour="always_fail"), alice.load(LAPALMA)
    alice.submit(batch, firsts(2))
    wait_for(lambda: alice.counts([batch.group])[batch.group][JobState.FAILED] == 2)
    assert alice.load(LAPALMA).failed_recently >= before.failed_recently + 2


def test_another_user_sees_and_kills_nothing(grid: Grid, alice: DiracWms) -> None:
    batch = a_batch(3)
    alice.submit(batch, firsts(3))
    bob = wms(grid, "bob")
    assert bob.attempts(batch.group) == []
    assert bob.cancel(batch.group) == 0
    bob._client  # noqa: B018 - a client of bob's own
    with pytest.raises(BackendRefused):
        bob._kill(batch.group, alice.attempts(batch.group), "not mine")
    assert alice.counts([batch.group])[batch.group] == {JobState.QUEUED: 3}


def test_credentials_that_are_none_are_refused(grid: Grid, tmp_path: Path) -> None:
    forged = tmp_path / "alice.json"
    forged.write_text('{"access_token": "e30.e30.e30", "refresh_token": "x", "expires_on": 4102444800}')
    forged.chmod(0o600)
    stranger = DiracWms(DiracSettings(grid.info["diracx"]["url"], forged), PROGRAMS)
    with pytest.raises(BackendRefused):
        stranger.attempts("esap-any")


def test_a_diracx_that_is_away_is_named(tmp_path: Path, grid: Grid) -> None:
    away = DiracWms(DiracSettings("http://127.0.0.1:9", wms(grid).settings.credentials), PROGRAMS)
    with pytest.raises(BackendUnavailable, match=r"DiracX at http://127.0.0.1:9 does not answer"):
        away.counts(["esap-any"])


def test_the_name_of_a_job_is_what_diracx_keeps(alice: DiracWms) -> None:
    batch = a_batch(1)
    alice.submit(batch, {0: 7})
    rows = alice._search(batch.group, ["JobName"])
    assert [r["JobName"] for r in rows] == [job_name(batch.group, 0, 7)]
