from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from esap_batch.errors import ConfigurationError
from esap_batch.products import Claim
from operators import housekeeping
from operators.housekeeping import DeleteLeftovers
from tests.unit.conftest import DATASET, RUN, World

WORK = "/ctao/esap/work"
OLD, LIVING, YOUNG, NOBODYS = (f"{WORK}/esap-{name}" for name in ("old", "living", "young", "nobodys"))
LIVING_RUN = "cta_irf/manual__2"
PUBLISHED = DATASET.removesuffix("1") + "2"


@pytest.fixture(autouse=True)
def leftovers(world: World) -> None:
    """Let all but one work area be old, one run be alive, and an old claim have a file."""
    world.ti.runs = {RUN: "failed", LIVING_RUN: "running"}
    owners = {OLD: RUN, LIVING: LIVING_RUN, YOUNG: RUN, NOBODYS: ""}
    for area, owner in owners.items():
        write(world, f"{area}/run.json" if owner else f"{area}/other.json", json.dumps({"run": owner}))
    world.lake.put_claim(Claim(DATASET, RUN, is_published=False))
    world.lake.put_claim(Claim(PUBLISHED, RUN, is_published=True))
    for dataset in (DATASET, PUBLISHED):
        world.lake.described[dataset] = {"esap_run": RUN, "esap_state": "claimed"}
        write(world, f"{dataset}/hello.json", "x")
    for path in world.root.rglob("*"):
        os.utime(path, (0, 0))
    os.utime(world.path(f"{YOUNG}/run.json"))


def write(world: World, lfn: str, content: str) -> None:
    world.path(lfn).parent.mkdir(parents=True)
    world.path(lfn).write_text(content)


def run(world: World, dry_run: bool = False) -> Any:
    return DeleteLeftovers(task_id="delete").execute(world.context(params={"dry_run": dry_run}))


def there(world: World) -> list[str]:
    return [lfn for lfn in (OLD, LIVING, YOUNG, NOBODYS, DATASET, PUBLISHED) if world.path(lfn).exists()]


def test_only_what_is_old_unpublished_and_of_a_run_that_has_ended_goes(world: World) -> None:
    told = run(world)
    assert there(world) == [LIVING, YOUNG, NOBODYS, PUBLISHED]
    assert [Path(p).name for p in told["deleted"]] == ["esap-old", Path(DATASET).name]
    assert {Path(p).name: reason.split(" ")[0] for p, reason in told["kept"].items()} == {
        "esap-living": "run",
        "esap-nobodys": "nobody",
        "esap-young": "changed",
    }


def test_what_jobs_of_a_failed_observation_have_written_goes_too(world: World) -> None:
    world.lake.described[DATASET]["esap_state"] = "failed"
    run(world)
    assert DATASET not in there(world)


def test_a_dry_run_only_tells(world: World) -> None:
    told = run(world, dry_run=True)
    assert told["dry_run"]
    assert len(told["deleted"]) == 2
    assert len(there(world)) == 6


def test_a_run_that_was_deleted_is_not_alive(world: World) -> None:
    del world.ti.runs[LIVING_RUN]
    run(world)
    assert LIVING not in there(world)


def test_what_another_service_has_signed_is_left_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "service_name", lambda: "https://batch.example")
    for service, is_there in (("https://other.example", True), ("https://batch.example", False)):
        signed = world.path(f"{OLD}/run.json")
        signed.write_text(json.dumps({"run": RUN, "service": service}))
        os.utime(signed, (0, 0))
        told = run(world)
        assert (OLD in there(world)) is is_there
        assert not any(pfn.endswith(OLD) for pfn in told["kept"])


def test_a_signature_that_nobody_can_read_keeps_its_area_and_no_other(world: World) -> None:
    world.path(f"{YOUNG}/run.json").write_text("{")
    run(world)
    assert there(world) == [LIVING, YOUNG, NOBODYS, PUBLISHED]


def test_files_that_the_lake_knows_stay(world: World) -> None:
    (file,) = [world.path(f"{DATASET}/hello.json")]
    world.lake.datasets[DATASET]["files"] = [type("File", (), {"lfn": str(file)})]
    run(world)
    assert DATASET in there(world)


def test_it_may_be_repeated(world: World) -> None:
    run(world)
    assert run(world)["deleted"] == []


def test_a_wrong_number_of_days_deletes_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "housekeeping.yaml").write_text("retention_days: 0\n")
    schema = Path(__file__).parents[3] / "config" / "housekeeping.schema.json"
    (tmp_path / schema.name).write_text(schema.read_text())
    monkeypatch.setattr(housekeeping, "config_dir", lambda: tmp_path)
    with pytest.raises(ConfigurationError, match="retention_days"):
        run(world)
    assert len(there(world)) == 6
