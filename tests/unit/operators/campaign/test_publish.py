from __future__ import annotations

import json

from esap_batch.carousel import Outcome
from tests.unit.operators.campaign.world import World, observations, pfn_of


def test_a_product_is_registered_with_papers_and_described_by_its_observation() -> None:
    world = World()
    world.plan(observations(1))
    world.finish()
    (product,) = world.lake.published.values()
    assert [f.name for f in product.files] == [
        "dl3_000001.json",
        "steering.json",
        "verdict.json",
        "provenance.json",
    ]
    about = world.lake.meta[product.dataset]
    assert (about["obs_id"], about["project"], about["data_level"]) == (1, "PI-1", "DL3")
    assert (about["esap_state"], about["esap_complete"], about["esap_missing_files"]) == (
        "published",
        True,
        0,
    )
    assert (about["obscore_dataproduct_type"], about["obscore_obs_id"]) == ("event", "1")
    assert about["esap_parents"] == world.observations[0].dataset
    assert world.lake.meta[world.observations[0].dataset]["esap_dl3"] == product.dataset


def test_transient_files_go_when_the_product_is_published() -> None:
    world = World()
    world.plan(observations(2))
    world.finish()
    assert not [p for p in world.storage.files if "/dl2_" in p]


def test_a_product_without_some_files_says_which() -> None:
    world = World({"missing_fraction": 0.5})
    world.plan(observations(1))
    missing = world.observations[0].files[1].lfn
    world.lake.broken = {missing: "torn"}
    world.finish()
    (dataset,) = world.lake.published
    about = world.lake.meta[dataset]
    assert (about["esap_complete"], about["esap_missing_files"], about["esap_parent_files"]) == (False, 1, 1)
    kept = json.loads(world.storage.files[pfn_of(f"{dataset}/steering.json")])
    assert (kept["observation"], kept["missing"]) == (1, [missing])
    assert missing not in world.storage.files[pfn_of(f"{dataset}/provenance.json")].decode()


def quarantined(world: World) -> dict[str, bytes]:
    area = pfn_of("/ctao/quarantine/")
    return {p.rsplit("/", 1)[-1]: c for p, c in world.storage.files.items() if p.startswith(area)}


def test_a_bad_product_is_put_aside_with_the_verdict_and_never_published() -> None:
    world = World()
    world.plan(observations(2))
    world.invalid = {1}
    world.finish()
    assert sorted(quarantined(world)) == ["dl3_000001.json", "verdict.json"]
    verdict = json.loads(quarantined(world)["verdict.json"])
    assert not verdict["passed"]
    assert {f["check"] for f in verdict["findings"]} == {"hello.format"}
    failed = world.items()[1]
    assert (failed.outcome, failed.reason) == (Outcome.FAILED, "OUTPUT_INVALID")
    assert "is odd" in failed.message
    assert list(world.lake.published) == [world.items()[2].product]


def test_the_verdict_on_a_bad_product_stays_when_a_worker_dies_after_it_was_put_aside() -> None:
    world = World()
    world.plan(observations(1))
    world.invalid = {1}
    for _ in range(2):
        world.turn()
        world.advance()
    moved = world.effects + 3  # nothing transient is deleted, the verdict is put, the file is moved
    world.deaths = {moved}
    world.finish()
    assert world.effects > moved
    verdict = json.loads(quarantined(world)["verdict.json"])
    assert {f["check"] for f in verdict["findings"]} == {"hello.format"}


def test_a_file_that_changed_after_its_job_is_not_published() -> None:
    world = World()
    world.plan(observations(1))
    for _ in range(2):
        world.turn()
        world.advance()
    (made,) = (p for p in world.storage.files if p.endswith("/dl3_000001.json"))
    world.storage.files[made] = b"something else"
    world.finish()
    assert world.items()[1].reason == "OUTPUT_INVALID"
    assert "adler32" in world.items()[1].message
    assert not world.lake.published
