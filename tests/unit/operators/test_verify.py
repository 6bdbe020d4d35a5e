from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from esap_batch.products import Claim
from hooks.storage_element import StorageElement
from operators.verify import VerifyOutputs
from sensors.jobs import AwaitJobs
from tests.unit.conftest import DATASET, PRODUCT, RUN, World, steering

QUARANTINE = f"/ctao/quarantine/{PRODUCT['production_id']}"


def prepared(world: World, *verdicts: str, **severities: str) -> VerifyOutputs:
    """Give the task for a batch whose jobs have ended with these verdicts."""
    world.lake.put_claim(Claim(DATASET, RUN, is_published=False))
    submission = world.submission(len(verdicts))
    for index, verdict in enumerate(verdicts):
        world.done(index, verdict=verdict)
    ended = AwaitJobs(task_id="await", submission=submission).execute(world.context())
    world.events.clear()
    checks = {name.replace("_", "."): {"severity": s} for name, s in severities.items()}
    return VerifyOutputs(
        task_id="verify_outputs",
        steering={**steering(), "checks": checks},
        submission=submission,
        ended=ended,
        product=PRODUCT,
    )


def kept_verdict(world: World) -> Any:
    return json.loads(world.path(f"{QUARANTINE}/verdict.json").read_text())


def test_a_sound_product_passes_and_stays_where_it_is(world: World) -> None:
    verdict = prepared(world, "valid", "valid").execute(world.context())
    assert verdict == {"passed": True, "checks": 4, "findings": []}  # one check and one checksum a file
    assert world.events == []
    assert world.path(f"{DATASET}/out_0.json").is_file()


def test_a_bad_product_is_moved_away_with_the_verdict_written_first(world: World) -> None:
    task = prepared(world, "valid", "invalid")
    with pytest.raises(AirflowFailException) as failure:
        task.execute(world.context())
    assert world.events == ["put verdict.json", "move out_0.json", "move out_1.json"]
    assert not any(world.path(f"{DATASET}/out_{n}.json").exists() for n in range(2))
    assert [world.path(f"{QUARANTINE}/out_{n}.json").read_text() for n in range(2)] == [
        "output 0",
        "output 1",
    ]
    assert [f["file"] for f in kept_verdict(world)["findings"]] == ["out_1.json"]
    assert "hello.format" in str(failure.value)
    assert f"LAPALMA-DISK in {QUARANTINE}" in str(failure.value)


def test_a_try_after_a_move_that_broke_off_ends_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = prepared(world, "invalid", "valid", "valid")
    moves: list[str] = []
    move = StorageElement.move

    def broken(storage: StorageElement, source: str, target: str) -> None:
        if len(moves) == 1:
            raise OSError("storage went away")
        moves.append(source)
        move(storage, source, target)

    with monkeypatch.context() as storm:
        storm.setattr(StorageElement, "move", broken)
        with pytest.raises(OSError, match="went away"):
            task.execute(world.context())
    assert world.path(f"{QUARANTINE}/out_0.json").exists()
    assert world.path(f"{DATASET}/out_1.json").exists()
    first = kept_verdict(world)

    with pytest.raises(AirflowFailException, match=r"hello\.format"):
        task.execute(world.context())
    assert all(world.path(f"{QUARANTINE}/out_{n}.json").is_file() for n in range(3))
    assert not any(world.path(f"{DATASET}/out_{n}.json").exists() for n in range(3))
    assert kept_verdict(world) == first


def test_a_file_that_is_not_what_its_job_reported_fails_the_product(world: World) -> None:
    task = prepared(world, "valid", "valid")
    world.path(f"{DATASET}/out_1.json").write_text("something else")
    with pytest.raises(
        AirflowFailException, match=r"out_1\.json: file\.checksum .* has 14 bytes .* reported 8"
    ):
        task.execute(world.context())
    assert world.path(f"{QUARANTINE}/out_1.json").read_text() == "something else"


def test_a_file_that_is_gone_fails_the_product_for_good(world: World) -> None:
    task = prepared(world, "valid", "valid")
    world.path(f"{DATASET}/out_0.json").unlink()
    with pytest.raises(AirflowFailException, match=r"out_0\.json: file\.present"):
        task.execute(world.context())
    assert world.path(f"{QUARANTINE}/out_1.json").is_file()


def test_a_warning_is_noted_but_keeps_the_product(world: World) -> None:
    verdict = prepared(world, "invalid", hello_format="warning").execute(world.context())
    assert verdict["passed"]
    assert [f["severity"] for f in verdict["findings"]] == ["warning"]


def test_a_file_without_its_validators_report_does_not_pass(world: World) -> None:
    world.lake.put_claim(Claim(DATASET, RUN, is_published=False))
    submission = world.submission(1)
    world.done(0)
    world.backend.written["0-1"]["validation"] = []
    ended = AwaitJobs(task_id="await", submission=submission).execute(world.context())
    task = VerifyOutputs(
        task_id="v", steering=steering(), submission=submission, ended=ended, product=PRODUCT
    )
    with pytest.raises(AirflowFailException, match="no validator's report"):
        task.execute(world.context())


def test_a_job_that_may_fail_is_not_missed(world: World) -> None:
    submission = world.submission(2, allowed_failures=1)
    world.done(0)
    world.fail(1, reason="BAD_DESCRIPTION")
    ended = AwaitJobs(task_id="await", submission=submission).execute(world.context())
    task = VerifyOutputs(
        task_id="v", steering=steering(), submission=submission, ended=ended, product=PRODUCT
    )
    assert task.execute(world.context())["passed"]


def test_a_published_product_is_never_moved(world: World) -> None:
    task = prepared(world, "invalid")
    world.lake.put_claim(Claim(DATASET, RUN, is_published=True))
    before = sorted(p for p in world.root.rglob("*"))
    with pytest.raises(AirflowFailException, match="is published"):
        task.execute(world.context())
    assert sorted(p for p in world.root.rglob("*")) == before


def test_what_an_earlier_step_of_the_product_made_is_judged_too(world: World) -> None:
    last = prepared(world, "invalid", "valid")
    site = world.site()
    whole = site.manifest(last.ended)
    halves = [
        {**last.ended, "manifest": site.keep(f"group-{n}", "manifest.json", half.document())}
        for n, half in enumerate(
            replace(whole, files=whole.files[n : n + 1], validation=whole.validation[n : n + 1])
            for n in range(2)
        )
    ]
    task = VerifyOutputs(
        task_id="verify_outputs",
        steering=last.steering,
        submission=last.submission,
        ended=halves[1],
        before=[{"submission": last.submission, "ended": halves[0]}],
        product=PRODUCT,
    )
    with pytest.raises(AirflowFailException, match=r"out_0\.json: hello\.format"):
        task.execute(world.context())
    assert all(world.path(f"{QUARANTINE}/out_{n}.json").is_file() for n in range(2))
