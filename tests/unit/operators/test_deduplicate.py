from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import DownstreamTasksSkipped, TaskDeferred

from esap_batch.products import Claim
from operators.deduplicate import ClaimProduct
from tests.unit.conftest import BASE, DATASET, PRODUCT, RUN, World, steering
from triggers.runs import RunEnded

OTHER = "hello_world/manual__0"
FOUND = {**PRODUCT, "state": "published", "missing": 0, "jobs": 0}


def following(*names: str, teardowns: tuple[str, ...] = ()) -> Any:
    tasks = [SimpleNamespace(task_id=n, is_teardown=n in teardowns) for n in (*names, *teardowns)]

    def get_direct_relatives(upstream: bool) -> list[Any]:
        return [] if upstream else tasks

    return SimpleNamespace(get_direct_relatives=get_direct_relatives)


def task(**request: Any) -> ClaimProduct:
    return ClaimProduct(task_id="check_duplicate", steering=steering(**request))


def run(world: World, **request: Any) -> dict[str, str]:
    return task(**request).execute(world.context(task=following("select_facility", teardowns=("clean_up",))))


def test_a_new_product_is_claimed_for_this_run(world: World) -> None:
    assert run(world) == PRODUCT
    assert world.lake.described[DATASET] == {
        "esap_run": RUN,
        "esap_owner": "alice",
        "esap_workflow": "hello_world",
        "esap_fingerprint": steering()["fingerprint"],
        "esap_state": "claimed",
    }


def test_a_second_try_finds_its_own_claim(world: World) -> None:
    first = run(world)
    world.events.clear()
    assert run(world) == first
    assert world.events == []


def test_a_published_product_is_used_and_what_follows_is_skipped_but_teardowns(world: World) -> None:
    world.lake.put_claim(Claim(DATASET, OTHER, is_published=True))
    with pytest.raises(DownstreamTasksSkipped) as end:
        run(world)
    assert end.value.tasks == ["select_facility"]
    assert world.ti.pushed == {"return_value": {**FOUND, "made_by": OTHER}}
    assert world.events == []


def test_force_makes_a_new_generation_beside_a_published_one(world: World) -> None:
    world.lake.put_claim(Claim(DATASET, OTHER, is_published=True))
    assert run(world, force=True)["dataset"] == f"{BASE}-g2"


def test_the_run_that_makes_the_product_is_waited_for(world: World) -> None:
    world.lake.put_claim(Claim(DATASET, "cta_irf/manual__2026/11", is_published=False))
    world.ti.runs["cta_irf/manual__2026/11"] = "running"
    with pytest.raises(TaskDeferred) as wait:
        run(world)
    trigger = wait.value.trigger
    assert isinstance(trigger, RunEnded)
    assert (trigger.dag_id, trigger.run_id) == ("cta_irf", "manual__2026/11")
    assert callable(getattr(task(), wait.value.method_name))
    told = "waits for run cta_irf/manual__2026/11, which makes the same product"
    assert world.ti.pushed == {"progress": {"text": told}}
    assert world.events == []


def test_a_queued_run_counts_as_one_that_makes_it(world: World) -> None:
    world.lake.put_claim(Claim(DATASET, OTHER, is_published=False))
    world.ti.runs[OTHER] = "queued"
    with pytest.raises(TaskDeferred):
        run(world)


@pytest.mark.parametrize("state", ["failed", "success", None])
def test_the_claim_of_a_run_that_ended_or_is_unknown_is_taken_over(world: World, state: str | None) -> None:
    world.lake.put_claim(Claim(DATASET, OTHER, is_published=False))
    if state:
        world.ti.runs[OTHER] = state
    assert run(world) == {
        "dataset": f"{BASE}-g2",
        "production_id": f"{PRODUCT['production_id'][:-1]}2",
        "made_by": RUN,
        "state": "claimed",
    }


def test_who_loses_the_race_looks_again_and_waits_for_the_winner(world: World) -> None:
    world.lake.rivals.append(Claim(DATASET, OTHER, is_published=False))
    world.ti.runs[OTHER] = "running"
    with pytest.raises(TaskDeferred) as wait:
        run(world)
    assert wait.value.trigger.serialize()[1]["run_id"] == "manual__0"
    assert world.events == [f"claim {DATASET}"]


def test_after_the_wait_the_product_is_used_if_it_is_there_now(world: World) -> None:
    world.lake.put_claim(Claim(DATASET, OTHER, is_published=True))
    with pytest.raises(DownstreamTasksSkipped):
        task().resume(world.context(task=following("next")), {"any": "event"})
    assert world.ti.pushed["return_value"]["made_by"] == OTHER


def test_after_the_wait_the_claim_is_taken_over_if_the_other_run_failed(world: World) -> None:
    world.lake.put_claim(Claim(DATASET, OTHER, is_published=False))
    world.ti.runs[OTHER] = "failed"
    assert task().resume(world.context(task=following("next")), None)["made_by"] == RUN


def test_a_run_that_is_cleared_after_it_published_says_that_it_made_the_product(world: World) -> None:
    world.lake.put_claim(Claim(DATASET, RUN, is_published=True))
    with pytest.raises(DownstreamTasksSkipped):
        run(world)
    assert world.ti.pushed["return_value"] == FOUND


def test_a_partial_product_is_used_and_told_as_such(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.lake.put_claim(Claim(DATASET, OTHER, is_published=True, missing=3, jobs=8))
    with pytest.raises(DownstreamTasksSkipped):
        run(world)
    given = world.ti.pushed["return_value"]
    assert (given["missing"], given["jobs"]) == (3, 8)
    told = capsys.readouterr().out
    assert f"3 of 8 jobs are missing in {DATASET}" in told
    assert f"in run {OTHER}" in told
