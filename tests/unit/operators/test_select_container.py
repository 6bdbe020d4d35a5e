from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from esap_batch.containers import ImageOrder, image_lfn
from esap_batch.products import Claim
from hooks.image_builder import Built, ImageBuilder
from operators.select_container import SelectContainer
from tests.unit.conftest import RUN, World, steering

OTHER = "cta_concordia/manual__0"
RECIPE = {"name": "corsika", "version": "0.1.0", "base": "scratch", "defines": {"THIN": ""}}
BASE = image_lfn(RECIPE)


class FakeBuilder:
    """Builds by counting."""

    rse, copies = "LAPALMA-DISK", ("CSCS-DISK",)

    def __init__(self) -> None:
        self.built = 0

    def recipe(self, _order: ImageOrder) -> Mapping[str, Any]:
        return RECIPE

    def build(self, _recipe: Mapping[str, Any]) -> Built:
        self.built += 1
        return Built(b"image", {"builder": "rootfs", "compiler": "fake"})


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> FakeBuilder:
    made = FakeBuilder()
    monkeypatch.setattr(ImageBuilder, "configured", lambda _path: made)
    return made


def wanted(_steering: Mapping[str, Any]) -> ImageOrder:
    return ImageOrder("corsika", "0.1.0", {"THIN": ""})


def task(image: Any = wanted) -> SelectContainer:
    return SelectContainer(task_id="select_container", steering=steering(), image=image)


def test_without_a_container_nothing_is_done(world: World, builder: FakeBuilder) -> None:
    assert task(lambda _steering: None).execute(world.context()) == {}
    assert world.events == []


def test_an_image_that_is_not_there_is_built_and_published(world: World, builder: FakeBuilder) -> None:
    given = task().execute(world.context())
    dataset = f"{BASE}-g1"
    assert builder.built == 1
    assert (given["dataset"], given["selected"]) == (dataset, False)
    assert world.path(given["lfn"]).read_bytes() == b"image"
    assert world.lake.described[dataset]["image_sha256"] == given["sha256"]
    assert world.lake.is_published(dataset)
    assert world.events[-1] == f"close {dataset}"
    assert set(world.lake.rules(dataset)) == {"LAPALMA-DISK", "CSCS-DISK"}


def test_a_second_try_finds_its_own_image(world: World, builder: FakeBuilder) -> None:
    first = task().execute(world.context())
    assert task().execute(world.context()) == first
    assert builder.built == 1


def published_by(world: World, run: str) -> str:
    """Have another run publish the image."""
    task().execute(world.context())
    dataset = f"{BASE}-g1"
    world.lake.datasets[dataset]["run"] = run
    return dataset


def test_an_image_of_another_run_is_selected(world: World, builder: FakeBuilder) -> None:
    dataset = published_by(world, OTHER)
    given = task().execute(world.context())
    assert (given["dataset"], given["selected"], builder.built) == (dataset, True, 1)


def test_while_another_run_builds_it_this_one_waits(world: World, builder: FakeBuilder) -> None:
    world.lake.put_claim(Claim(f"{BASE}-g1", OTHER, is_published=False))
    world.ti.runs[OTHER] = "running"
    with pytest.raises(TaskDeferred):
        task().execute(world.context())
    assert builder.built == 0


def test_a_claim_of_a_run_that_has_ended_is_taken_over(world: World, builder: FakeBuilder) -> None:
    world.lake.put_claim(Claim(f"{BASE}-g1", OTHER, is_published=False))
    world.ti.runs[OTHER] = "failed"
    assert task().execute(world.context())["dataset"] == f"{BASE}-g2"


def test_a_claim_of_an_earlier_try_goes_on(world: World, builder: FakeBuilder) -> None:
    world.lake.put_claim(Claim(f"{BASE}-g1", RUN, is_published=False))
    assert task().execute(world.context())["dataset"] == f"{BASE}-g1"
    assert builder.built == 1


def test_who_is_slower_waits_for_the_faster(world: World, builder: FakeBuilder) -> None:
    world.lake.rivals.append(Claim(f"{BASE}-g1", OTHER, is_published=False))
    world.ti.runs[OTHER] = "running"
    with pytest.raises(TaskDeferred):
        task().execute(world.context())
    assert builder.built == 0


def test_an_image_whose_file_is_lost_is_made_anew(world: World, builder: FakeBuilder) -> None:
    published_by(world, OTHER)
    world.path(f"{BASE}-g1/image.tar.gz").unlink()
    given = task().execute(world.context())
    assert (given["dataset"], builder.built) == (f"{BASE}-g2", 2)
