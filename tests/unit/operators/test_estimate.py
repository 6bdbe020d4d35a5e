from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskAwaitingInput

from esap_batch.workflows import Workflow
from operators.estimate import ConfirmWork, EstimateWork
from tests.unit.conftest import World, steering

PLAN = {"needs_confirmation": True, "summary": "a lot"}


def confirm(plan: dict[str, Any]) -> ConfirmWork:
    return ConfirmWork(task_id="confirm", plan=plan, subject="Run it?", body="text")


def answer(option: str, by: dict[str, str] | None) -> dict[str, Any]:
    return {
        "chosen_options": [option],
        "params_input": {},
        "responded_at": datetime(2026, 11, 21, tzinfo=UTC),
        "responded_by_user": by,
    }


def test_the_estimate_is_made_from_the_steering_and_its_workflow(world: World) -> None:
    seen: list[Any] = []

    def estimate(given: Any, workflow: Workflow) -> dict[str, Any]:
        seen.append((given, workflow.name))
        return PLAN

    task = EstimateWork(task_id="estimate", steering=steering(), estimate=estimate)
    assert task.execute(world.context()) == PLAN
    assert seen == [(steering(), "hello_world")]


def test_what_needs_no_confirmation_passes_without_a_question(world: World) -> None:
    assert confirm({**PLAN, "needs_confirmation": False}).execute(world.context()) is None


def test_a_large_plan_waits_for_a_person(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    world.ti.id = "ti-1"  # type: ignore[attr-defined]
    monkeypatch.setattr(
        "airflow.providers.standard.operators.hitl.upsert_hitl_detail", lambda **q: asked.append(q)
    )
    with pytest.raises(TaskAwaitingInput):
        confirm(PLAN).execute(world.context())
    assert [(q["ti_id"], q["subject"], q["options"]) for q in asked] == [
        ("ti-1", "Run it?", ["Approve", "Reject"])
    ]


def test_yes_goes_on(world: World) -> None:
    confirm(PLAN).execute_complete(world.context(), answer("Approve", {"id": "1", "name": "bob"}))


@pytest.mark.parametrize(("by", "who"), [({"id": "1", "name": "bob"}, "bob"), (None, "somebody")])
def test_no_is_final_and_says_whose_it_was(world: World, by: dict[str, str] | None, who: str) -> None:
    with pytest.raises(AirflowFailException, match=f"^{who} rejected this production: nothing is submitted"):
        confirm(PLAN).execute_complete(world.context(), answer("Reject", by))
