from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esap_batch.products import Claim
from hooks.broker import Broker
from hooks.settings import config_dir
from operators.history import DeleteHistory
from tests.unit.conftest import DATASET, RUN, World

OLD, ALIVE = "hello_world/manual__old", "hello_world/manual__alive"


class FakeHistory:
    """Knows two old runs; one begins again before it is deleted."""

    def __init__(self) -> None:
        self.deleted: list[str] = []
        self.records: list[tuple[int, int]] = []
        self.cleared: set[str] = set()

    def old_runs(self, days: int) -> Iterator[list[str]]:
        assert days == 180
        yield [OLD]
        yield [RUN]

    def delete_runs(self, _days: int, runs: list[str]) -> list[str]:
        done = [run for run in runs if run not in self.cleared]
        self.deleted += done
        return done

    def delete_records(self, days: int, audit_days: int) -> dict[str, int]:
        self.records.append((days, audit_days))
        return {}


@pytest.fixture
def history() -> FakeHistory:
    return FakeHistory()


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for run in (OLD, ALIVE):
        dag_id, _, run_id = run.partition("/")
        file = tmp_path / f"dag_id={dag_id}" / f"run_id={run_id}" / "attempt=1.log"
        file.parent.mkdir(parents=True)
        file.write_text("x")
        os.utime(file, (0, 0))
    monkeypatch.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def lake(world: World, history: FakeHistory, logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have one run that holds the claim of a product, one that has none, and one that goes on."""
    world.lake.put_claim(Claim(DATASET, RUN, is_published=False))
    world.lake.described[DATASET] = {"esap_run": RUN, "esap_state": "claimed"}
    world.ti.runs = {RUN: "failed", OLD: "success", ALIVE: "running"}
    monkeypatch.setattr(DeleteHistory, "lake", world.lake)
    monkeypatch.setattr(DeleteHistory, "history", history)


def run(world: World, *, dry_run: bool = False) -> Any:
    return DeleteHistory(task_id="delete_history").execute(world.context(params={"dry_run": dry_run}))


def test_a_run_whose_product_is_not_published_stays(world: World, history: FakeHistory) -> None:
    told = run(world)
    assert (told["runs"], told["kept"]) == ([OLD], [RUN])
    assert history.deleted == [OLD]
    assert history.records == [(180, 730)]


def test_with_its_product_published_it_goes(world: World, history: FakeHistory) -> None:
    world.lake.close(DATASET)
    assert run(world)["runs"] == [OLD, RUN]
    assert history.deleted == [OLD, RUN]


def test_a_run_that_has_begun_again_is_not_told_as_deleted(world: World, history: FakeHistory) -> None:
    history.cleared = {OLD}
    assert run(world)["runs"] == []


def test_logs_of_what_goes_on_stay(world: World, logs: Path) -> None:
    assert run(world)["logs"] == 1
    assert [p.name for p in logs.glob("*/*")] == ["run_id=manual__alive"]


def test_a_dry_run_only_tells(world: World, history: FakeHistory, logs: Path) -> None:
    assert run(world, dry_run=True) == {"runs": [OLD], "kept": [RUN], "logs": 1, "dry_run": True}
    assert (history.deleted, history.records) == ([], [])
    assert len(list(logs.glob("*/*"))) == 2


@pytest.mark.parametrize("is_old_schema", [False, True])
def test_settings_from_before_will_do(
    world: World,
    history: FakeHistory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_old_schema: bool,
) -> None:
    schema = json.loads((config_dir() / "housekeeping.schema.json").read_text())
    if is_old_schema:
        schema["properties"] = {"retention_days": schema["properties"]["retention_days"]}
    config = tmp_path / "config"
    config.mkdir()
    (config / "housekeeping.schema.json").write_text(json.dumps(schema))
    (config / "housekeeping.yaml").write_text("retention_days: 14\n")
    monkeypatch.setenv("ESAP_CONFIG_DIR", str(config))
    run(world)
    assert history.records == [(180, 730)]


def test_without_a_broker_it_fails_and_says_why(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(Broker, "standing", lambda: None)
    with pytest.raises(Exception, match="esap_broker"):
        _ = DeleteHistory(task_id="delete_history").history
