"""Where everything of one local grid lives, which ports it has, and its secrets."""

from __future__ import annotations

import json
import os
import random
import secrets
import socket
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
HOME_VARIABLE = "ESAP_LOCALGRID_HOME"
RUN_VARIABLE = "ESAP_LOCALGRID_RUN"  # names, in the environment of every process of a grid, grid and service
HOST = "127.0.0.1"
ANY_HOST = "0.0.0.0"  # noqa: S104 - only where a name is set
# Other machines reach a system at SYSTEM.NAME; without a name nothing listens but at loopback.
NAME_VARIABLE = "ESAP_LOCALGRID_NAME"
PORTAL_VARIABLE = "ESAP_LOCALGRID_PORTAL"  # where browsers find an Airflow that is not the grid's own
PUBLIC = {"issuer": 19001, "diracx": 19002, "rucio": 19003, "s3": 19004, "sshd": 19005}  # ports under a name
SYSTEM_OF = {"issuer": "issuer", "diracx": "diracx", "rucio": "rucio", "s3": "diracx", "sshd": "slurm"}
SYSTEM_VARIABLE = "ESAP_LOCALGRID_SYSTEM"  # where one of the grid's systems runs alone, beside the others
PORTS = range(
    20000, 32000
)  # below Linux's ephemeral range: no outgoing connection takes one while we are down
LONGEST_SOCKET_PATH = 100
LISTENERS = (
    *("postgres", "s3", "diracx", "rucio", "fts", "airflow-api", "issuer", "statsd"),
    *("sshd", "slurmdbd", "slurmctld", "slurm-node1", "slurm-node2"),
)
USERS = {  # of the issuer, with their groups there
    "alice": ("ctao/users",),
    "bob": ("ctao/users", "ctao/pi-crab"),
    "carol": ("esap/admins",),
    "dave": ("km3net/users",),
    "frank": ("fair/users",),
    "sofia": ("ska/users",),
}


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read (0600), all of it or nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
    temporary.replace(path)


def write_private_json(path: Path, document: Any) -> None:
    """Write a JSON document as `write_private` does."""
    write_private(path, json.dumps(document, indent=2) + "\n")


def default_home() -> Path:
    """The state directory: $ESAP_LOCALGRID_HOME, or .localgrid in the project."""
    return Path(os.environ.get(HOME_VARIABLE) or PROJECT / ".localgrid").resolve()


