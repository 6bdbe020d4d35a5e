"""SLURM's accounting: slurmdbd on a MariaDB of its own that only a Unix socket reaches."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from localgrid.layout import HOST, Layout, write_private
from localgrid.setup import slurm, slurm_control, slurm_packages

DATABASE = "slurm_accounting"
SETTINGS = (
    *("--skip-networking", "--skip-log-bin", "--skip-name-resolve", "--performance-schema=OFF"),
    *("--innodb-buffer-pool-size=16M", "--innodb-log-file-size=16M", "--innodb-log-buffer-size=2M"),
    *("--key-buffer-size=1M", "--aria-pagecache-buffer-size=2M", "--query-cache-size=0"),
    *("--max-connections=20", "--table-open-cache=100", "--innodb-lock-wait-timeout=900"),
    # What is confirmed outlives a killed server; it need not outlive a power cut.
    *("--innodb-flush-log-at-trx-commit=2", "--innodb-doublewrite=OFF", "--sync-frm=OFF"),
    "--innodb-use-native-aio=OFF",  # containers often lack it
)


def _socket(layout: Layout) -> Path:
    return layout.path("run", "mariadb.sock")


def _data(layout: Layout) -> Path:
    return layout.path("mariadb")


def _as_user() -> tuple[str, ...]:
    return ("--user=root",) if os.geteuid() == 0 else ()


def create_database(layout: Layout) -> None:
    """Make the data directory, once.

    Raises:
        RuntimeError: mariadb-install-db failed; carries its words.

    """
    if (_data(layout) / "mysql").exists():
        return
    command = ["mariadb-install-db", "--no-defaults", *_as_user(), f"--datadir={_data(layout)}"]
    command += ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
    command += [f"--tmpdir={layout.path('tmp')}"]
    environment = {"PATH": slurm_packages.SYSTEM_PATH, "HOME": str(layout.path("user"))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode:
        raise RuntimeError(f"localgrid: {command[0]} failed: {(done.stdout + done.stderr)[-1500:]}")


def database_command(layout: Layout) -> list[str]:
    """MariaDB's command line."""
    return [
        *("mariadbd", "--no-defaults", *_as_user(), f"--datadir={_data(layout)}"),
        *(f"--socket={_socket(layout)}", f"--pid-file={layout.path('run', 'mariadb.pid')}", *SETTINGS),
    ]


def query(layout: Layout, sql: str) -> str:
    """What MariaDB answers to statements.

    Raises:
        RuntimeError: it does not answer, or refuses.

    """
    client = ("mariadb", "--no-defaults", f"--socket={_socket(layout)}", "--user=root")
    return slurm_control.ask(layout, *client, "--skip-column-names", "--execute", sql)


def create_tables(layout: Layout) -> None:
    """Make slurmdbd's database and its user; it makes its tables itself."""
    password = layout.secrets["slurm_database_password"]
    query(
        layout,
        f"create database if not exists {DATABASE}; "
        f"create user if not exists slurm@localhost identified by '{password}'; "
        f"grant all on {DATABASE}.* to slurm@localhost",
    )


def configuration(layout: Layout) -> str:
    """The text of slurmdbd.conf."""
    return f"""AuthType=auth/munge
AuthInfo=socket={slurm.munge_socket(layout)}
CommunicationParameters=NoInAddrAny
DbdHost=localhost
DbdAddr={HOST}
DbdPort={layout.ports["slurmdbd"]}
SlurmUser={slurm.account_name()}
PidFile={layout.path("run", "slurmdbd.pid")}
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass={layout.secrets["slurm_database_password"]}
StorageLoc={DATABASE}
"""


def create(layout: Layout) -> None:
    """Write slurmdbd's configuration; it refuses one that others can read."""
    write_private(slurm.configuration_file(layout).with_name("slurmdbd.conf"), configuration(layout))


def command(_: Layout) -> list[str]:
    """The command line of slurmdbd, which finds its configuration beside slurm.conf."""
    return ["slurmdbd", "-D"]


def environment(layout: Layout) -> Mapping[str, str]:
    """The daemon's variables; the last is how MariaDB's library finds the socket."""
    return {**slurm_control.environment(layout), "MYSQL_UNIX_PORT": str(_socket(layout))}


def associate(layout: Layout) -> None:
    """Let the service account run jobs of the project's account."""
    who = f"{slurm.CLUSTER}|{slurm.ACCOUNT}|{slurm.account_name()}"
    told = slurm_control.ask(layout, "sacctmgr", "-n", "-P", "show", "assoc", "format=cluster,account,user")
    if who in told.split():
        return
    clusters = slurm_control.ask(layout, "sacctmgr", "-n", "-P", "show", "cluster", "format=cluster").split()
    if slurm.CLUSTER not in clusters:
        slurm_control.ask(layout, "sacctmgr", "-i", "-Q", "add", "cluster", slurm.CLUSTER)
    accounts = slurm_control.ask(layout, "sacctmgr", "-n", "-P", "show", "account", "format=account").split()
    if slurm.ACCOUNT not in accounts:
        slurm_control.ask(layout, "sacctmgr", "-i", "-Q", "add", "account", slurm.ACCOUNT)
    user = slurm.account_name()
    slurm_control.ask(layout, "sacctmgr", "-i", "-Q", "add", "user", user, f"account={slurm.ACCOUNT}")
    if user != "root":  # root is there from the start, with another account
        return
    slurm_control.ask(
        layout, "sacctmgr", "-i", "-Q", "modify", "user", user, "set", f"defaultaccount={slurm.ACCOUNT}"
    )
