from __future__ import annotations

import socket
from collections import Counter

import pytest

from esap_batch.jobs import JobState
from esap_batch.metrics import Metric
from triggers import tally as module
from triggers.tally import Tally

RUNNING, QUEUED = JobState.RUNNING, JobState.QUEUED


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], float]:
    values: dict[tuple[str, str], float] = {}

    def gauge(_metric: Metric, value: float, *, facility: str, state: str, triggerer: str) -> None:
        assert triggerer == socket.gethostname()
        values[facility, state] = value

    monkeypatch.setattr(module, "gauge", gauge)
    return values


def test_batches_of_a_facility_are_summed(sent: dict[tuple[str, str], float]) -> None:
    tally = Tally(pace=0)
    with tally.watching("cscs", "a"), tally.watching("cscs", "b"), tally.watching("gsi", "c"):
        tally.tell("cscs", "a", Counter({RUNNING: 2, QUEUED: 1}))
        tally.tell("cscs", "b", Counter({RUNNING: 3}))
        tally.tell("gsi", "c", Counter({RUNNING: 1}))
        assert (sent["cscs", "running"], sent["cscs", "queued"], sent["gsi", "running"]) == (5, 1, 1)


def test_what_is_not_watched_any_more_does_not_count(sent: dict[tuple[str, str], float]) -> None:
    tally = Tally(pace=0)
    with tally.watching("cscs", "a"):
        with tally.watching("cscs", "b"):
            tally.tell("cscs", "b", Counter({RUNNING: 3}))
        tally.tell("cscs", "a", Counter({RUNNING: 2}))
        assert sent["cscs", "running"] == 2
    assert sent["cscs", "running"] == 0, "the last one leaves nothing behind"


def test_many_batches_make_few_sums(sent: dict[tuple[str, str], float]) -> None:
    tally = Tally(pace=3600)
    with tally.watching("cscs", "a"):
        tally.tell("cscs", "a", Counter({RUNNING: 2}))
        tally.tell("cscs", "a", Counter({RUNNING: 9}))
        assert sent["cscs", "running"] == 2
