from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from esap_batch.campaigns import Campaign, load_campaigns
from esap_batch.use_cases import cta_reprocessing
from operators.campaign.validate import ValidateCampaign
from tests.unit.operators.campaign.conftest import Tasks
from tests.unit.operators.campaign.world import CONFIG

CAMPAIGN = next(c for c in load_campaigns(CONFIG) if c.name == "crab_2026")


def validate(tasks: Tasks, user: str | None, campaign: Campaign = CAMPAIGN, **conf: Any) -> dict[str, Any]:
    tasks.user, tasks.conf = user, conf
    task = ValidateCampaign(task_id="validate", campaign=campaign, check=cta_reprocessing.check)
    context = tasks.context
    context["dag_run"].dag_id = CAMPAIGN.dag_id
    return task.execute(context)


@pytest.mark.parametrize("user", [None, "alice", "carol"])
def test_scheduler_owner_and_administrators_run_it_as_its_owner(tasks: Tasks, user: str | None) -> None:
    steering = validate(tasks, user)
    assert steering["owner"] == "alice"
    assert steering["campaign"]["name"] == "crab_2026"
    assert steering["campaign"]["budget_bytes"] == CAMPAIGN.budget_bytes
    assert steering["campaign"]["block_length"] > 0
    assert steering["request"]["project"] == CAMPAIGN.request["project"]


def test_it_runs_as_the_owner_of_the_campaign_that_it_was_made_for(tasks: Tasks) -> None:
    """Whatever the file says meanwhile."""
    assert validate(tasks, None, replace(CAMPAIGN, owner="carol"))["owner"] == "carol"


@pytest.mark.parametrize("user", ["bob", "nobody-known"])
def test_nobody_else_may_run_it(tasks: Tasks, user: str) -> None:
    with pytest.raises(AirflowFailException, match=user):
        validate(tasks, user)


def test_a_trigger_decides_about_dry_runs_and_retries_and_nothing_else(tasks: Tasks) -> None:
    request = validate(tasks, "alice", dry_run=True, retry_failed=True, project="PI-9", window_gb=1)[
        "request"
    ]
    assert (request["dry_run"], request["retry_failed"]) == (True, True)
    assert (request["project"], request["window_gb"]) == (
        CAMPAIGN.request["project"],
        CAMPAIGN.request["window_gb"],
    )
