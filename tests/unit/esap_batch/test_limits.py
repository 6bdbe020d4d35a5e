from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from esap_batch.errors import ConfigurationError
from esap_batch.limits import Exceeded, Limits, load_limits
from hooks.settings import config_dir


def test_the_projects_own_file_is_good() -> None:
    found = load_limits(config_dir())
    assert found == Limits(), "the same as where there is no file"
    assert found.changes_per_minute <= found.requests_per_minute
    assert found.runs_per_user <= found.runs_per_experiment


def test_a_wrong_file_is_refused_with_the_field(tmp_path: Path) -> None:
    shutil.copy(config_dir() / "limits.schema.json", tmp_path)
    (tmp_path / "limits.yaml").write_text("requests_per_minute: 0\nchanges_per_minute: many\n")
    with pytest.raises(ConfigurationError, match=r"runs_per_user.*changes_per_minute"):
        load_limits(tmp_path)


def test_a_folder_older_than_the_limits_will_do(tmp_path: Path) -> None:
    assert load_limits(tmp_path) == Limits()
    (tmp_path / "limits.yaml").write_text("runs_per_user: 7\n")
    assert load_limits(tmp_path) == Limits(runs_per_user=7)
    (tmp_path / "limits.yaml").write_text("runs_per_user: 0\nruns: 7\n")
    with pytest.raises(ConfigurationError, match=r"'runs' was unexpected.*runs_per_user: 0 is less than"):
        load_limits(tmp_path)


def test_who_runs_into_a_limit_is_told_which() -> None:
    assert set(Limits.__dataclass_fields__) > {"runs_per_user"}
    told = str(Exceeded("runs_per_user", 200, "alice", 60))
    assert told == "runs_per_user = 200 of alice is used up: try again in 60 s"
