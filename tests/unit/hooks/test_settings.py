from __future__ import annotations

from pathlib import Path

import pytest

from esap_batch.errors import ConfigurationError
from hooks.settings import config_dir, runner_dir, service_name


def test_a_checkout_works_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ESAP_CONFIG_DIR", raising=False)
    monkeypatch.delenv("ESAP_RUNNER_DIR", raising=False)
    assert (config_dir() / "facilities.yaml").is_file()
    assert (runner_dir() / "esap_runner" / "program.py").is_file()


def test_a_deployment_may_keep_both_elsewhere_and_change_its_mind(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("/etc/one", "/etc/two"):
        monkeypatch.setenv("ESAP_CONFIG_DIR", place)
        monkeypatch.setenv("ESAP_RUNNER_DIR", f"{place}/runner")
        assert (config_dir(), runner_dir()) == (Path(place), Path(place, "runner"))


def test_the_setting_of_before_is_refused_with_the_new_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ESAP_RUNNER_DIR", raising=False)
    monkeypatch.setenv("ESAP_RUNNER", "/opt/esap_runner.py")
    with pytest.raises(ConfigurationError, match=r"/opt/esap_runner\.py: ESAP_RUNNER .* in ESAP_RUNNER_DIR"):
        runner_dir()
    monkeypatch.setenv("ESAP_RUNNER_DIR", "/opt/runner")
    assert runner_dir() == Path("/opt/runner")


def test_a_service_is_known_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://batch.example/")
    assert service_name() == "https://batch.example"
