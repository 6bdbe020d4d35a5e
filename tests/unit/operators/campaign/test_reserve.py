from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from esap_batch.budget import Budget, entry_lfn, taken
from operators.campaign.reserve import ReserveRecall, budgets, ledger, reserve, settle
from tests.unit.operators.campaign.conftest import Tasks
from tests.unit.operators.campaign.world import RUN, Lake, Storage

USER = Budget("user/alice/2026-11", 100, "user alice", "2026-11")
CAMPAIGN = Budget("campaign/crab", 60, "campaign crab", "all its runs")


@pytest.fixture
def lake() -> Any:
    return Lake(Storage())


def entries(lake: Any, budget: Budget = USER) -> list[tuple[str, int]]:
    return [(e.run, e.size) for e in ledger(lake, budget.account)]


def test_a_reservation_is_an_entry_in_every_budget(lake: Any) -> None:
    reserve(lake, [USER, CAMPAIGN], RUN, 50)
    assert entries(lake, USER) == entries(lake, CAMPAIGN) == [(RUN, 50)]


def test_reserving_again_adds_only_what_is_lacking(lake: Any) -> None:
    for size in (50, 50, 70, 20):
        reserve(lake, [USER], RUN, size)
    assert entries(lake) == [(RUN, 50), (RUN, 20)]


def test_when_the_second_budget_refuses_nothing_stays_reserved_in_the_first(lake: Any) -> None:
    with pytest.raises(
        AirflowFailException, match=r"over the budget of campaign crab .*: nothing is recalled"
    ):
        reserve(lake, [USER, CAMPAIGN], RUN, 80)
    assert taken(ledger(lake, USER.account)) == taken(ledger(lake, CAMPAIGN.account)) == 0


def test_when_more_is_refused_what_was_reserved_before_stays(lake: Any) -> None:
    reserve(lake, [USER, CAMPAIGN], RUN, 50)
    with pytest.raises(AirflowFailException, match="campaign crab"):
        reserve(lake, [USER, CAMPAIGN], RUN, 90)
    assert taken(ledger(lake, USER.account)) == taken(ledger(lake, CAMPAIGN.account)) == 50


@pytest.mark.parametrize(("theirs", "granted"), [(30, True), (80, False)])
def test_of_two_runs_at_the_same_time_the_slower_looks_again(lake: Any, theirs: int, granted: bool) -> None:
    lake.rivals = [(USER.account, entry_lfn(USER.account, 1), theirs)]
    if granted:
        reserve(lake, [USER], RUN, 50)
        assert entries(lake) == [("d/rival", theirs), (RUN, 50)]
    else:
        with pytest.raises(AirflowFailException, match=r"allowed are 20 B more of 100 B \(taken by d/rival"):
            reserve(lake, [USER], RUN, 50)
        assert entries(lake) == [("d/rival", theirs)]


@pytest.mark.parametrize(
    ("used", "left"), [(0, [0, 0]), (30, [30, 0]), (60, [50, 10]), (70, [50, 20]), (90, [50, 20])]
)
def test_settling_gives_back_what_was_not_recalled(lake: Any, used: int, left: list[int]) -> None:
    reserve(lake, [USER], "d/other", 10)
    reserve(lake, [USER], RUN, 50)
    reserve(lake, [USER], RUN, 70)
    for _ in range(2):
        settle(lake, USER.account, RUN, used)
    assert entries(lake) == [("d/other", 10), *((RUN, size) for size in left)]


def test_a_campaign_is_under_two_budgets_and_a_request_under_one(tasks: Tasks) -> None:
    steering = tasks.world.steering
    assert [b.account for b in budgets(steering, tasks.context)] == ["user/alice/2026-11"]
    named = {**steering, "campaign": {**steering["campaign"], "name": "crab", "budget_bytes": 7}}
    assert [(b.account, b.limit) for b in budgets(named, tasks.context)][1:] == [("campaign/crab", 7)]


def test_the_task_reserves_what_the_plan_says(tasks: Tasks) -> None:
    task = ReserveRecall(task_id="reserve", steering=tasks.world.steering, plan={"recall_bytes": 123})
    for _ in range(2):
        assert task.execute(tasks.context) == {"bytes": 123, "budgets": ["user/alice/2026-11"]}
    lake: Any = tasks.world.lake
    assert [e.size for e in ledger(lake, "user/alice/2026-11")] == [123]
