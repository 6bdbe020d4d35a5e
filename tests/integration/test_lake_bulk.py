"""The bulk operations on a real Rucio, with observations on its tape stand-in."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from esap_batch.observations import Observation
from esap_batch.products import ProductFile
from hooks.lake_bulk import BulkLake, Publication, origin_of
from hooks.rucio_lake import RucioLake, RucioSettings
from hooks.storage_element import StorageElement
from localgrid.samples.blank import fill_blank

DISK, TAPE, COPY = "LAPALMA-DISK", "LAPALMA-TAPE", "CSCS-DISK"
COUNT, FILES = 3, 2
FIRST = 900_000


@pytest.fixture(scope="module")
def project(lake: RucioLake, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Put three observations of a new project on tape."""
    name = f"PI-{uuid.uuid4().hex[:8]}"
    fill_blank(lake, tmp_path_factory.mktemp("raw"), project=name, first=FIRST, count=COUNT, files=FILES)
    return name


@pytest.fixture
def bulk(lake: RucioLake) -> BulkLake:
    return BulkLake(lake)


@pytest.fixture
def observations(bulk: BulkLake, project: str) -> list[Observation]:
    names = bulk.find("acada", [{"project": project, "kind": "observation"}])
    metadata, files = bulk.metadata(names), bulk.files(names)
    return [Observation(int(metadata[n]["obs_id"]), n, metadata[n], files[n]) for n in names]


@pytest.fixture
def tag(bulk: BulkLake) -> Iterator[str]:
    """Name a run's recalls; those of a test that fails do not stay in the way of others."""
    name = f"esap-{uuid.uuid4().hex[:20]}"
    yield name
    for one in (name, f"{name[:-1]}x"):
        for recall in bulk.recalls(one):
            bulk.release(recall.rule_id)


def on_disk(lake: RucioLake, observation: Observation) -> int:
    """Count the files that lie on the facility's disk."""
    return len(StorageElement().exists(lake.pfns(DISK, [f.lfn for f in observation.files]).values()))


def test_observations_are_found_by_columns_and_other_metadata_together(bulk: BulkLake, project: str) -> None:
    every = {"project": project, "kind": "observation"}
    names = bulk.find("acada", [every])
    assert len(names) == COUNT
    some = bulk.find(
        "acada", [{**every, "obs_id": FIRST}, {**every, "obs_id.gte": FIRST + 2, "obs_id.lte": FIRST + 9}]
    )
    assert some == [names[0], names[2]]
    assert bulk.find("acada", [{**every, "obs_id": FIRST + 50}]) == []
    about = bulk.metadata([*names, f"{names[0]}-unknown"])
    assert sorted(about) == names
    assert (about[names[0]]["project"], about[names[0]]["obs_id"]) == (project, FIRST)
    assert set(bulk.open_state(names).values()) == {False}


def test_files_come_with_their_sizes_and_where_they_are(
    bulk: BulkLake, observations: list[Observation]
) -> None:
    for one in observations:
        assert [f.name for f in one.files] == sorted(f.name for f in one.files)
        assert [f.size for f in one.files] == [1000] * FILES
    lfns = [f.lfn for o in observations for f in o.files]
    places = bulk.places(lfns)
    assert sorted(places) == sorted(lfns)
    assert all(TAPE in rses for rses in places.values())


def test_of_runs_that_claim_the_same_products_each_product_has_one_holder(
    lake_settings: RucioSettings, bulk: BulkLake
) -> None:
    base, recipe = f"/ctao/dl3/test/{uuid.uuid4().hex[:12]}", uuid.uuid4().hex
    names = [f"{base}/obs_{n:06d}-g1" for n in range(6)]

    def claim(n: int) -> set[str]:
        meta = {"esap_run": f"d/r{n}", "kind": "observation", "esap_recipe": recipe}
        return BulkLake(RucioLake(lake_settings)).claim(dict.fromkeys(names[n % 3 :], meta))

    with ThreadPoolExecutor(6) as pool:
        granted = list(pool.map(claim, range(6)))
    assert sorted(name for names_of_run in granted for name in names_of_run) == names
    known = bulk.claims("dl3", {"kind": "observation", "esap_recipe": recipe})
    holders = {claim.dataset: claim.run for claims in known.values() for claim, _ in claims}
    assert holders == {name: f"d/r{n}" for n, created in enumerate(granted) for name in created}
    assert not any(claim.is_published for claims in known.values() for claim, _ in claims)
    assert sorted(known) == [name.removesuffix("-g1") for name in names]


