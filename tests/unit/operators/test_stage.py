from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from esap_batch.jobs import group_name
from esap_batch.products import Claim, base_of, next_generation
from hooks.backends import facility_named
from hooks.lake_inputs import ANY_DISK, InputLake, Staging
from hooks.rucio_lake import RucioLake, RucioSettings
from operators import site as site_module
from operators.stage import ReleaseInputs, StageInputs, hold_inputs
from tests.unit.conftest import DAG_ID, DATASET, PRODUCT, RUN, RUN_ID, World, steering

AREA = group_name(DAG_ID, RUN_ID, "stage_inputs")
LFNS = ["/ctao/dl3/a/dl3_1.fits.gz", "/ctao/irf/i/irf.fits.gz"]
INPUTS = [
    {"name": name, "lfn": lfn, "size": size, "adler32": "00000001", "pfn": ""}
    for name, lfn, size in zip(("dl3_1.fits.gz", "irf_i.fits.gz"), LFNS, (10, 5), strict=True)
]


class Calls:
    """What the operators have asked of the lake; `state` is that of the one rule."""

    def __init__(self) -> None:
        self.made: list[Any] = []
        self.state = Staging("OK", 2, 2)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    kept = Calls()

    def collect(_lake: InputLake, dataset: str, lfns: list[str], metadata: Any, lifetime_s: int) -> None:
        kept.made.append(("collect", dataset, lfns, metadata["esap_run"], lifetime_s))

    def bring(_lake: InputLake, dataset: str, rse: str, lifetime_s: int) -> str:
        kept.made.append(("bring", dataset, rse, lifetime_s))
        return "rule-1"

    monkeypatch.setattr(InputLake, "collect", collect)
    monkeypatch.setattr(InputLake, "bring", bring)
    monkeypatch.setattr(InputLake, "stagings", lambda _lake, rules: dict.fromkeys(rules, kept.state))
    monkeypatch.setattr(InputLake, "expire", lambda _lake, rule, s: kept.made.append(("expire", rule, s)))
    monkeypatch.setattr(InputLake, "release", lambda _lake, rule: kept.made.append(("release", rule)))
    return kept


def selection(world: World, *inputs: dict[str, Any]) -> dict[str, str]:
    return world.site().keep("selected", "selection.json", {"inputs": inputs})


def stage(world: World, inputs: list[dict[str, Any]] = INPUTS) -> dict[str, Any]:
    task = StageInputs(
        task_id="stage_inputs",
        steering={**steering(), "limits": {"input_lifetime_s": 7}},
        facility={"facility": "lapalma"},
        selection=selection(world, *inputs),
    )
    return task.execute(world.context())


def test_all_inputs_are_asked_for_by_one_rule_of_the_runs_own(world: World, calls: Calls) -> None:
    staged = stage(world)
    dataset = f"/ctao/esap/work/{AREA}/inputs"
    assert calls.made == [("collect", dataset, LFNS, RUN, 7), ("bring", dataset, "LAPALMA-DISK", 7)]
    reference = staged.pop("inputs")
    assert staged == {
        "dataset": dataset,
        "rule": "rule-1",
        "lifetime_s": 7,
        "rse": "LAPALMA-DISK",
        "facility": "lapalma",
        "storage_rse": "LAPALMA-DISK",
        "files": 2,
        "bytes": 15,
    }
    located = json.loads(world.path(reference["lfn"]).read_text())["inputs"]
    assert [f["pfn"] for f in located] == [world.site().pfns([lfn])[lfn] for lfn in LFNS]


def test_a_run_that_reads_nothing_gets_no_rule(world: World, calls: Calls) -> None:
    staged = stage(world, [])
    assert (staged["rule"], staged["files"], staged["bytes"]) == ("", 0, 0)
    assert json.loads(world.path(staged["inputs"]["lfn"]).read_text()) == {"inputs": []}
    assert calls.made == []


