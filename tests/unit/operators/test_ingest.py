from __future__ import annotations

import json
from typing import Any

import pytest

from esap_batch.products import Claim
from operators.ingest import IngestProduct
from sensors.jobs import AwaitJobs
from tests.unit.conftest import ACCEPTED, DATASET, PRODUCT, RUN, World, steering

PAPERS = ["steering.json", "verdict.json", "provenance.json"]


@pytest.fixture
def task(world: World) -> IngestProduct:
    world.lake.put_claim(Claim(DATASET, RUN, is_published=False))
    submission = world.submission(2)
    world.done(0)
    world.done(1)
    ended = AwaitJobs(task_id="await", submission=submission).execute(world.context())
    world.events.clear()
    return IngestProduct(
        task_id="ingest_products", steering=steering(), product=PRODUCT, steps=[ended], verdict=ACCEPTED
    )


def test_the_product_is_closed_last_and_described_before(world: World, task: IngestProduct) -> None:
    task.execute(world.context())
    files = ["out_0.json", "out_1.json", *PAPERS]
    assert world.events == [
        *[f"put {name}" for name in PAPERS],
        "add_files LAPALMA-DISK 5",
        *[f"set_metadata {DATASET}/{name}" for name in files],
        f"set_metadata {DATASET}",
        "add_rule LAPALMA-DISK",
        "add_rule CSCS-DISK",
        f"close {DATASET}",
    ]


def test_it_tells_where_the_product_is(world: World, task: IngestProduct) -> None:
    assert task.execute(world.context()) == {
        **PRODUCT,
        "state": "published",
        "files": 5,
        "rse": "LAPALMA-DISK",
        "rules": {"LAPALMA-DISK": "rule-LAPALMA-DISK", "CSCS-DISK": "rule-CSCS-DISK"},
    }


def test_what_is_published_is_left_alone_and_told_the_same(world: World, task: IngestProduct) -> None:
    first = task.execute(world.context())
    world.events.clear()
    assert task.execute(world.context()) == first
    assert world.events == []


@pytest.mark.parametrize("step", ["add_files", "set_metadata", "add_rule", "close"])
def test_a_try_after_any_step_that_broke_off_ends_the_same(
    world: World, task: IngestProduct, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def broken(*_args: Any, **_options: Any) -> None:
        raise ConnectionError("lake went away")

    with monkeypatch.context() as storm:
        storm.setattr(world.lake, step, broken)
        with pytest.raises(ConnectionError):
            task.execute(world.context())
    assert not world.lake.is_published(DATASET)
    papers = {name: world.path(f"{DATASET}/{name}").read_bytes() for name in PAPERS}
    task.execute(world.context())
    assert world.lake.is_published(DATASET)
    assert {name: world.path(f"{DATASET}/{name}").read_bytes() for name in PAPERS} == papers


def test_files_are_registered_as_they_were_made(world: World, task: IngestProduct) -> None:
    task.execute(world.context())
    registered = {f.name: f for f in world.lake.datasets[DATASET]["files"]}
    for name, file in registered.items():
        stored = world.storage.stat(file.pfn)
        assert stored is not None
        assert (stored.size, stored.adler32) == (file.size, file.adler32), name
    assert sorted(registered) == sorted(["out_0.json", "out_1.json", *PAPERS])


def test_the_papers_say_what_was_asked_found_and_done(world: World, task: IngestProduct) -> None:
    task.execute(world.context())
    asked, found, done = (json.loads(world.path(f"{DATASET}/{name}").read_text()) for name in PAPERS)
    assert asked == steering()
    assert (found["passed"], len(found["validation"])) == (True, 2)
    assert f"ctao:{DATASET.lstrip('/')}/out_0.json" in done["entity"]
    assert [a["esap:dag_run"] for a in done["activity"].values() if "esap:dag_run" in a] == [RUN]


def test_a_file_is_found_by_its_name_and_checksum(world: World, task: IngestProduct) -> None:
    task.execute(world.context())
    one = world.lake.described[f"{DATASET}/out_0.json"]
    assert one["esap_file"] == "out_0.json"
    assert len(one["esap_sha256"]) == 64
    assert one["product_id"] == PRODUCT["production_id"]
    assert "esap_sha256" not in world.lake.described[f"{DATASET}/steering.json"]
    assert "esap_file" not in world.lake.described[DATASET]
    assert world.lake.described[DATASET]["esap_state"] == "published"


def test_a_product_made_at_the_first_place_for_copies_gets_one_elsewhere(
    world: World, task: IngestProduct, monkeypatch: pytest.MonkeyPatch
) -> None:
    from operators import site

    monkeypatch.setattr(site, "facility_named", lambda _name, find=site.facility_named: find("cscs"))
    task.execute(world.context())
    assert [e for e in world.events if e.startswith("add_rule")] == [
        "add_rule CSCS-DISK",
        "add_rule LAPALMA-DISK",
    ]