def test_recalls_are_adopted_bring_the_files_and_give_the_disk_back(
    lake: RucioLake, bulk: BulkLake, observations: list[Observation], tag: str, wait_for: Any
) -> None:
    first = observations[0]
    rules = bulk.recall([first.dataset], DISK, tag, 3)
    assert bulk.recall([first.dataset], DISK, tag, 3) == rules
    (rule,) = rules.values()
    (standing,) = bulk.recalls(tag)
    assert (standing.rule_id, standing.dataset, standing.rse) == (rule, first.dataset, DISK)
    assert bulk.recall_states([tag, "another"]).keys() == {tag, "another"}
    wait_for(lambda: bulk.recall_states([tag])[tag] == f"{rule} OK", within=60)
    assert on_disk(lake, first) == FILES
    assert bulk.missing(rule) == []
    assert all(DISK in rses for rses in bulk.places([f.lfn for f in first.files]).values())
    for _ in range(2):
        bulk.release(rule)
    assert bulk.recalls(tag) == []
    wait_for(lambda: on_disk(lake, first) == 0, within=60)


def test_a_recall_to_another_disk_is_another_one(
    bulk: BulkLake, observations: list[Observation], tag: str
) -> None:
    """A run that is cleared from its choice of a facility may choose another."""
    dataset = observations[0].dataset
    made = {rse: bulk.recall([dataset], rse, tag, 3)[dataset] for rse in (DISK, COPY)}
    assert {r.rse: r.rule_id for r in bulk.recalls(tag)} == made
    assert bulk.recall([dataset], COPY, tag, 3)[dataset] == made[COPY] != made[DISK]
    for rule in made.values():
        bulk.release(rule)


def test_a_recall_is_renewed_before_it_expires(
    bulk: BulkLake, observations: list[Observation], tag: str
) -> None:
    dataset = observations[0].dataset
    rule = bulk.recall([dataset], DISK, tag, 3)[dataset]
    assert [r.expires_soon for r in bulk.recalls(tag)] == [False]
    bulk.lake.client.update_replication_rule(rule, {"lifetime": 3600})
    assert [r.expires_soon for r in bulk.recalls(tag)] == [True]
    bulk.renew(rule)
    assert [r.expires_soon for r in bulk.recalls(tag)] == [False]
    bulk.release(rule)


def test_what_was_just_released_can_be_asked_for_again(
    lake: RucioLake, bulk: BulkLake, observations: list[Observation], tag: str, wait_for: Any
) -> None:
    """Rucio keeps a released rule for a while, and allows no second one beside it."""
    dataset = observations[1].dataset
    bulk.release(bulk.recall([dataset], DISK, tag, 3)[dataset])
    again = bulk.recall([dataset], DISK, tag, 3)[dataset]
    assert [r.rule_id for r in bulk.recalls(tag)] == [again]
    wait_for(lambda: [r.state for r in bulk.recalls(tag)] == ["OK"], within=60)
    assert on_disk(lake, observations[1]) == FILES
    bulk.release(again)


