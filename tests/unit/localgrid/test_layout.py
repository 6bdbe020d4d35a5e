"""Layout of the state directory."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from localgrid.layout import HOST, LISTENERS, Layout, default_home, is_free, pick_ports, write_private


def test_ports_are_free_distinct_and_kept(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.make()
    ports = layout.ports
    assert set(ports) == set(LISTENERS)
    assert len(set(ports.values())) == len(LISTENERS)
    assert dict(Layout(tmp_path).ports) == dict(ports)


def test_a_taken_port_is_not_picked() -> None:
    with socket.socket() as holder:
        holder.bind((HOST, 0))
        holder.listen()
        assert not is_free(holder.getsockname()[1])


def test_no_port_left_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localgrid.layout.PORTS", range(20000, 20001))
    with pytest.raises(RuntimeError, match="no free port between 20000 and 20001 for b"):
        pick_ports(["a", "b"]) if is_free(20000) else pick_ports(["b"])


def test_secrets_are_private_strong_and_kept(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.make()
    secrets = layout.secrets
    assert len(secrets["airflow_jwt_secret"].encode()) >= 64
    assert len(set(secrets.values())) == len(secrets)
    assert (tmp_path / "secrets" / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert dict(Layout(tmp_path).secrets) == dict(secrets)


def test_private_file_replaces_a_public_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_too_long_a_path_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    home = tmp_path / ("x" * 120)
    with pytest.raises(RuntimeError, match="ESAP_LOCALGRID_HOME"):
        Layout(home).make()
    assert not home.exists()


def test_home_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ESAP_LOCALGRID_HOME", str(tmp_path))
    assert default_home() == tmp_path
    monkeypatch.delenv("ESAP_LOCALGRID_HOME")
    assert default_home().name == ".localgrid"


def test_a_missing_environment_is_named_with_the_way_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("localgrid.layout.PROJECT", tmp_path)
    with pytest.raises(RuntimeError, match=r"\.envs/rucio is missing. Run: localgrid/bootstrap.sh"):
        Layout(tmp_path).python("rucio")
