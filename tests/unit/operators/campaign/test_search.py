from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, DownstreamTasksSkipped

from esap_batch.products import Claim
from esap_batch.use_cases import cta_reprocessing
from operators.campaign.search import SearchLake
from tests.unit.operators.campaign.conftest import Tasks
from tests.unit.operators.campaign.world import RUN, World, observation, observations, pfn_of

Search = Callable[..., dict[str, Any]]


@pytest.fixture
def search(tasks: Tasks) -> Search:
    """Give a function that searches a lake with four observations of two telescopes."""

    def run(prepare: Callable[[World], None] = lambda _: None, **request: Any) -> dict[str, Any]:
        world = tasks.world = World(request, {"block_length": 3})
        for one in observations(4):
            world.lake.add(one)
            for n, file in enumerate(one.files, start=1):
                world.lake.meta[file.lfn] = {"tel_id": n}
        prepare(world)
        return task_of(world).execute(tasks.context)

    return run


def task_of(world: World) -> SearchLake:
    return SearchLake(
        task_id="search",
        steering=world.steering,
        facility={"facility": "lapalma"},
        use_case=cta_reprocessing,
    )


def product(world: World, number: int, generation: int = 1) -> str:
    one = next(o for o in world.lake.raw.values() if o.obs_id == number)
    return f"{cta_reprocessing.product_base(world.steering, one)}-g{generation}"


def test_the_plan_sums_up_and_cuts_into_blocks(search: Search, tasks: Tasks) -> None:
    plan = search()
    assert {k: v for k, v in plan.items() if k != "listing"} == {
        "observations": 4, "files": 8, "bytes": 400, "todo": 4, "todo_files": 8, "todo_bytes": 400,
        "recall_bytes": 400, "blocks": 2, "by_place": {"LAPALMA-TAPE": 400}, "standing": {"new": 4},
        "dry_run": False,
    }  # fmt: skip
    blocks = tasks.world.worker().blocks(range(2))
    assert [[i.observation.obs_id for i in b.items] for b in blocks] == [[1, 2, 3], [4]]
    assert blocks[1].items[0].product == product(tasks.world, 4)


def test_what_lies_on_disk_is_not_to_be_recalled(search: Search) -> None:
    def on_disk(world: World) -> None:
        world.storage.files |= {
            pfn_of(f.lfn): b"raw" for o in list(world.lake.raw.values())[:1] for f in o.files
        }

    plan = search(on_disk)
    assert (plan["recall_bytes"], plan["by_place"]) == (300, {"LAPALMA-DISK": 100, "LAPALMA-TAPE": 400})


def test_only_some_observations_and_telescopes_are_taken(search: Search, tasks: Tasks) -> None:
    plan = search(obs_ids="2-3", telescopes="2")
    assert (plan["observations"], plan["files"], plan["bytes"]) == (2, 2, 100)
    for item in tasks.world.worker().blocks([0])[0].items:
        assert item.observation.is_partial
        assert [f.name.split("_")[2] for f in item.observation.files] == ["tel002"]


def test_an_observation_without_such_telescopes_is_left_out(search: Search, tasks: Tasks) -> None:
    def others(world: World) -> None:
        for file in world.lake.raw["/ctao/acada/DL0/LaPalma/obs_000001"].files:
            world.lake.meta[file.lfn] = {"tel_id": 9}

    assert search(others, telescopes="1-2")["observations"] == 3
    items = [i for b in tasks.world.worker().blocks([0]) for i in b.items]
    assert [i.observation.obs_id for i in items] == [2, 3, 4]


def flaw(world: World) -> None:
    for one in world.lake.raw.values():
        world.lake.meta[one.dataset] |= {**dict.fromkeys(cta_reprocessing.INHERITED, 1), **one.metadata}
    del world.lake.meta["/ctao/acada/DL0/LaPalma/obs_000002"]["array_layout"]


def test_an_observation_without_metadata_is_refused_by_name(search: Search, tasks: Tasks) -> None:
    with pytest.raises(AirflowFailException, match="obs_000002 has no metadata array_layout"):
        search(flaw, processor="esap-fits")
    assert not tasks.world.storage.files


def test_a_campaign_leaves_out_an_observation_without_metadata(search: Search, tasks: Tasks) -> None:
    def flawed_campaign(world: World) -> None:
        flaw(world)
        world.steering = {**world.steering, "campaign": {**world.steering["campaign"], "name": "spring"}}

    assert search(flawed_campaign, processor="esap-fits")["observations"] == 3
    items = [i for b in tasks.world.worker().blocks([0]) for i in b.items]
    assert [i.observation.obs_id for i in items] == [1, 3, 4]


def test_what_others_do_or_have_done_is_not_done_again(search: Search, tasks: Tasks) -> None:
    def claimed(world: World) -> None:
        recipe = world.worker().claimed
        world.lake.hold(Claim(product(world, 1), "d/done", is_published=True), **recipe)
        world.lake.hold(Claim(product(world, 2), "d/alive", is_published=False), **recipe)
        world.lake.hold(Claim(product(world, 3), "d/dead", is_published=False), **recipe)
        world.lake.hold(Claim(product(world, 4), RUN, is_published=False), **recipe)

    tasks.ti.runs = {"d/alive": "running", "d/dead": "failed"}
    plan = search(claimed)
    assert plan["standing"] == {"again": 1, "own": 1, "done": 1, "elsewhere": 1}
    items = tasks.world.worker().blocks([0])[0].items
    assert [i.product for i in items] == [product(tasks.world, 3, 2), product(tasks.world, 4)]


