"""The grid that serves an Airflow elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from localgrid import serving
from localgrid.layout import NAME_VARIABLE, PORTAL_VARIABLE, PUBLIC, SYSTEM_VARIABLE, Layout
from localgrid.setup import diracx, issuer, ssh


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setenv(NAME_VARIABLE, "grid.example")
    monkeypatch.setenv(PORTAL_VARIABLE, "https://portal.example")
    found = Layout(tmp_path / "grid")
    found.make()
    ssh.create(found)
    (found.diracx_credentials / "alice.json").write_text("{}")
    return found


def test_connections_lead_to_the_name_and_to_what_was_handed_over(layout: Layout, tmp_path: Path) -> None:
    found = serving.connections(layout, tmp_path)
    assert found["dirac_local"]["host"] == f"http://diracx.grid.example:{PUBLIC['diracx']}"
    assert found["dirac_local"]["extra"]["credentials_dir"] == str(tmp_path / "diracx")
    assert found["rucio_lake"]["host"] == f"http://rucio.grid.example:{PUBLIC['rucio']}"
    assert found["esap_iam"]["host"] == f"http://issuer.grid.example:{PUBLIC['issuer']}"
    assert found["esap_broker"]["host"] == "http://api-server:8080"
    if "slurm_local" in found:
        assert found["slurm_local"]["host"] == "slurm.grid.example"
        assert found["slurm_local"]["port"] == PUBLIC["sshd"]
        assert found["slurm_local"]["extra"]["keys_dir"] == str(tmp_path / "ssh")


def test_only_credentials_of_users_are_handed_over(layout: Layout, tmp_path: Path) -> None:
    folder = tmp_path / "over"
    folder.mkdir()
    serving.hand_over(layout, folder)
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"connections.json", "diracx/alice.json", "ssh/alice"} <= there
    assert all(name.startswith(("diracx/", "ssh/", "connections.json")) for name in there)
    assert (folder / "connections.json").stat().st_mode & 0o777 == 0o600
    assert (folder / "ssh" / "alice").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("system", "handed"),
    [("issuer", {"connections.json"}), ("diracx", {"diracx"}), ("slurm", {"ssh"}), ("rucio", set())],
)
def test_each_system_hands_over_what_is_its_own(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, handed: set[str]
) -> None:
    monkeypatch.setenv(SYSTEM_VARIABLE, system)
    folder = tmp_path / "over"
    folder.mkdir()
    serving.hand_over(layout, folder)
    assert {path.name for path in folder.iterdir()} == handed


def test_clients_come_back_to_the_portal_elsewhere(layout: Layout) -> None:
    portal = next(one for one in issuer.clients(layout) if one["client_id"] == issuer.PORTAL)
    assert "https://portal.example/auth/callback/iam" in portal["redirect_uris"]
    allowed = json.loads(diracx.environment(layout)["DIRACX_SERVICE_AUTH_ALLOWED_REDIRECTS"])
    assert "https://portal.example/batch-broker/callback" in allowed


def test_only_what_others_need_listens_beyond_loopback(layout: Layout) -> None:
    assert {name for name in layout.ports if layout.interface(name) == "0.0.0.0"} == set(PUBLIC)
    assert {name: layout.ports[name] for name in PUBLIC} == PUBLIC


def test_without_a_name_all_is_loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAME_VARIABLE, raising=False)
    monkeypatch.delenv(PORTAL_VARIABLE, raising=False)
    layout = Layout(tmp_path / "grid")
    layout.make()
    assert {layout.interface(name) for name in layout.ports} == {"127.0.0.1"}
    assert layout.portal == f"http://127.0.0.1:{layout.ports['airflow-api']}"
    assert layout.issuer == f"http://localhost:{layout.ports['issuer']}"
