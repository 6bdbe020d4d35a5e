"""When a daemon's round is due."""

from __future__ import annotations

import pytest

from localgrid.programs.schedule import AT_LEAST_EVERY_S, WORK, Schedule, work_query


def test_work_brings_a_round_and_idleness_only_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("localgrid.programs.schedule.time.monotonic", lambda: clock[0])
    schedule = Schedule()
    assert schedule.due("poller", has_work=False), "the first round comes at once"
    schedule.done("poller")
    assert schedule.due("poller", has_work=True)
    assert not schedule.due("poller", has_work=False)
    schedule.done("repairer")
    assert not schedule.due("repairer", has_work=True), "not more often than its shortest time"
    clock[0] += AT_LEAST_EVERY_S
    assert schedule.due("poller", has_work=False)
    assert schedule.due("repairer", has_work=True)


def test_the_query_has_a_column_for_each_daemon() -> None:
    assert all(f'as "{name}"' in work_query() for name in WORK)