def test_two_runs_recall_the_same_observation_each_by_a_rule_of_its_own(
    lake: RucioLake, bulk: BulkLake, observations: list[Observation], tag: str, wait_for: Any
) -> None:
    names, other = [o.dataset for o in observations[:2]], f"{tag[:-1]}x"
    first = bulk.recall(names[:1], DISK, tag, 3)
    second = bulk.recall(names, DISK, other, 3)
    assert bulk.recall(names, DISK, other, 3) == second
    assert {r.rule_id for r in bulk.recalls(tag)} == set(first.values())
    assert {r.rule_id for r in bulk.recalls(other)} == set(second.values())
    assert not set(first.values()) & set(second.values())
    wait_for(lambda: {r.state for r in (*bulk.recalls(tag), *bulk.recalls(other))} == {"OK"}, within=60)
    bulk.release(first[names[0]])
    assert len(bulk.recalls(other)) == 2
    assert on_disk(lake, observations[0]) == FILES
    lfns = [f.lfn for f in observations[0].files]
    assert bulk.pinned(lfns, DISK) == set(lfns)
    assert bulk.pinned(lfns, COPY) == set()
    for rule in second.values():
        bulk.release(rule)
    assert bulk.pinned(lfns, DISK) == set()
    wait_for(lambda: on_disk(lake, observations[0]) == 0, within=60)


def test_of_a_partial_observation_only_the_files_that_are_wanted_are_recalled(
    lake: RucioLake, bulk: BulkLake, observations: list[Observation], tag: str, wait_for: Any
) -> None:
    whole = observations[2]
    part = whole.only([whole.files[0].lfn])
    assert bulk.recallable(whole, tag) == whole.dataset
    dataset = bulk.recallable(part, tag)
    assert bulk.recallable(part, tag) == dataset != whole.dataset
    rule = bulk.recall([dataset], DISK, tag, 3)[dataset]
    wait_for(lambda: [r.state for r in bulk.recalls(tag)] == ["OK"], within=60)
    assert on_disk(lake, whole) == 1
    bulk.release(rule)


def test_products_are_published_whole_whatever_an_earlier_try_did(lake: RucioLake, bulk: BulkLake) -> None:
    base, run = f"/ctao/dl3/test/{uuid.uuid4().hex[:12]}", "d/r1"
    meta = {"esap_run": run, "mark": uuid.uuid4().hex}
    meta |= {"kind": "observation", "obscore_dataproduct_type": "event"}
    products = [_product(lake, f"{base}/obs_{n:06d}-g1", meta) for n in range(2)]
    bulk.claim({p.dataset: meta for p in products})
    first_file = replace(products[0], files=products[0].files[:1])
    lake.add_files(first_file.dataset, DISK, list(first_file.files))  # an earlier try came so far
    for _ in range(2):
        bulk.publish(DISK, [DISK, COPY], products, origin_of(run))
    for product in products:
        assert lake.is_published(product.dataset)
        assert sorted(f["name"] for f in lake.files(product.dataset)) == [f.lfn for f in product.files]
        assert sorted(lake.rules(product.dataset)) == [COPY, DISK]
        assert lake.metadata(product.files[0].lfn)["esap_file"] == "a.json"
    for name in ("kind", "obscore_dataproduct_type"):  # finds the products, not their files
        found = bulk.find("dl3", [{"mark": meta["mark"], name: meta[name]}])
        assert found == [p.dataset for p in products], name


def test_an_entry_of_a_ledger_can_be_created_once(bulk: BulkLake) -> None:
    ledger = f"user/test/{uuid.uuid4().hex[:12]}"
    lfn = f"/ctao/esap/budget/{ledger}/000001"
    assert bulk.append(ledger, lfn, "d/r1", 10)
    assert not bulk.append(ledger, lfn, "d/r2", 20)
    assert bulk.find("esap", [{"esap_ledger": ledger}]) == [lfn]
    bulk.describe({lfn: {"esap_bytes": 4}})
    about = bulk.metadata([lfn])[lfn]
    assert (about["esap_run"], int(about["esap_bytes"])) == ("d/r1", 4)


def _product(lake: RucioLake, dataset: str, metadata: dict[str, Any]) -> Publication:
    files = []
    for name in ("a.json", "b.json"):
        lfn = f"{dataset}/{name}"
        pfn = lake.pfns(DISK, [lfn])[lfn]
        put = StorageElement().put(pfn, name.encode())
        files.append(ProductFile(name, lfn, pfn, put.size, put.adler32))
    return Publication(dataset, files, metadata)
