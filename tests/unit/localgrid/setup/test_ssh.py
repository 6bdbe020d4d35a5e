"""The login node's configuration and keys."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from localgrid.layout import USERS, Layout
from localgrid.setup import slurm, slurm_packages, ssh


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.make()
    ssh.create(layout)
    return layout


def lines(layout: Layout) -> dict[str, str]:
    text = layout.path("sshd", "sshd_config").read_text()
    return dict(line.split(" ", 1) for line in text.splitlines() if not line.startswith("#"))


def test_each_user_has_a_private_key_and_bob_is_not_admitted(layout: Layout) -> None:
    admitted = layout.path("sshd", "authorized_keys").read_text()
    for user in USERS:
        key = layout.path("secrets", "ssh", user)
        assert key.stat().st_mode & 0o777 == 0o600
        load_ssh_private_key(key.read_bytes(), None)
        assert (key.with_suffix(".pub").read_text().split()[1] in admitted) == (user != "bob")
    assert all(line.startswith("restrict ssh-ed25519 ") for line in admitted.splitlines())


def test_keys_are_kept(layout: Layout) -> None:
    before = {path.name: path.read_text() for path in layout.path("secrets", "ssh").iterdir()}
    host = ssh.host_key(layout)
    ssh.create(layout)
    assert {path.name: path.read_text() for path in layout.path("secrets", "ssh").iterdir()} == before
    assert ssh.host_key(layout) == host


def test_only_keys_open_and_only_on_loopback(layout: Layout) -> None:
    found = lines(layout)
    assert found["ListenAddress"] == "127.0.0.1"
    assert found["PasswordAuthentication"] == "no"
    assert found["KbdInteractiveAuthentication"] == "no"
    assert found["PermitRootLogin"] in ("prohibit-password", "no")
    assert found["AllowUsers"] == slurm.account_name()


def test_the_connection_names_the_host_key_that_clients_know(layout: Layout) -> None:
    connection = ssh.connection(layout)
    assert connection["port"] == layout.ports["sshd"]
    extra = connection["extra"]
    assert isinstance(extra, dict)
    known = ssh.known_hosts(layout).read_text()
    assert known == f"[127.0.0.1]:{connection['port']} {extra['host_key']}\n"
    assert extra["host_key"].startswith("ssh-ed25519 AAAA")
    assert extra["keys_dir"] == str(layout.path("secrets", "ssh"))
    assert extra["work_area"] == str(layout.path("slurm", "work"))


def test_logins_find_slurm_the_software_and_no_home_of_the_developer(layout: Layout) -> None:
    variables = ssh.login_environment(layout)
    assert variables["ESAP_SW_DIR"] == str(layout.software_area)
    assert variables["SLURM_CONF"] == str(slurm.configuration_file(layout))
    assert variables["ESAP_LOCALGRID_RUN"] == f"{layout.home}:slurm-jobs", "a purge must find jobs"
    assert variables["PATH"].endswith("/.envs/apptainer/bin"), "what the system has comes first"
    for name in ("HOME", "TMPDIR", "ESAP_IMAGE_CACHE"):
        assert variables[name].startswith(str(layout.home)), name


@pytest.mark.skipif(bool(slurm_packages.missing()), reason=slurm_packages.missing_words())
def test_sshd_takes_the_configuration(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.make()
    ssh.prepare(layout)
    command = [ssh.command(layout)[0], "-T", "-f", ssh.command(layout)[-1]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, value in ssh.login_environment(layout).items():
        assert f"setenv {name}={value}" in done.stdout.splitlines(), name
