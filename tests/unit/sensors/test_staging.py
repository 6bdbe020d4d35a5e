from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred

from sensors.staging import AwaitInputs

STAGED: dict[str, Any] = {
    "rule": "rule-1",
    "rse": "CSCS-DISK",
    "files": 4,
    "bytes": 9,
    "inputs": {"lfn": "l"},
}


def task(**changes: Any) -> AwaitInputs:
    return AwaitInputs(task_id="await_inputs", staged=STAGED | changes, boosts=2, patience=9)


def test_it_waits_in_the_triggerer_for_the_rule() -> None:
    with pytest.raises(TaskDeferred) as deferral:
        task().execute({})
    _, arguments = deferral.value.trigger.serialize()
    assert arguments == {"connection": "rucio_lake", "rule": "rule-1", "boosts": 2, "patience": 9}


def test_a_run_that_reads_nothing_does_not_wait() -> None:
    assert task(rule="", files=0).execute({}) == {**STAGED, "rule": "", "files": 0}


def test_it_gives_on_what_was_staged() -> None:
    assert task().resume({}, {"status": "staged", "message": ""}) == STAGED


def test_a_silent_lake_is_worth_another_try() -> None:
    with pytest.raises(AirflowException) as error:
        task().resume({}, {"status": "silent", "message": "down"})
    assert not isinstance(error.value, AirflowFailException)


def test_inputs_that_do_not_come_end_the_run_with_the_reason_and_what_to_do() -> None:
    with pytest.raises(AirflowFailException, match=r"at CSCS-DISK: no tape.*Clear stage_inputs"):
        task().resume({}, {"status": "failed", "message": "no tape."})
