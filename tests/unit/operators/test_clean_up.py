from __future__ import annotations

import json
from dataclasses import replace

import pytest

from esap_batch.jobs import Attempt, Batch, JobState, group_name
from esap_batch.products import Claim, work_lfn
from operators import submission
from operators.clean_up import CleanUp
from operators.submission import SUBMITTING
from tests.unit.conftest import ACCEPTED, DAG_ID, DATASET, GROUP, PRODUCT, RUN, RUN_ID, FakePlaces, World

STEPS = ("submit_simulation", "submit_merge")
GROUPS = [group_name(DAG_ID, RUN_ID, step) for step in STEPS]
WORK = [f"{work_lfn(group)}/batch.json" for group in GROUPS]
REPORTS = f"{work_lfn(GROUPS[1])}/reports.json"
FOREIGN = "/ctao/esap/work/esap-another/batch.json"
DONE, BROKEN, PARTS = (
    f"{DATASET}/{name}" for name in ("out_0.json", "out_1.json", ".out_1.json~node-7.part")
)


@pytest.fixture(autouse=True)
def files(world: World) -> None:
    """Let the second step have a finished job, a broken one that has left something, and three that run."""
    world.submission(5)
    world.done(0)
    world.fail(1)
    world.backend.known[GROUPS[1]] = world.backend.known.pop(GROUP)
    world.path(BROKEN).write_text("half")
    world.path(PARTS).write_text("ha")
    jobs = world.site().located(world.jobs(5))
    for group, some in zip(GROUPS, ((), jobs), strict=True):
        world.site().keep(group, "batch.json", replace(Batch(group, ()), jobs=some).journal())
    world.path(FOREIGN).parent.mkdir()
    world.path(FOREIGN).write_text("x")
    world.events.clear()


def left(world: World) -> list[str]:
    return [lfn for lfn in (*WORK, REPORTS, DONE, BROKEN, PARTS, FOREIGN) if world.path(lfn).exists()]


def run(world: World) -> None:
    task = CleanUp(
        task_id="clean_up",
        facility="select_facility",
        steps=STEPS,
        claim="check_duplicate",
        verify="verify_outputs",
    )
    task.execute(world.context())


def state(world: World, *, verified: bool, published: bool, missing: int = 0) -> None:
    world.ti.xcoms = {"select_facility": {"facility": "lapalma"}, "check_duplicate": PRODUCT}
    if verified:
        world.ti.xcoms["verify_outputs"] = ACCEPTED
        world.ti.states["verify_outputs"] = "success"
    world.lake.put_claim(Claim(DATASET, RUN, published, missing, jobs=5))


def test_a_run_that_chose_no_facility_left_nothing(world: World) -> None:
    world.ti.xcoms = {"check_duplicate": PRODUCT}
    run(world)
    assert world.opened == []
    assert REPORTS not in left(world)


@pytest.mark.parametrize("verified", [True, False])
def test_without_a_product_what_finished_jobs_have_made_stays_with_all_reports(
    world: World, verified: bool
) -> None:
    state(world, verified=verified, published=False)
    run(world)
    assert left(world) == [*WORK, REPORTS, DONE, FOREIGN]
    reports = json.loads(world.path(REPORTS).read_text())["reports"]
    assert {j: r["reason"] for j, r in reports.items()} == {"0-1": "OK", "1-1": "PAYLOAD_FAILED"}


def test_after_a_complete_product_all_work_files_go_but_reports_and_the_product_stays(world: World) -> None:
    state(world, verified=True, published=True)
    world.site().keep(GROUPS[1], "reports.json", {"schema": 1, "reports": {}})
    world.site().keep(GROUPS[1], "run.json", {"run": RUN})
    run(world)
    assert left(world) == [REPORTS, DONE, BROKEN, PARTS, FOREIGN]
    work = world.path(REPORTS).parent
    assert sorted(p.name for p in work.iterdir()) == ["reports.json", "run.json"]
    assert not world.path(WORK[0]).parent.exists()


def test_after_a_partial_product_its_work_files_stay(world: World) -> None:
    state(world, verified=True, published=True, missing=2)
    run(world)
    assert left(world) == [*WORK, REPORTS, DONE, FOREIGN]


def test_what_the_lake_knows_is_never_deleted(world: World) -> None:
    state(world, verified=True, published=True, missing=2)
    (output,) = world.site().located(world.jobs(5))[1].outputs
    world.lake.datasets[DATASET]["files"] = [output]
    run(world)
    assert BROKEN in left(world)


def test_jobs_of_every_step_are_killed_before_their_reports_are_kept_and_sandboxes_let_go(
    world: World,
) -> None:
    state(world, verified=False, published=False)
    run(world)
    first, second = GROUPS
    assert world.events == [
        f"cancel {first}",
        f"clean_up {first}",
        f"cancel {second}",
        "put reports.json",
        f"clean_up {second}",
        f"cancel {first}",  # for what came late
        f"cancel {second}",
    ]
    states = [a.state for a in world.backend.known[second]]
    assert states == [JobState.DONE, JobState.FAILED, *[JobState.CANCELLED] * 3]


def test_it_may_be_repeated_also_when_the_sandboxes_are_gone(world: World) -> None:
    state(world, verified=False, published=False)
    run(world)
    kept = world.path(REPORTS).read_text()
    world.forget()
    run(world)
    assert left(world) == [*WORK, REPORTS, DONE, FOREIGN]
    assert world.path(REPORTS).read_text() == kept


def test_jobs_that_are_on_their_way_are_waited_for_and_killed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    state(world, verified=False, published=False)
    area = world.path(WORK[0]).parent.parent / GROUPS[0]
    late, mark = Attempt("99", 4, 2, JobState.QUEUED), area / SUBMITTING
    mark.touch()

    def meanwhile(_seconds: float) -> None:
        """Stand for the task that submits jobs, and then ends."""
        world.backend.known.setdefault(GROUPS[0], []).append(late)
        mark.unlink()

    monkeypatch.setattr("operators.submission.time.sleep", meanwhile)
    run(world)
    assert world.backend.known[GROUPS[0]][-1].state is JobState.CANCELLED


def test_a_task_that_was_killed_in_mid_submission_is_not_waited_for_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    state(world, verified=False, published=False)
    mark = world.path(WORK[0]).parent.parent / GROUPS[1] / SUBMITTING
    mark.touch()
    monkeypatch.setattr(submission, "LINGER_S", 0.0)
    run(world)
    assert not mark.exists()
    assert f"cancel {GROUPS[1]}" in world.events


def test_places_at_a_full_facility_are_given_back(world: World, places: FakePlaces) -> None:
    state(world, verified=True, published=True)
    run(world)
    assert [e for e in world.events if e.startswith("give back")] == [
        f"give back lapalma {g}" for g in GROUPS
    ]
