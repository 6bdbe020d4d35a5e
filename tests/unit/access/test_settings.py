from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from access import settings
from esap_batch.errors import ConfigurationError
from tests.unit.access.conftest import CONFIG


def test_files_are_read_again_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(CONFIG, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("ESAP_CONFIG_DIR", str(tmp_path))
    first = settings.identities()
    assert settings.identities() is first
    file = tmp_path / "identity.yaml"
    file.write_text(file.read_text() + "  zoe: {groups: [ctao/users]}\n")
    os.utime(file, (1, 1))
    assert "zoe" in settings.identities().users
    assert settings.campaigns()["campaign_crab_2026"].owner == "alice"
    (tmp_path / "campaigns" / "crab_2026.yaml").unlink()
    assert settings.campaigns() == {}


def test_limits_outlast_a_wrong_edit_and_rights_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(CONFIG, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("ESAP_CONFIG_DIR", str(tmp_path))
    good = settings.limits()
    file = tmp_path / "limits.yaml"
    text = file.read_text()
    file.write_text("runs_per_user: many\n")
    os.utime(file, (1, 1))
    assert [settings.limits(), settings.limits()] == [good, good]
    (told,) = caplog.messages
    assert "runs_per_user: 'many' is not of type 'integer'" in told
    file.write_text(text.replace("runs_per_user: 200", "runs_per_user: 7"))
    os.utime(file, (2, 2))
    assert settings.limits().runs_per_user == 7

    settings.identities()
    (tmp_path / "identity.yaml").write_text("groups: none\n")
    os.utime(tmp_path / "identity.yaml", (1, 1))
    with pytest.raises(ConfigurationError, match="groups"):
        settings.identities()


def test_a_folder_without_limits_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESAP_CONFIG_DIR", str(tmp_path))
    assert settings.limits().runs_per_user == 200
