from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from access import settings
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
