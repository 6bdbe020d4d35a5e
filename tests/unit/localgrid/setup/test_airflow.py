"""Settings of Airflow."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from localgrid.layout import PROJECT, USERS, Layout
from localgrid.setup import airflow


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.make()
    airflow.create(layout)
    return layout


def test_everything_binds_loopback_and_nothing_serves_logs(layout: Layout) -> None:
    environment = airflow.environment(layout)
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert environment["AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK"] == "False"
    assert "127.0.0.1" in airflow.command(layout, "airflow-api")
    for component in ("airflow-scheduler", "airflow-triggerer"):
        assert "--skip-serve-logs" in airflow.command(layout, component)


def test_a_shell_reads_the_environment_file_as_written(layout: Layout) -> None:
    file = layout.airflow_environment_file
    assert file.stat().st_mode & 0o777 == 0o600
    done = subprocess.run(
        ["/bin/sh", "-c", f". {file}; env -0"],
        env={"ENV": "", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "AIRFLOW__" not in done.stdout, "not exported by itself"
    done = subprocess.run(
        ["/bin/sh", "-c", f"set -a; . {file}; env -0"],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    seen = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    assert {k: seen.get(k) for k in airflow.environment(layout)} == airflow.environment(layout)
    assert seen["ESAP_CONFIG_DIR"] == str(PROJECT / "config")


def test_connections_and_passwords_are_private(layout: Layout) -> None:
    connections = layout.path("secrets", "connections.json")
    assert connections.stat().st_mode & 0o777 == 0o600
    assert layout.passwords_file.stat().st_mode & 0o777 == 0o600
    content = json.loads(connections.read_text())
    assert content["dirac_local"]["extra"]["poll_interval"] == 1.0
    lake = {"account": "esap", "auth_type": "userpass", "poll_interval": 1.0}
    assert content["rucio_lake"]["extra"] == lake
    assert set(json.loads(layout.passwords_file.read_text())) == set(USERS)


def test_a_password_file_that_lacks_a_user_is_refused(layout: Layout) -> None:
    layout.passwords_file.write_text('{"alice": "x"}')
    with pytest.raises(RuntimeError, match="lacks a user"):
        airflow.create(Layout(layout.home))


def test_the_schema_is_migrated_again_when_there_are_new_tables(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert not airflow.has_schema(layout)
    airflow.note_schema(layout)
    assert airflow.has_schema(layout)
    versions = tmp_path / "plugins/store/migrations/versions"
    versions.mkdir(parents=True)
    (versions / "0001_portal.py").touch()
    monkeypatch.setattr(airflow, "PROJECT", tmp_path)
    assert not airflow.has_schema(layout)
