from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from esap_batch.jobs import InputFile
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
    assert world.events == [
        *[f"put {name}" for name in PAPERS],
        "add_files LAPALMA-DISK 5",
        "describe 6",
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
        "missing": 0,
        "jobs": 2,
    }


def test_what_is_published_is_left_alone_and_told_the_same(world: World, task: IngestProduct) -> None:
    first = task.execute(world.context())
    world.events.clear()
    assert task.execute(world.context()) == first
    assert world.events == []


@pytest.mark.parametrize("step", ["add_files", "set_dids_metadata_bulk", "add_rule", "close"])
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
    described = world.lake.described[DATASET]
    assert described["esap_state"] == "published"
    assert (described["esap_complete"], described["esap_missing_jobs"], described["esap_jobs"]) == (
        True,
        0,
        2,
    )


def test_a_product_made_at_the_first_place_for_copies_gets_one_elsewhere(
    world: World, task: IngestProduct
) -> None:
    *before, last = task.steps
    task.steps = [*before, {**last, "facility": "cscs", "storage_rse": "CSCS-DISK"}]
    task.execute(world.context())
    assert [e for e in world.events if e.startswith("add_rule")] == [
        "add_rule CSCS-DISK",
        "add_rule LAPALMA-DISK",
    ]


SECOND = DATASET.removesuffix("1") + "2"


def partial(world: World) -> IngestProduct:
    """Publish a product of three jobs without the last one; gives the task as it is after another go."""
    world.lake.put_claim(Claim(DATASET, RUN, is_published=False))
    submission = world.submission(3, allowed_failures=1)
    world.done(0)
    world.done(1)
    world.fail(2, reason="BAD_DESCRIPTION")
    ingest_of(world, submission).execute(world.context())
    world.events.clear()
    world.ti.try_number = 2
    world.done(2, attempt=2)
    return ingest_of(world, submission)


def ingest_of(world: World, submission: Any) -> IngestProduct:
    ended = AwaitJobs(task_id="await", submission=submission).execute(world.context())
    return IngestProduct(
        task_id="ingest_products", steering=steering(), product=PRODUCT, steps=[ended], verdict=ACCEPTED
    )


def names(world: World, dataset: str) -> list[str]:
    return sorted(f.lfn.rsplit("/", 1)[-1] for f in world.lake.datasets[dataset]["files"])


def test_a_partial_product_is_published_with_the_list_of_what_is_missing(world: World) -> None:
    partial(world)
    assert names(world, DATASET) == sorted(["out_0.json", "out_1.json", *PAPERS, "missing.json"])
    listed = json.loads(world.path(f"{DATASET}/missing.json").read_text())
    assert (listed["missing"], listed["jobs"]) == (1, 3)
    assert listed["list"][0]["step"] == "submit_jobs"
    assert listed["list"][0]["files"] == [f"{DATASET}/out_2.json"]
    described = world.lake.described[DATASET]
    assert (described["esap_complete"], described["esap_missing_jobs"]) == (False, 1)


def test_what_is_made_later_goes_with_the_rest_into_the_next_generation(world: World) -> None:
    task = partial(world)
    before = names(world, DATASET)
    given = task.execute(world.context())
    assert (given["dataset"], given["missing"]) == (SECOND, 0)
    assert given["production_id"] == SECOND.rsplit("/", 1)[-1]
    assert names(world, SECOND) == sorted(["out_0.json", "out_1.json", "out_2.json", *PAPERS])
    assert world.lake.is_published(SECOND)
    assert names(world, DATASET) == before
    old, new = world.lake.described[DATASET], world.lake.described[SECOND]
    assert (old["esap_state"], old["esap_superseded_by"]) == ("superseded", SECOND)
    assert (new["esap_state"], new["esap_run"], new["esap_complete"]) == ("published", RUN, True)
    assert "describe 5" in world.events, "files of the older generation stay as they were described"