def is_free(port: int) -> bool:
    """Whether nothing listens at a loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def pick_ports(names: Iterable[str], taken: Iterable[int] = ()) -> dict[str, int]:
    """A random free port for each name.

    Raises:
        RuntimeError: there are not enough free ports.

    """
    used, chosen = set(taken), {}
    candidates = random.sample(PORTS, len(PORTS))
    for name in names:
        port = next((p for p in candidates if p not in used and is_free(p)), None)
        if port is None:
            raise RuntimeError(f"localgrid: no free port between {PORTS.start} and {PORTS.stop} for {name}")
        used.add(port)
        chosen[name] = port
    return chosen


def _new_secrets() -> dict[str, str]:
    import base64

    return {
        "rucio_root_password": secrets.token_urlsafe(24),
        "rucio_esap_password": secrets.token_urlsafe(24),
        "diracx_exchange_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "diracx_state_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "airflow_fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "airflow_jwt_secret": secrets.token_urlsafe(64),
        "airflow_api_secret": secrets.token_urlsafe(48),
        "broker_task_key": secrets.token_urlsafe(48),
        "broker_vault_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "slurm_database_password": secrets.token_urlsafe(24),
        "issuer_cookie_key": secrets.token_urlsafe(32),
        "issuer_subject_key": secrets.token_urlsafe(32),
        "issuer_esap_secret": secrets.token_urlsafe(32),
        "issuer_rucio_secret": secrets.token_urlsafe(32),
    }


@dataclass(frozen=True)
class Layout:
    """Paths, ports and secrets of the grid in `home`; ports and secrets are made once and then kept."""

    home: Path

    def path(self, *parts: str) -> Path:
        return self.home.joinpath(*parts)

    def make(self) -> None:
        """Create the directories.

        Raises:
            RuntimeError: the path is too long for a Unix socket.

        """
        if len(str(self.socket)) > LONGEST_SOCKET_PATH:
            raise RuntimeError(
                f"localgrid: the state directory {self.home} has too long a path for a Unix socket "
                f"({len(str(self.socket))} > {LONGEST_SOCKET_PATH}). Set {HOME_VARIABLE} to a shorter one."
            )
        self.home.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o700)
        for name in (
            "logs",
            "run",
            str(self.own("").relative_to(self.home)),
            "services",
            "secrets",
            "secrets/diracx",
            "tmp",
            "user",
            "storage",
            "airflow",
        ):
            self.path(name).mkdir(exist_ok=True, mode=0o700)

    @property
    def system(self) -> str:
        """The one of the grid's systems that runs here, empty for all of them."""
        return os.environ.get(SYSTEM_VARIABLE, "")

    def own(self, name: str) -> Path:
        """A file of this system's supervision: others that share the state directory have their own."""
        return self.path("run", self.system, name)

    @property
    def mark(self) -> str:
        """What the environment of each process of this system begins to tell in RUN_VARIABLE."""
        return f"{self.home}/{self.system}".rstrip("/")

    @property
    def socket(self) -> Path:
        return self.own("supervisor.sock")

    @property
    def grid_file(self) -> Path:
        return self.path("grid.json")

    @property
    def airflow_environment_file(self) -> Path:
        return self.path("airflow.env")

    @property
    def diracx_credentials(self) -> Path:
        return self.path("secrets", "diracx")

    @property
    def issuer_keys_file(self) -> Path:
        return self.path("secrets", "issuer-keys.json")

    @property
    def passwords_file(self) -> Path:
        return self.path("secrets", "passwords.json")

    @property
    def software_area(self) -> Path:
        """What a DIRAC site calls the software area of a VO."""
        return self.path("software", "ctao")

    def storage(self, rse: str) -> Path:
        return self.path("storage", rse.lower())

    def log(self, service: str) -> Path:
        return self.path("logs", f"{service}.log")

    def beat(self, service: str) -> Path:
        """The file that a service without a port touches as long as it works."""
        return self.path("run", f"{service}.beat.json")

    @cached_property
    def ports(self) -> Mapping[str, int]:
        """A port for each listener, kept over restarts so that URLs in running work stay right."""
        path = self.path("ports.json")
        known: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        if self.name:
            known |= PUBLIC
        missing = [name for name in LISTENERS if name not in known]
        if missing:
            known |= pick_ports(missing, known.values())
            write_private_json(path, known)
        return known

    @cached_property
    def secrets(self) -> Mapping[str, str]:
        path = self.path("secrets", "secrets.json")
        known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        fresh = {name: value for name, value in _new_secrets().items() if name not in known}
        if fresh:
            known |= fresh
            write_private_json(path, known)
        return known

    @cached_property
    def passwords(self) -> Mapping[str, str]:
        """The password of each user at the issuer."""
        path = self.passwords_file
        if not path.exists():
            write_private_json(path, {user: secrets.token_urlsafe(12) for user in USERS})
        passwords: dict[str, str] = json.loads(path.read_text())
        return passwords

    @property
    def name(self) -> str:
        """The domain in which other machines find the systems, empty if none does."""
        return os.environ.get(NAME_VARIABLE, "")

    def host(self, listener: str, default: str = HOST) -> str:
        """The host in a listener's address."""
        return f"{SYSTEM_OF[listener]}.{self.name}" if self.name and listener in PUBLIC else default

    def interface(self, listener: str) -> str:
        """What a listener binds."""
        return ANY_HOST if self.name and listener in PUBLIC else HOST

    def url(self, listener: str) -> str:
        return f"http://{self.host(listener)}:{self.ports[listener]}"

    @property
    def portal(self) -> str:
        """The address of Airflow and the portal, as browsers have it."""
        return os.environ.get(PORTAL_VARIABLE) or self.url("airflow-api")

    @property
    def issuer(self) -> str:
        """The issuer's address; of another host than Airflow's, so that neither sees the other's cookies."""
        return f"http://{self.host('issuer', 'localhost')}:{self.ports['issuer']}"

    def subject(self, user: str) -> str:
        """The name of a user in tokens (`sub`): lasting, and it tells nothing."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.secrets['issuer_subject_key']}/{user}"))

    def python(self, environment: str) -> Path:
        """The interpreter of an environment: `airflow`, `diracx`, `rucio` or `fits`.

        Raises:
            RuntimeError: the environment has not been set up.

        """
        where = PROJECT / (".venv" if environment == "airflow" else f".envs/{environment}")
        python = where / "bin" / "python"
        if not python.exists():
            raise RuntimeError(f"localgrid: the environment {where} is missing. Run: localgrid/bootstrap.sh")
        return python

    def program(self, environment: str, name: str) -> str:
        """The path of a program installed in an environment."""
        return str(self.python(environment).with_name(name))
