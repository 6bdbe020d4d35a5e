"""The site's login node: sshd on loopback, keys only, one key for each local user."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from localgrid.layout import HOST, PROJECT, RUN_VARIABLE, USERS, Layout, write_private
from localgrid.setup import slurm, slurm_control, slurm_packages

NOT_ADMITTED = ("bob",)  # has a key that the site does not know
PRIVILEGE_DIRECTORY = Path("/run/sshd")  # compiled into Debian's sshd; root's needs it, empty
APPTAINER = PROJECT / ".envs" / "apptainer" / "bin"  # where `localgrid/bootstrap.sh apptainer` was run
JOBS = "slurm-jobs"  # the mark of what was started by way of a login


def directory(layout: Layout) -> Path:
    """The server's configuration."""
    return layout.path("sshd")


def keys_directory(layout: Layout) -> Path:
    """Where each user's private key lies, under the user's name."""
    return layout.path("secrets", "ssh")


def known_hosts(layout: Layout) -> Path:
    """The server's key as clients keep it."""
    return directory(layout) / "known_hosts"


def _host_key(layout: Layout) -> Path:
    return layout.path("secrets", "ssh_host_ed25519")


def _make_key(path: Path) -> None:
    """A new Ed25519 key in OpenSSH's form, with its public half beside it."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if path.exists():
        return
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    path.with_suffix(".pub").write_bytes(public + b"\n")
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    write_private(path, private.decode())


def host_key(layout: Layout) -> str:
    """The host's public key as known_hosts has it, type and key; made when first asked for."""
    _make_key(_host_key(layout))
    return _host_key(layout).with_suffix(".pub").read_text().strip()


def login_environment(layout: Layout) -> dict[str, str]:
    """What the site's login profile sets; jobs inherit it."""
    return {
        "PATH": f"{slurm_packages.SYSTEM_PATH}:{APPTAINER}",
        "HOME": str(slurm.directory(layout) / "home"),
        "TMPDIR": str(layout.path("tmp")),
        "LANG": "C.UTF-8",
        "SLURM_CONF": str(slurm.configuration_file(layout)),
        "ESAP_SW_DIR": str(layout.software_area),
        "ESAP_IMAGE_CACHE": str(layout.software_area.parent / "images"),
        RUN_VARIABLE: f"{layout.mark}:{JOBS}",
    }


def configuration(layout: Layout) -> str:
    """The text of sshd_config."""
    variables = " ".join(f'"{name}={value}"' for name, value in login_environment(layout).items())
    return f"""Port {layout.ports["sshd"]}
ListenAddress {layout.interface("sshd")}
HostKey {_host_key(layout)}
PidFile {layout.path("run", "sshd.pid")}
AuthorizedKeysFile {directory(layout) / "authorized_keys"}
AllowUsers {slurm.account_name()}
PermitRootLogin {"prohibit-password" if os.geteuid() == 0 else "no"}
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
# The state directory may lie below /tmp, which others may write to.
StrictModes no
UseDNS no
MaxStartups 100
MaxSessions 100
PrintMotd no
LogLevel INFO
SetEnv {variables}
Subsystem sftp internal-sftp
"""


def create(layout: Layout) -> None:
    """Make the keys, once, and write the configuration."""
    directory(layout).mkdir(exist_ok=True, mode=0o700)
    keys_directory(layout).mkdir(exist_ok=True, mode=0o700)
    admitted = []
    for user in USERS:
        key = keys_directory(layout) / user
        _make_key(key)
        if user not in NOT_ADMITTED:
            # `restrict`: commands and files only, no forwarding and no terminal.
            admitted.append(f"restrict {key.with_suffix('.pub').read_text().strip()} {user}\n")
    write_private(directory(layout) / "authorized_keys", "".join(admitted))
    write_private(known_hosts(layout), f"[{HOST}]:{layout.ports['sshd']} {host_key(layout)}\n")
    write_private(directory(layout) / "sshd_config", configuration(layout))


def prepare(layout: Layout) -> None:
    """Make what the server needs to start."""
    create(layout)
    if os.geteuid() == 0:
        PRIVILEGE_DIRECTORY.mkdir(exist_ok=True, mode=0o755)


def command(layout: Layout) -> list[str]:
    """The server's command line."""
    return ["/usr/sbin/sshd", "-D", "-e", "-f", str(directory(layout) / "sshd_config")]


def banner(layout: Layout) -> str:
    """What the server greets with.

    Raises:
        OSError: it does not listen.

    """
    with socket.create_connection((HOST, layout.ports["sshd"]), timeout=5) as connection:
        return connection.recv(256).decode(errors="replace")


def client_command(layout: Layout, user: str, *command: str) -> list[str]:
    """The command line that runs a command at the login node as one of the local users."""
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": known_hosts(layout),
        "ConnectTimeout": 5,
        "LogLevel": "ERROR",
    }
    line = ["ssh", "-F", "none", "-i", str(keys_directory(layout) / user), "-p", str(layout.ports["sshd"])]
    for name, value in options.items():
        line += ["-o", f"{name}={value}"]
    return [*line, f"{slurm.account_name()}@{HOST}", *command]


def log_in(layout: Layout) -> None:
    """See that a user's login finds the controller.

    Raises:
        RuntimeError: it does not; carries the words of ssh or SLURM.

    """
    slurm_control.ask(layout, *client_command(layout, "alice", "timeout", "4", "scontrol", "ping"))


def connection(layout: Layout) -> dict[str, object]:
    """Airflow's connection to the site."""
    return {
        "conn_type": "ssh",
        "host": layout.host("sshd"),
        "port": layout.ports["sshd"],
        "login": slurm.account_name(),
        "extra": {
            "host_key": host_key(layout),
            "keys_dir": str(keys_directory(layout)),
            "work_area": str(slurm.work_area(layout)),
            "poll_interval": 1.0,
        },
    }
