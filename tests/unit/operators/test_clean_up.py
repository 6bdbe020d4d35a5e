from __future__ import annotations

import pytest

from esap_batch.jobs import JobState, group_name
from esap_batch.products import Claim, work_lfn
from operators.clean_up import CleanUp
from tests.unit.conftest import ACCEPTED, DAG_ID, DATASET, PRODUCT, RUN, RUN_ID, World

STEPS = ("submit_simulation", "submit_merge")
GROUPS = [group_name(DAG_ID, RUN_ID, step) for step in STEPS]
WORK = [f"{work_lfn(group)}/batch.json" for group in GROUPS]
OUTPUT = f"{DATASET}/out.json"
FOREIGN = "/ctao/esap/work/esap-another/batch.json"


@pytest.fixture(autouse=True)
def files(world: World) -> None:
    """Let both steps and the product have a file, and another run too."""
    for lfn in (*WORK, OUTPUT, FOREIGN):
        path = world.path(lfn)
        path.parent.mkdir(parents=True)
        path.write_text("x")


def left(world: World) -> list[str]:
    return [lfn for lfn in (*WORK, OUTPUT, FOREIGN) if world.path(lfn).exists()]


def run(world: World) -> None:
    task = CleanUp(
        task_id="clean_up",
        facility="select_facility",
        steps=STEPS,
        claim="check_duplicate",
        verify="verify_outputs",
    )
    task.execute(world.context())


def state(world: World, *, verified: bool, published: bool) -> None:
    world.ti.xcoms = {"select_facility": {"facility": "lapalma"}, "check_duplicate": PRODUCT}
    if verified:
        world.ti.xcoms["verify_outputs"] = ACCEPTED
    world.lake.put_claim(Claim(DATASET, RUN, is_published=published))


def test_a_run_that_chose_no_facility_left_nothing(world: World) -> None:
    world.ti.xcoms = {"check_duplicate": PRODUCT}
    run(world)
    assert world.opened == []
    assert len(left(world)) == 4


def test_what_was_never_verified_is_deleted(world: World) -> None:
    state(world, verified=False, published=False)
    run(world)
    assert left(world) == [FOREIGN]


def test_of_a_published_product_only_transient_files_are_deleted(world: World) -> None:
    state(world, verified=True, published=True)
    run(world)
    assert left(world) == [OUTPUT, FOREIGN]


def test_what_was_verified_but_not_ingested_stays_to_go_on_with(world: World) -> None:
    state(world, verified=True, published=False)
    run(world)
    assert len(left(world)) == 4


def test_a_published_product_is_never_deleted_even_if_a_cleared_verification_fails(world: World) -> None:
    state(world, verified=False, published=True)
    run(world)
    assert left(world) == [OUTPUT, FOREIGN]


def test_jobs_of_every_step_are_killed_and_their_sandboxes_let_go(world: World) -> None:
    state(world, verified=False, published=False)
    submission = world.submission(2)
    world.backend.known[GROUPS[1]] = world.backend.known.pop(submission["group"])
    run(world)
    assert world.events == [f"{act} {group}" for group in GROUPS for act in ("cancel", "clean_up")]
    assert {a.state for a in world.backend.known[GROUPS[1]]} == {JobState.CANCELLED}


def test_jobs_are_killed_even_where_all_files_stay(world: World) -> None:
    state(world, verified=True, published=False)
    run(world)
    assert [e for e in world.events if e.startswith("cancel")] == [f"cancel {group}" for group in GROUPS]


def test_it_may_be_repeated(world: World) -> None:
    state(world, verified=False, published=False)
    run(world)
    run(world)
    assert left(world) == [FOREIGN]
