from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from esap_batch.jobs import InputFile, JobSpec, OutputSpec, group_name
from esap_batch.products import Claim
from hooks import places as module
from hooks.backends import facility_named
from hooks.broker import Broker
from operators import site as site_module
from operators.submit import BuildJobs, SubmitJobs
from tests.unit.conftest import DAG_ID, DATASET, PRODUCT, RUN, RUN_ID, World, steering

GROUP = group_name(DAG_ID, RUN_ID, "submit_jobs")


def build(given: dict[str, Any], directory: str, inputs: Sequence[InputFile]) -> list[JobSpec]:
    count = given["request"]["n_jobs"]
    return [
        JobSpec(
            i, ("run",), inputs=tuple(inputs), outputs=(OutputSpec(f"o{i}.json", f"{directory}/o{i}.json"),)
        )
        for i in range(count)
    ]


def run(world: World, n_jobs: int = 2, **settings: Any) -> dict[str, Any]:
    request = settings.pop("request", {})
    facility = {"facility": "lapalma", "runtimes": settings.pop("accepted", [])}
    task = SubmitJobs(
        task_id="submit_jobs",
        steering=steering(n_jobs=n_jobs, **request),
        facility=facility,
        **{"build": build, "product": PRODUCT, **settings},
    )
    return task.execute(world.context())


def test_the_journal_is_written_before_the_first_job_is_sent(world: World) -> None:
    run(world)
    assert world.events == ["put run.json", "put batch.json", "submit 0:1,1:1"]


def test_no_job_is_sent_when_the_journal_cannot_be_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("hooks.storage_element.StorageElement.put", full)
    with pytest.raises(OSError, match="no space"):
        run(world)
    assert world.backend.batches == []


def test_what_follows_gets_a_reference_and_not_the_jobs(world: World) -> None:
    given = run(world)
    journal = given.pop("journal")
    assert given == {
        "group": GROUP,
        "count": 2,
        "facility": "lapalma",
        "storage_rse": "LAPALMA-DISK",
        "task_id": "submit_jobs",
        "allowed_failures": 0,
        "staged": [],
    }
    assert journal["lfn"] == f"/ctao/esap/work/{GROUP}/batch.json"
    written = json.loads(world.path(journal["lfn"]).read_text())
    assert [job["command"] for job in written["jobs"]] == [["run"], ["run"]]


def test_who_awaits_the_jobs_is_told_what_keeps_their_inputs(world: World) -> None:
    kept = world.site().keep("stage", "inputs.json", {"inputs": []})
    held = {"dataset": "/ctao/esap/work/stage/inputs", "rule": "rule-1", "lifetime_s": 60}
    nothing = {"dataset": "/ctao/esap/work/other/inputs", "rule": "", "lifetime_s": 60, "inputs": kept}
    given = run(world, inputs=[{**held, "rse": "LAPALMA-DISK", "inputs": kept}, nothing])
    assert given["staged"] == [held]


def test_the_batch_says_where_how_and_with_what_its_jobs_run(world: World) -> None:
    run(world, job_type="Merging")
    (batch,) = world.backend.batches
    assert (batch.site, batch.job_type) == ("ESAP.LaPalma.local", "Merging")
    assert batch.runtime == {"type": "plain", "software_root_env": "VO_CTAO_SW_DIR"}
    assert batch.software == tuple(steering()["software"])
    assert batch.jobs[1].outputs[0].pfn.endswith(f"/LAPALMA-DISK{DATASET}/o1.json")