def test_where_jobs_fetch_their_inputs_all_that_counts_is_that_they_are_on_disk(
    world: World, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = replace(facility_named("lapalma"), fetches_inputs=True)
    monkeypatch.setattr(site_module, "facility_named", lambda _name: far)
    staged = stage(world)
    assert calls.made[1] == ("bring", staged["dataset"], ANY_DISK, 7)
    located = json.loads(world.path(staged["inputs"]["lfn"]).read_text())["inputs"]
    assert [f["pfn"] for f in located] == ["", ""]


def test_a_second_try_asks_for_the_same(world: World, calls: Calls) -> None:
    first = stage(world)
    assert stage(world) == first
    assert calls.made[:2] == calls.made[2:]


def test_inputs_stay_for_another_lifetime_and_those_that_are_gone_are_told(
    world: World, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RucioLake, "expire", lambda _lake, name, s: calls.made.append(("expire", name, s)))
    staged, lake = stage(world), RucioLake(RucioSettings("http://lake", "esap"))
    calls.made.clear()
    assert hold_inputs(lake, [staged]) == []
    assert calls.made == [("expire", staged["dataset"], 7), ("expire", "rule-1", 7)]
    calls.state = Staging("GONE")
    assert hold_inputs(lake, [staged]) == [staged["dataset"]]


@pytest.fixture
def release(world: World, monkeypatch: pytest.MonkeyPatch) -> ReleaseInputs:
    """Give the task after a run that has got as far as its claim."""
    document = selection(world)
    pulled = {
        ("stage_inputs", "return_value"): {
            "rule": "rule-1",
            "inputs": world.site().keep(AREA, "inputs.json", {"inputs": []}),
        },
        ("check_duplicate", "return_value"): PRODUCT,
        ("select_data", "document"): document,
    }

    def pull(task_ids: str, key: str = "return_value") -> Any:
        return pulled.get((task_ids, key))

    monkeypatch.setattr(world.ti, "xcom_pull", pull)
    world.lake.put_claim(Claim(DATASET, RUN, is_published=False))
    return ReleaseInputs(
        task_id="release_inputs",
        selected="select_data",
        stage="stage_inputs",
        claim="check_duplicate",
        grace_s=9,
    )


def documents(world: World) -> list[bool]:
    lfns = ["/ctao/esap/work/selected/selection.json", f"/ctao/esap/work/{AREA}/inputs.json"]
    return [world.path(lfn).exists() for lfn in lfns]


def test_after_a_complete_product_nothing_is_kept(world: World, calls: Calls, release: ReleaseInputs) -> None:
    world.lake.datasets[DATASET]["open"] = False
    release.execute(world.context())
    assert calls.made == [("release", "rule-1")]
    assert documents(world) == [False, False]


def test_a_run_without_product_keeps_its_inputs_for_another_try(
    world: World, calls: Calls, release: ReleaseInputs
) -> None:
    release.execute(world.context())
    assert calls.made == [("expire", "rule-1", 9)]
    assert documents(world) == [True, True]


def test_so_does_one_whose_product_lacks_jobs(world: World, calls: Calls, release: ReleaseInputs) -> None:
    world.lake.put_claim(Claim(DATASET, RUN, is_published=True, missing=1, jobs=4))
    release.execute(world.context())
    assert calls.made == [("expire", "rule-1", 9)]
    assert documents(world) == [True, True]


def test_a_product_that_its_second_generation_has_completed_is_complete(
    world: World, calls: Calls, release: ReleaseInputs
) -> None:
    world.lake.put_claim(Claim(DATASET, RUN, is_published=True, missing=1, jobs=4))
    following = next_generation(world.lake.claims(base_of(DATASET)))
    world.lake.put_claim(Claim(following, RUN, is_published=True, missing=0, jobs=4))
    release.execute(world.context())
    assert calls.made == [("release", "rule-1")]
    assert documents(world) == [False, False]


def test_a_product_of_another_run_is_judged_by_that_runs_claims(
    world: World, calls: Calls, release: ReleaseInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.lake.put_claim(Claim(DATASET, "d/other", is_published=True))
    monkeypatch.setitem(PRODUCT, "made_by", "d/other")
    release.execute(world.context())
    assert documents(world) == [False, False]


def test_what_is_still_under_way_is_called_off(world: World, calls: Calls, release: ReleaseInputs) -> None:
    calls.state = Staging("REPLICATING", 1, 2)
    release.execute(world.context())
    assert calls.made == [("release", "rule-1")]


def test_a_rule_that_has_ended_is_left_alone(world: World, calls: Calls, release: ReleaseInputs) -> None:
    calls.state = Staging("GONE")
    release.execute(world.context())
    assert calls.made == []


def test_a_run_that_never_got_so_far_has_nothing_to_release(
    world: World, calls: Calls, release: ReleaseInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.ti, "xcom_pull", lambda task_ids, key="": None)
    release.execute(world.context())
    assert calls.made == []
