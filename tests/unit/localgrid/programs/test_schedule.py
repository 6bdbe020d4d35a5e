"""When a daemon's round is due."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime, timedelta

import pytest

from localgrid.programs.schedule import (
    AT_LEAST_EVERY_S,
    LONGEST_REST_S,
    PAUSE,
    SHORTEST_REST_S,
    WORK,
    Pauses,
    Schedule,
    work_query,
)


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


def test_looks_are_rarer_while_there_is_nothing_to_do() -> None:
    schedule, rests = Schedule(), []
    for _ in range(6):
        schedule.saw(any_work=False)
        rests.append(schedule.rest_s)
    assert SHORTEST_REST_S < rests[0] < rests[1] < rests[-1] == LONGEST_REST_S
    schedule.saw(any_work=True)
    assert schedule.rest_s == SHORTEST_REST_S


def test_the_query_has_a_column_for_each_daemon() -> None:
    assert all(f'as "{name}"' in work_query() for name in WORK)


def test_a_daemon_rests_for_seconds_where_rucio_says_minutes() -> None:
    now, pauses = datetime.now(UTC).replace(tzinfo=None), Pauses()
    pauses["rule"] = now + timedelta(minutes=40)
    pauses["soon"] = now + timedelta(seconds=1)
    assert now < pauses["rule"] <= now + PAUSE + timedelta(seconds=5)
    assert pauses["soon"] == now + timedelta(seconds=1)
    assert deepcopy(pauses) == pauses  # as the daemons copy it before they look
