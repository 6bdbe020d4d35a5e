from __future__ import annotations

import os
from pathlib import Path

import pytest

from hooks.log_files import newest, old_other_logs, old_run_logs, remove

OLD, NEW, BEFORE = 1000.0, 3000.0, 2000.0


def write(path: Path, when: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    os.utime(path, (when, when))
    return path


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    write(tmp_path / "dag_id=a/run_id=old/task_id=t/attempt=1.log", OLD)
    write(tmp_path / "dag_id=a/run_id=cleared/task_id=t/attempt=1.log", OLD)
    write(tmp_path / "dag_id=a/run_id=cleared/task_id=t/attempt=2.log", NEW)
    write(tmp_path / "dag_id=b/run_id=alive/task_id=t/attempt=1.log", OLD)
    write(tmp_path / "dag_processor/2026-01-01/a.log", OLD)
    write(tmp_path / "dag_processor/2026-02-01/a.log", NEW)
    (tmp_path / "dag_processor/latest").symlink_to(tmp_path / "dag_processor/2026-01-01")
    return tmp_path


def test_of_runs_only_what_is_old_and_over(logs: Path) -> None:
    asked: list[str] = []

    def is_alive(run: str) -> bool:
        asked.append(run)
        return run == "b/alive"

    (found,) = old_run_logs(logs, BEFORE, is_alive)
    assert found == logs / "dag_id=a/run_id=old"
    assert asked == ["a/old", "b/alive"], "of what is young nobody is asked"


def test_beside_runs_what_is_old(logs: Path) -> None:
    (found,) = old_other_logs(logs, BEFORE)
    assert found == logs / "dag_processor/2026-01-01/a.log"


def test_what_is_removed_leaves_no_empty_folder(logs: Path) -> None:
    remove(logs / "dag_id=a/run_id=old")
    assert (logs / "dag_id=a").exists(), "it has another run"
    remove(logs / "dag_id=b/run_id=alive")
    assert not (logs / "dag_id=b").exists()
    remove(logs / "dag_processor/2026-01-01/a.log")
    assert not (logs / "dag_processor/2026-01-01").exists()


def test_an_empty_folder_is_as_old_as_itself(tmp_path: Path) -> None:
    os.utime(tmp_path, (OLD, OLD))
    assert newest(tmp_path) == OLD