def test_the_batch_says_how_fast_files_may_be_moved(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run(world)
    limited = replace(facility_named("lapalma"), max_mb_per_s=2.5)
    monkeypatch.setattr(site_module, "facility_named", lambda _name: limited)
    run(world)
    assert [b.transfer for b in world.backend.batches] == [{}, {"max_mb_per_s": 2.5}]


def test_a_second_try_names_the_same_batch_journal_and_jobs(world: World) -> None:
    first = run(world)
    assert run(world) == first
    assert len(world.backend.known[GROUP]) == 2
    assert world.backend.batches[0] == world.backend.batches[1]


def test_without_a_product_outputs_go_to_the_work_area(world: World) -> None:
    run(world, product=None)
    assert world.backend.batches[0].jobs[0].outputs[0].pfn.endswith(f"/ctao/esap/work/{GROUP}/o0.json")


def test_files_of_an_earlier_step_become_inputs(world: World) -> None:
    from sensors.jobs import AwaitJobs

    submission = world.submission(1)
    world.done(0)
    ended = AwaitJobs(task_id="await", submission=submission).execute(world.context())
    run(world, n_jobs=1, inputs=ended)
    (given,) = world.backend.batches[-1].jobs[0].inputs
    assert (given.name, given.lfn, given.size) == ("out_0.json", f"{DATASET}/out_0.json", 8)
    assert given.pfn.startswith("file://")


def test_files_of_several_steps_become_inputs_in_their_order(world: World) -> None:
    from sensors.jobs import AwaitJobs

    submission = world.submission(1)
    world.done(0)
    ended = AwaitJobs(task_id="await", submission=submission).execute(world.context())
    cube = {"name": "cube.fits", "lfn": "/ctao/ska/c", "size": 1, "adler32": "1", "pfn": "file:///c"}
    staged = {"inputs": world.site().keep("esap-staged", "inputs.json", {"inputs": [cube]})}
    run(world, n_jobs=1, inputs=[staged, ended])
    assert [i.name for i in world.backend.batches[-1].jobs[0].inputs] == ["cube.fits", "out_0.json"]


@pytest.mark.parametrize(
    ("share", "count", "allowed"),
    [
        (0.0, 10, 0),
        (0.5, 3, 1),
        (0.1, 9, 0),
        (1.0, 4, 4),
        (0.29, 100, 29),
    ],
)
def test_the_share_of_jobs_that_may_fail_is_rounded_down(
    world: World, share: float, count: int, allowed: int
) -> None:
    given = run(world, n_jobs=count, request={"allowed_failure_fraction": share})
    assert given["allowed_failures"] == allowed


NEXT = DATASET.removesuffix("1") + "2"


def with_inputs(
    world: World, *checksums: str, build: BuildJobs = build, is_published: bool = True, **claim: Any
) -> str:
    """Submit what an earlier step gives, files a, b ... of these checksums; tells where the outputs go."""
    world.lake.put_claim(Claim(DATASET, RUN, is_published=is_published, **claim))
    manifest = {
        "schema": 1,
        "activity": {
            **dict.fromkeys(("group", "step", "facility", "started", "finished", "runtime"), ""),
            "jobs": 1,
            "software": [],
        },
        "rse": "",
        "files": [
            {"name": n, "lfn": f"/ctao/esap/{n}", "pfn": f"file:///{n}", "size": 1, "adler32": a}
            for n, a in zip("ab", checksums, strict=False)
        ],
        "validation": [],
        "failed": [],
    }
    run(world, build=build, inputs={"manifest": world.site().keep("esap-first", "manifest.json", manifest)})
    return world.backend.batches[-1].jobs[0].outputs[0].lfn.rsplit("/", 1)[0]


def test_with_other_inputs_the_files_of_a_published_product_are_not_touched(world: World) -> None:
    assert with_inputs(world, "00000001", is_published=False) == DATASET
    partial: dict[str, Any] = {"missing": 1, "jobs": 2}
    assert with_inputs(world, "00000001", **partial) == DATASET
    assert with_inputs(world, "00000002", **partial) == NEXT
    assert with_inputs(world, "00000002", **partial) == NEXT


def test_inputs_that_no_job_takes_make_no_other_result(world: World) -> None:
    def build_of_one(given: dict[str, Any], directory: str, inputs: Sequence[InputFile]) -> list[JobSpec]:
        return build(given, directory, [one for one in inputs if one.name == "a"])

    partial: dict[str, Any] = {"missing": 1, "jobs": 2, "build": build_of_one}
    first = with_inputs(world, "00000001", "00000001", build=build_of_one, is_published=False)
    assert first == DATASET
    assert with_inputs(world, "00000001", "00000001", **partial) == DATASET
    assert with_inputs(world, "00000001", "00000002", **partial) == DATASET
    assert with_inputs(world, "00000002", "00000002", **partial) == NEXT


def test_with_other_software_the_files_of_an_earlier_product_are_not_touched(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(world)
    newer = [{"name": "esap-noop", "version": "0.2.0"}]
    monkeypatch.setattr("tests.unit.conftest.SOFTWARE", newer)
    run(world, product={**PRODUCT, "dataset": NEXT})
    batch = world.backend.batches[-1]
    assert batch.software == tuple(newer)
    assert batch.jobs[0].outputs[0].lfn == f"{NEXT}/o0.json"


def test_for_a_complete_product_nothing_is_submitted(world: World) -> None:
    world.lake.put_claim(Claim(DATASET, RUN, is_published=True))
    with pytest.raises(AirflowFailException, match="is published and complete"):
        run(world)
    assert world.backend.batches == []


def in_container(world: World, tmp_image: bytes = b"image") -> dict[str, Any]:
    """Put an image into the lake, not at the facility's place; give what `SelectContainer` does."""
    lfn = "/ctao/esap/images/corsika/0123-g1/image.tar.gz"
    pfn = world.lake.pfns("CSCS-DISK", [lfn])[lfn]
    stored = world.storage.put(pfn, tmp_image)
    return {"lfn": lfn, "pfn": pfn, "size": stored.size, "adler32": stored.adler32, "sha256": "ab"}


def test_jobs_with_a_container_run_in_its_image(world: World) -> None:
    container = in_container(world)
    run(world, container=container)
    batch = world.backend.batches[-1]
    assert batch.runtime == {
        "type": "rootfs",
        "software_root_env": "VO_CTAO_SW_DIR",
        "image": "image.tar.gz",
        "sha256": "ab",
    }
    (given,) = batch.jobs[0].inputs
    assert (given.name, given.pfn, given.adler32) == ("image.tar.gz", container["pfn"], container["adler32"])


def test_the_workflow_says_which_runtimes_it_takes_and_whether_it_needs_the_network(world: World) -> None:
    container = in_container(world)
    run(world, container=container, accepted=["podman", "rootfs"], network=True)
    assert world.backend.batches[-1].runtime["network"] is True
    with pytest.raises(AirflowFailException, match="needed is docker with the batch's own image"):
        run(world, container=container, accepted=["docker"])


def test_a_step_may_take_other_runtimes_than_its_workflow(world: World) -> None:
    run(world, accepted=["rootfs"], runtimes=["plain"])
    assert world.backend.batches[-1].runtime["type"] == "plain"


def test_the_image_is_taken_from_near_the_jobs_where_a_copy_is(world: World) -> None:
    container = in_container(world)
    near = world.lake.pfns("LAPALMA-DISK", [container["lfn"]])[container["lfn"]]
    world.storage.put(near, b"image")
    run(world, container=container)
    assert world.backend.batches[-1].jobs[0].inputs[0].pfn == near


def test_without_a_container_the_facilitys_first_runtime_is_taken(world: World) -> None:
    run(world, container={})
    assert world.backend.batches[-1].runtime["type"] == "plain"


@pytest.mark.usefixtures("places")
def test_where_places_are_few_jobs_are_left_to_who_waits_for_places(world: World) -> None:
    given = run(world, n_jobs=5)
    assert given["count"] == 5
    assert world.events == ["put run.json", "put batch.json"]
    assert len(world.site().batch(given).jobs) == 5


@pytest.mark.usefixtures("places")
def test_a_limit_needs_the_place_where_it_is_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Broker", Broker)
    with pytest.raises(
        AirflowFailException, match="facility lapalma has max_active_jobs: it needs the connection"
    ):
        run(world)
    assert world.backend.batches == []
