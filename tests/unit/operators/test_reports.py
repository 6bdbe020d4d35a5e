from __future__ import annotations

import json

import pytest

from esap_batch.jobs import JobState
from operators.reports import all_reports, keep_reports, kept_reports
from tests.unit.conftest import GROUP, World

KEPT = f"/ctao/esap/work/{GROUP}/reports.json"


def keep(world: World) -> None:
    site, attempts = world.site(), world.backend.attempts(GROUP)
    keep_reports(site, GROUP, attempts, all_reports(site, attempts, kept_reports(site, GROUP)))


def test_reports_outlive_their_sandboxes(world: World) -> None:
    world.done(0)
    world.fail(1)
    keep(world)
    world.forget()
    kept = kept_reports(world.site(), GROUP)
    assert {j: r["reason"] for j, r in kept.items()} == {"0-1": "OK", "1-1": "PAYLOAD_FAILED"}
    keep(world)
    assert kept_reports(world.site(), GROUP) == kept


def test_only_the_latest_attempt_of_a_job_is_kept(world: World) -> None:
    world.fail(0)
    world.done(0, attempt=2)
    keep(world)
    assert list(kept_reports(world.site(), GROUP)) == ["0-2"]


def test_a_killed_job_whose_runner_was_content_does_not_count_as_done(world: World) -> None:
    world.done(0)
    (one,) = world.backend.attempts(GROUP)
    world.backend.replace(GROUP, one, JobState.CANCELLED)
    keep(world)
    assert not world.path(KEPT).exists()


def test_earlier_attempts_are_asked_where_the_latest_has_no_report(world: World) -> None:
    world.fail(0)
    world.end_silently(0, 2, JobState.LOST)
    reports = all_reports(world.site(), world.backend.attempts(GROUP), {})
    assert list(reports) == ["0-1"]


def test_a_batch_without_kept_reports_has_none(world: World) -> None:
    assert kept_reports(world.site(), GROUP) == {}


def test_reports_of_another_version_are_refused(world: World) -> None:
    world.path(KEPT).parent.mkdir(parents=True)
    world.path(KEPT).write_text(json.dumps({"schema": 9, "reports": {}}))
    with pytest.raises(ValueError, match="allowed 1"):
        kept_reports(world.site(), GROUP)
