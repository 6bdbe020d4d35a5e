"""slurmdbd and its MariaDB."""

from __future__ import annotations

from pathlib import Path

import pytest

from localgrid.layout import Layout
from localgrid.setup import accounting, slurm, slurm_control


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setattr(slurm, "LONGEST_HOME", 200)
    layout = Layout(tmp_path)
    layout.make()
    slurm.create(layout, cpus=2)
    accounting.create(layout)
    return layout


def test_the_password_is_in_a_private_file_beside_slurms(layout: Layout) -> None:
    path = layout.path("slurm", "etc", "slurmdbd.conf")
    assert path.stat().st_mode & 0o777 == 0o600
    assert f"StoragePass={layout.secrets['slurm_database_password']}" in path.read_text()
    assert f"DbdPort={layout.ports['slurmdbd']}" in path.read_text()


def test_the_database_is_reached_by_its_socket_only(layout: Layout) -> None:
    command = accounting.database_command(layout)
    assert "--skip-networking" in command
    assert f"--socket={layout.home}/run/mariadb.sock" in command
    assert accounting.environment(layout)["MYSQL_UNIX_PORT"] == f"{layout.home}/run/mariadb.sock"
    assert "--no-defaults" in command, "the machine's own settings are none of ours"


class Clients:
    """Answers of SLURM's clients."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: str) -> None:
        self.answers, self.changes = answers, list[str]()
        monkeypatch.setattr(slurm_control, "ask", self)

    def __call__(self, _: Layout, *command: str) -> str:
        if "show" in command:
            return self.answers.get(command[command.index("show") + 1], "")
        self.changes.append(" ".join(command[3:]))
        return ""


def test_accounts_are_made_where_they_are_missing(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "account_name", lambda: "sam")
    clients = Clients(monkeypatch)
    accounting.associate(layout)
    assert clients.changes == ["add cluster localgrid", "add account esap", "add user sam account=esap"]
    clients = Clients(
        monkeypatch, cluster="localgrid\n", account="root\nesap\n", assoc="localgrid|root|root\n"
    )
    accounting.associate(layout)
    assert clients.changes == ["add user sam account=esap"]
    clients = Clients(monkeypatch, assoc="localgrid|esap|\nlocalgrid|esap|sam\n")
    accounting.associate(layout)
    assert clients.changes == []


def test_root_gets_the_account_as_its_default(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "account_name", lambda: "root")
    clients = Clients(monkeypatch, cluster="localgrid\n", account="esap\n")
    accounting.associate(layout)
    assert clients.changes[-1] == "modify user root set defaultaccount=esap"