def test_a_next_generation_that_broke_off_is_gone_on_with(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = partial(world)

    def broken(*_args: Any, **_options: Any) -> None:
        raise ConnectionError("lake went away")

    for step in ("close", "set_metadata"):
        with monkeypatch.context() as storm:
            storm.setattr(world.lake, step, broken)
            with pytest.raises(ConnectionError):
                task.execute(world.context())
    assert task.execute(world.context())["dataset"] == SECOND
    assert sorted(world.lake.datasets) == [DATASET, SECOND]
    assert world.lake.described[DATASET]["esap_superseded_by"] == SECOND


def test_a_generation_that_another_run_has_taken_is_passed_over(world: World) -> None:
    task = partial(world)
    world.lake.rivals = [Claim(SECOND, "hello_world/another", is_published=False)]
    assert task.execute(world.context())["dataset"] == DATASET.removesuffix("1") + "3"


def test_without_anything_new_a_partial_product_stays_as_it_is(world: World) -> None:
    world.lake.put_claim(Claim(DATASET, RUN, is_published=False))
    submission = world.submission(2, allowed_failures=1)
    world.done(0)
    world.fail(1, reason="BAD_DESCRIPTION")
    task = ingest_of(world, submission)
    first = task.execute(world.context())
    assert first["missing"] == 1
    assert task.execute(world.context()) == first
    assert list(world.lake.datasets) == [DATASET]


def halves(world: World) -> list[dict[str, Any]]:
    """Give what two steps with a file each would, for a product that both make."""
    world.lake.put_claim(Claim(DATASET, RUN, is_published=False))
    submission = world.submission(2)
    world.done(0)
    world.done(1)
    ended = AwaitJobs(task_id="await", submission=submission).execute(world.context())
    site = world.site()
    whole = site.manifest(ended)
    steps = []
    for n in range(2):
        activity = replace(whole.activity, group=f"group-{n}")
        half = replace(
            whole, activity=activity, files=whole.files[n : n + 1], validation=whole.validation[n : n + 1]
        )
        steps.append({**ended, "manifest": site.keep(f"group-{n}", "manifest.json", half.document())})
    return steps


def ingest(world: World, steps: list[dict[str, Any]], **settings: Any) -> dict[str, Any]:
    given = {"steering": steering(), **settings}
    task = IngestProduct(task_id="i", product=PRODUCT, steps=steps, verdict=ACCEPTED, **given)
    return task.execute(world.context())


def test_the_last_steps_may_make_the_product_together(world: World) -> None:
    ingest(world, halves(world), parts=2)
    assert {"out_0.json", "out_1.json"} <= set(names(world, DATASET))
    provenance = json.loads(world.path(f"{DATASET}/provenance.json").read_text())
    entries = provenance["wasGeneratedBy"].values()
    made = {m["prov:entity"].rsplit("/", 1)[-1]: m["prov:activity"] for m in entries}
    assert made == {"out_0.json": "esap:batch/group-0", "out_1.json": "esap:batch/group-1"}
    verdict = json.loads(world.path(f"{DATASET}/verdict.json").read_text())
    assert [v["output"] for v in verdict["validation"]] == ["out_0.json", "out_1.json"]


def test_only_the_last_step_makes_the_product_unless_it_is_said(world: World) -> None:
    ingest(world, halves(world))
    assert "out_0.json" not in names(world, DATASET)


def test_the_metadata_name_the_container(world: World) -> None:
    container = {"dataset": "/ctao/esap/images/x-g1", "recipe": "ab", "sha256": "cd", "pfn": "file:///x"}
    ingest(world, halves(world), parts=2, container=container)
    described = world.lake.described[DATASET]
    assert {k: v for k, v in described.items() if k.startswith("image_")} == {
        "image_dataset": "/ctao/esap/images/x-g1",
        "image_recipe": "ab",
        "image_sha256": "cd",
    }


def test_observational_data_are_described_as_obscore_has_it(world: World) -> None:
    asked = {**steering(target_ra_deg=83.633), "workflow": "cta_pi_analysis"}
    ingest(world, halves(world), steering=asked)
    described = world.lake.described[DATASET]
    assert (described["obscore_dataproduct_type"], described["obscore_s_ra"]) == ("image", 83.633)
    assert described["obscore_obs_publisher_did"].endswith(f"?{DATASET}")
    file = world.lake.described[f"{DATASET}/verdict.json"]
    assert not any(name.startswith("obscore_") for name in file), "the product is found once"


def test_the_second_copy_goes_where_the_request_says(world: World) -> None:
    told = ingest(world, halves(world), steering=steering(output_rse="MOON-DISK"))
    assert set(told["rules"]) == {"LAPALMA-DISK", "MOON-DISK"}


def test_auto_leaves_the_second_copy_to_the_configuration(world: World) -> None:
    told = ingest(world, halves(world), steering=steering(output_rse="auto"))
    assert set(told["rules"]) == {"LAPALMA-DISK", "CSCS-DISK"}


def test_a_result_to_be_fetched_does_not_stay_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def add_rule(_dataset: str, _rse: str, **options: Any) -> str:
        asked.append(options)
        return "rule"

    monkeypatch.setattr(world.lake, "add_rule", add_rule)
    settings = {**steering(result_use="download"), "production": {"download_days": 2}}
    ingest(world, halves(world), steering=settings)
    assert [options["lifetime"] for options in asked] == [172_800]  # and no copy that nobody asked for
    assert "expire 172800" in world.events  # an equal request may make it again then


def test_documents_of_other_tasks_are_kept_with_the_product(world: World, task: IngestProduct) -> None:
    reference = world.site().keep("another-group", "selection.json", {"units": [1, 2]})
    task.papers = {"selection.json": reference}
    assert task.execute(world.context())["files"] == 6
    kept = json.loads(world.path(f"{DATASET}/selection.json").read_text())
    assert kept == {"units": [1, 2]}


def used(world: World) -> set[tuple[str, str]]:
    """Give which batch has used which file of the lake, as the provenance has it."""
    document = json.loads(world.path(f"{DATASET}/provenance.json").read_text())
    pairs = ((one["prov:activity"], one["prov:entity"]) for one in document["used"].values())
    return {(batch, document["entity"][name]["esap:lfn"]) for batch, name in pairs if name != "esap:steering"}


def reads(world: World, group: str, *inputs: str) -> None:
    """Give the jobs of a batch an input each."""
    batch = world.site().batch(world.submission(len(inputs)))
    jobs = [
        replace(job, inputs=(InputFile("local", lfn, 7, "0000002a"),))
        for job, lfn in zip(batch.jobs, inputs, strict=True)
    ]
    world.site().keep(group, "batch.json", replace(batch, jobs=tuple(jobs)).journal())


def test_the_provenance_names_what_each_step_has_read(world: World) -> None:
    steps = halves(world)
    events, archive, transient = "/ctao/dl3/x/events.fits", "/ctao/irf/x/irf.fits", f"{DATASET}/out_0.json"
    reads(world, "group-0", events, events)
    reads(world, "group-1", archive, transient)
    ingest(world, steps)
    assert used(world) == {("esap:batch/group-0", events), ("esap:batch/group-1", archive)}


def test_what_is_published_and_read_by_a_later_step_is_used_too(world: World) -> None:
    steps = halves(world)
    reads(world, "group-1", f"{DATASET}/out_0.json")
    ingest(world, steps, parts=2)
    assert used(world) == {("esap:batch/group-1", f"{DATASET}/out_0.json")}


def test_a_product_is_not_made_of_what_only_missing_jobs_were_to_read(world: World) -> None:
    world.lake.put_claim(Claim(DATASET, RUN, is_published=False))
    submission = world.submission(2, allowed_failures=1)
    world.done(0)
    world.fail(1, reason="BAD_DESCRIPTION")
    task = ingest_of(world, submission)
    reads(world, submission["group"], "/ctao/dl3/x/good.fits", "/ctao/dl3/x/bad.fits")
    task.execute(world.context())
    assert {lfn for _, lfn in used(world)} == {"/ctao/dl3/x/good.fits"}
