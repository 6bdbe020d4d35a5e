"""Debian's packages of a SLURM site: which of them are here, and where their programs are."""

from __future__ import annotations

import shutil
from pathlib import Path

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
NAME_LIBRARY = "libnss_wrapper.so"
PROGRAMS = {  # with Debian's package of each
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "slurmdbd": "slurmdbd",
    "mariadbd": "mariadb-server-core",
    "mariadb": "mariadb-client-core",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
}
LIBRARIES = {
    NAME_LIBRARY: "libnss-wrapper",
    "slurm-wlm/accounting_storage_mysql.so": "slurm-wlm-mysql-plugin",
}


def missing() -> tuple[str, ...]:
    """Debian's packages that SLURM needs here and that are not installed."""
    packages = {package for program, package in PROGRAMS.items() if not path_of(program)}
    packages |= {package for name, package in LIBRARIES.items() if not _library(name)}
    return tuple(sorted(packages))


def missing_words() -> str:
    """A line that says why SLURM is left out; empty when it is not."""
    packages = " ".join(missing())
    how = "On Debian: sudo apt-get install --no-install-recommends"
    return packages and f"SLURM is left out of the local grid. {how} {packages}"


def path_of(name: str) -> str:
    """The path of a program; empty when it is not installed."""
    return shutil.which(name, path=SYSTEM_PATH) or ""


def _library(name: str) -> Path | None:
    return next(Path("/usr/lib").glob(f"*-linux-gnu/{name}"), None)
