"""The deployment's scripts without an engine: whose secrets are, what is saved, which connections count."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from localgrid.layout import PROJECT

# For docker: a database that gives a word and takes no other.
DOCKER = """#!/bin/sh
case "$*" in
    *pg_dump*) echo rows ;;
    *pg_restore*) grep -qx rows ;;
    volume*) exit 1 ;;
esac
"""
ANYBODY = 4321
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")


class Machine:
    """A copy of the scripts, with a stand-in of docker, and of `id` where somebody else runs them."""

    def __init__(self, home: Path, user: int | None = None) -> None:
        self.project, programs = home / "project", home / "bin"
        (self.project / "deploy").mkdir(parents=True)
        for name in ("make_secrets.sh", "backup.sh", "restore.sh"):
            write(self.project / "deploy" / name, (PROJECT / "deploy" / name).read_text(), 0o755)
        (self.project / "config").mkdir()
        (self.project / "config" / "limits.yaml").write_text("ours")
        programs.mkdir()
        write(programs / "docker", DOCKER, 0o755)
        if user is not None:
            write(programs / "id", f"#!/bin/sh\necho {user}\n", 0o755)
        self.env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}

    def run(self, script: str, *arguments: str, cwd: Path | None = None) -> str:
        """Give what it said; RuntimeError with it when it failed."""
        command = [str(self.project / "deploy" / script), *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=self.env, cwd=cwd)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout

    @property
    def secrets(self) -> dict[str, Path]:
        return {path.name: path for path in (self.project / "deploy" / "secrets").iterdir()}


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.write_text(text)
    path.chmod(mode)


def owners(machine: Machine) -> set[tuple[int, int]]:
    states = [path.stat() for path in machine.secrets.values()]
    return {(state.st_uid, stat.S_IMODE(state.st_mode)) for state in states}


def test_an_env_that_is_there_gets_the_user_too(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    write(machine.project / ".env", "ESAP_PORT=443")  # without an end of line
    machine.run("make_secrets.sh")
    machine.run("make_secrets.sh")
    user = os.getuid() or 50000
    assert (machine.project / ".env").read_text() == f"ESAP_PORT=443\nESAP_UID={user}\n"
    assert owners(machine) == {(user, 0o600)}


@as_root
def test_root_gives_all_files_to_the_user_of_the_env(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    write(machine.project / ".env", "ESAP_UID=1234\n")
    machine.run("make_secrets.sh")
    key = machine.secrets["tls.key"]
    key.unlink()
    write(key, "the site's")
    machine.run("make_secrets.sh")
    assert key.read_text() == "the site's"
    assert owners(machine) == {(1234, 0o600)}


def test_who_is_not_the_user_of_the_env_makes_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, ANYBODY)
    write(machine.project / ".env", "ESAP_UID=1234\n")
    with pytest.raises(RuntimeError, match=r"ESAP_UID is 1234 in .*\.env and you are 4321"):
        machine.run("make_secrets.sh")
    assert not (machine.project / "deploy" / "secrets").exists()


def saved(home: Path) -> Machine:
    """Make a backup with a path relative to where one is: `home`/backup."""
    machine = Machine(home / "old")
    write(machine.project / ".env", f"ESAP_URL=https://portal\nESAP_UID={os.getuid() or 1234}\n")
    write(machine.project / "docker-compose.override.yaml", "services: {}\n")
    machine.run("make_secrets.sh")
    machine.run("backup.sh", "backup", cwd=home)
    assert stat.S_IMODE((home / "backup").stat().st_mode) == 0o600
    return machine


def test_a_backup_brings_back_settings_and_secrets(tmp_path: Path) -> None:
    old, new = saved(tmp_path), Machine(tmp_path / "new")
    said = new.run("restore.sh", "backup", cwd=tmp_path)
    assert "config.restored" not in said
    for name in (".env", "docker-compose.override.yaml"):
        assert (new.project / name).read_text() == (old.project / name).read_text()
    assert {n: p.read_text() for n, p in new.secrets.items()} == {
        n: p.read_text() for n, p in old.secrets.items()
    }
    assert owners(new) == owners(old)
    with pytest.raises(RuntimeError, match="deploy/secrets is there already"):
        new.run("restore.sh", "backup", cwd=tmp_path)


def test_another_configuration_is_put_beside(tmp_path: Path) -> None:
    saved(tmp_path)
    new = Machine(tmp_path / "new")
    (new.project / "config" / "limits.yaml").write_text("the release's")
    assert "config.restored" in new.run("restore.sh", "backup", cwd=tmp_path)
    beside = new.project / "config.restored" / "limits.yaml"
    assert beside.read_text() == "ours"
    assert stat.S_IMODE(beside.stat().st_mode) == 0o644
    assert (new.project / "config" / "limits.yaml").read_text() == "the release's"


def test_who_restores_without_being_root_is_the_user_from_then_on(tmp_path: Path) -> None:
    saved(tmp_path)
    new = Machine(tmp_path / "new", ANYBODY)
    new.run("restore.sh", "backup", cwd=tmp_path)
    assert (new.project / ".env").read_text() == f"ESAP_URL=https://portal\nESAP_UID={ANYBODY}\n"


@pytest.mark.parametrize(
    ("site", "grid", "used"),
    [
        ('{"esap_broker": {}}', '{"rucio_lake": {}}', "grid"),
        ('{"rucio_lake": {}}', '{"rucio_lake": {}}', "site"),  # a trial's leavings do not count
        ('{"esap_broker": {}}', None, "site"),
        (None, None, None),
    ],
)
def test_the_sites_connections_count_as_soon_as_they_name_a_lake(
    tmp_path: Path, site: str | None, grid: str | None, used: str | None
) -> None:
    text = (PROJECT / "deploy" / "bin" / "start").read_text()
    for name, folder, content in (("site", "/run/secrets", site), ("grid", "/run/esap-grid", grid)):
        assert folder in text
        text = text.replace(folder, str(tmp_path / name))
        (tmp_path / name).mkdir()
        if content is not None:
            write(tmp_path / name / "connections.json", content)
    variable = "AIRFLOW__SECRETS__BACKEND_KWARGS"
    done = subprocess.run(
        ["sh", "-c", text, "start", "sh", "-c", f"echo ${variable}"],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
    )
    file = str(tmp_path / used / "connections.json") if used else ""
    assert done.stdout.strip() == (f'{{"connections_file_path": "{file}"}}' if used else "")
    assert done.stderr.strip() == (f"start: connections are those of {file}" if used else "")