@pytest.mark.parametrize(
    ("retry", "standing"), [(False, {"new": 3, "hopeless": 1}), (True, {"new": 3, "again": 1})]
)
def test_the_hopeless_is_tried_again_on_request_only(
    search: Search, retry: bool, standing: dict[str, int]
) -> None:
    def failed(world: World) -> None:
        about = {"esap_state": "failed", "esap_reason": "INPUT_CORRUPT", "esap_message": "is odd"}
        claim = Claim(product(world, 1), "d/dead", is_published=False)
        world.lake.hold(claim, **world.worker().claimed, **about)

    assert search(failed, retry_failed=retry)["standing"] == standing


def test_a_dry_run_lists_all_files_and_goes_no_further(search: Search, tasks: Tasks) -> None:
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        search(dry_run=True)
    assert skipped.value.tasks == ["reserve_recall"]
    plan = tasks.ti.pushed["return_value"]
    assert plan["dry_run"]
    listing = json.loads(tasks.world.storage.files[plan["listing"]["pfn"]])
    assert [o["obs_id"] for o in listing["observations"]] == [1, 2, 3, 4]
    assert listing["observations"][0]["files"][0]["rses"] == ["LAPALMA-TAPE"]
    assert not [p for p in tasks.world.storage.files if "block-" in p]


def test_with_nothing_to_do_the_run_goes_no_further(search: Search, tasks: Tasks) -> None:
    def done(world: World) -> None:
        for n in range(1, 5):
            claim = Claim(product(world, n), "d/done", is_published=True)
            world.lake.hold(claim, **world.worker().claimed)

    with pytest.raises(DownstreamTasksSkipped):
        search(done)
    assert (tasks.ti.pushed["return_value"]["todo"], tasks.ti.pushed["return_value"]["blocks"]) == (0, 0)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"obs_ids": "77"}, "no observation in the lake is as asked for: .*'obs_ids': '77'"),
        ({"window_gb": 5e-8}, "window_gb = 5e-08: allowed at least 1e-07, the volume of observation 1"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_recalled(
    search: Search, tasks: Tasks, request_: dict[str, Any], message: str
) -> None:
    with pytest.raises(AirflowFailException, match=message):
        search(**request_)
    assert not tasks.world.storage.files


def test_too_many_observations_are_refused(search: Search) -> None:
    def small(world: World) -> None:
        world.steering = {**world.steering, "limits": {**world.steering["limits"], "max_observations": 3}}

    with pytest.raises(AirflowFailException, match="4 observations are selected: allowed at most 3 a run"):
        search(small)


def test_the_plan_of_a_run_that_has_begun_stands(search: Search, tasks: Tasks) -> None:
    """Jobs are named by the places of observations in the plan: another one would take theirs over."""
    plan, world = search(), tasks.world
    world.blocks = plan["blocks"]
    for _ in range(3):
        world.turn()
        world.advance()
    assert world.lake.published
    planned, published = list(world.items()), dict(world.lake.published)
    world.lake.add(observation(0))
    assert task_of(world).execute(tasks.context) == plan
    assert list(world.items()) == planned
    world.finish()
    assert world.lake.published.items() >= published.items()
    assert world.tally().observations == {"done": 4}
    world.require_whole()


def test_a_run_that_has_begun_without_a_plan_goes_on_by_its_listing(search: Search, tasks: Tasks) -> None:
    """The version before wrote no plan.json."""

    def done(world: World) -> None:
        claim = Claim(product(world, 2), "d/done", is_published=True)
        world.lake.hold(claim, **world.worker().claimed)
        world.lake.add(observation(5))

    plan, world = search(done), tasks.world
    assert (plan["todo"], plan["blocks"]) == (4, 2)
    world.blocks = plan["blocks"]
    world.turn()
    (written,) = [p for p in world.storage.files if p.endswith("/plan.json")]
    world.storage.delete([written])
    assert task_of(world).execute(tasks.context) == plan
    assert world.worker().plan() == plan


def test_before_it_has_begun_a_search_plans_anew(search: Search, tasks: Tasks) -> None:
    search()
    tasks.world.lake.add(observation(0))
    assert task_of(tasks.world).execute(tasks.context)["todo"] == 5


def test_a_plan_is_not_gone_on_with_by_other_software(search: Search, tasks: Tasks) -> None:
    search()
    tasks.world.blocks = 2
    tasks.world.turn()
    first, *others = tasks.world.steering["software"]
    tasks.world.steering = {**tasks.world.steering, "software": [{**first, "version": "9.9"}, *others]}
    with pytest.raises(AirflowFailException, match="start a new run"):
        task_of(tasks.world).execute(tasks.context)
