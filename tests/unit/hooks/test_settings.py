from __future__ import annotations

from pathlib import Path

import pytest

from hooks.settings import config_dir, runner_path


def test_a_checkout_works_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ESAP_CONFIG_DIR", raising=False)
    monkeypatch.delenv("ESAP_RUNNER", raising=False)
    assert (config_dir() / "facilities.yaml").is_file()
    assert runner_path().read_text().startswith("#!/usr/bin/env python3")


def test_a_deployment_may_keep_both_elsewhere_and_change_its_mind(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("/etc/one", "/etc/two"):
        monkeypatch.setenv("ESAP_CONFIG_DIR", place)
        monkeypatch.setenv("ESAP_RUNNER", f"{place}/runner.py")
        assert (config_dir(), runner_path()) == (Path(place), Path(place, "runner.py"))
