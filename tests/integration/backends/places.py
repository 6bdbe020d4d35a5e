"""The back ends that the conformance suite is run against: a new one is a class here."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from airflow.sdk import Connection

from esap_batch.jobs import Batch, JobBackend, JobSpec, Limits, OutputSpec
from hooks.dirac_wms import DiracSettings, DiracWms
from hooks.slurm_ssh import SlurmSsh
from hooks.ssh_program import SshSettings
from localgrid.grid import Grid
from localgrid.layout import PROJECT

PROGRAMS = PROJECT / "runner"
PLAIN = {"type": "plain"}
NOWHERE = 9  # a port at which nothing listens


class Place(Protocol):
    """What the suite needs to know of a back end."""

    owner: str
    """a user who may run jobs"""
    other: str
    """another one"""
    site: str
    """where jobs run"""
    runtime: Mapping[str, Any]

    def open(self, user: str) -> JobBackend:
        """Open it as one of its users."""

    def parked(self) -> JobBackend:
        """Open it such that jobs of `parking` are accepted, and wait for ever."""

    parking: str

    def counted(self) -> tuple[JobBackend, Callable[[], int]]:
        """Open it as the owner, with the number of calls that have gone over the network."""

    def away(self) -> JobBackend:
        """Open it where nobody answers."""

    def stranger(self) -> JobBackend:
        """Open it as somebody whom it does not let in; may raise as that is refused."""


@dataclass
class Dirac:
    """DiracX and the sites' stand-in."""

    grid: Grid
    owner = "alice"
    other = "bob"
    site = "ESAP.CSCS.local"
    parking = "ESAP.Parking.local"
    runtime: Mapping[str, Any] = field(
        default_factory=lambda: dict(PLAIN, software_root_env="VO_CTAO_SW_DIR")
    )

    def _settings(self, user: str) -> DiracSettings:
        return DiracSettings(
            self.grid.info["diracx"]["url"], self.grid.layout.diracx_credentials / f"{user}.json"
        )

    def open(self, user: str) -> JobBackend:
        return DiracWms(self._settings(user), PROGRAMS)

    def parked(self) -> JobBackend:
        return self.open(self.owner)

    def counted(self) -> tuple[JobBackend, Callable[[], int]]:
        from azure.core.pipeline.policies import SansIOHTTPPolicy

        requests = []

        class Count(SansIOHTTPPolicy):  # type: ignore[type-arg]
            def on_request(self, request: Any) -> None:
                requests.append(request)

        return DiracWms(self._settings(self.owner), PROGRAMS, per_call_policies=[Count()]), lambda: len(
            requests
        )

    def away(self) -> JobBackend:
        return DiracWms(
            DiracSettings(f"http://127.0.0.1:{NOWHERE}", self._settings(self.owner).credentials), PROGRAMS
        )

    def stranger(self) -> JobBackend:
        forged = Path(self.grid.home) / "tmp" / f"forged-{uuid.uuid4().hex}.json"
        token = {"access_token": "e30.e30.e30", "refresh_token": "x", "expires_on": 4102444800}
        forged.touch(0o600)
        forged.write_text(json.dumps(token))
        return DiracWms(DiracSettings(self.grid.info["diracx"]["url"], forged), PROGRAMS)


@dataclass
class Slurm:
    """SLURM behind sshd."""

    grid: Grid
    owner = "alice"
    other = "frank"
    site = "main"
    parking = "main"
    runtime: Mapping[str, Any] = field(default_factory=lambda: dict(PLAIN, software_root_env="ESAP_SW_DIR"))

    def connection(self, **changed: Any) -> Connection:
        path = self.grid.layout.path("secrets", "connections.json")
        known = json.loads(path.read_text())["slurm_local"]
        known["extra"] |= changed.pop("extra", {})
        return Connection(conn_id="slurm_local", **{**known, **changed, "extra": json.dumps(known["extra"])})

    def open_at(self, user: str, scratch_env: str = "", extra: Any = None, **options: str) -> SlurmSsh:
        """Open it with other options of sbatch, or with other extra of the connection."""
        at = SshSettings.of(self.connection(extra=extra or {}), user)
        return SlurmSsh(at, user, PROGRAMS, {"account": "esap", **options}, scratch_env)

    def open(self, user: str) -> JobBackend:
        return self.open_at(user)

    def parked(self) -> JobBackend:
        return self.open_at(self.owner, begin="now+1day")

    def counted(self) -> tuple[JobBackend, Callable[[], int]]:
        backend, calls = self.open_at(self.owner), []
        run = backend.site._run

        def counting(text: bytes, within: float) -> tuple[int, bytes, bytes]:
            calls.append(text)
            return run(text, within)

        backend.site._run = counting  # type: ignore[method-assign]
        return backend, lambda: len(calls)

    def away(self) -> JobBackend:
        return SlurmSsh(SshSettings.of(self.connection(port=NOWHERE), self.owner), self.owner, PROGRAMS)

    def stranger(self) -> JobBackend:
        return self.open("bob")  # who has a key, but the site has not admitted him


def new_group() -> str:
    return f"esap-{uuid.uuid4().hex[:27]}"


def a_batch(place: Place, count: int, behaviour: str = "ok", **changed: Any) -> Batch:
    """Make a batch of the no-op payload; each job writes `hello.json`, which stays in its folder."""
    config = {
        "behaviour": behaviour,
        "outputs": ["hello.json"],
        "message": "hi",
        "index": 0,
        "duration_s": 300,
    }
    command = ("esap-noop", "run", "--config", "config.json")
    jobs = tuple(JobSpec(i, command, {"config.json": config}, limits=Limits(600, 200)) for i in range(count))
    software = ({"name": "esap-noop", "version": "0.1.0"},)
    return Batch(**{"group": new_group(), "jobs": jobs, "runtime": place.runtime, "software": software,
                    "site": place.site, "job_type": "Test", **changed})  # fmt: skip


def writes(
    index: int, folder: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> JobSpec:
    """Make a job that writes its arguments and environment as JSON into a folder."""
    program = "import json, os, sys; json.dump([sys.argv[1:], dict(os.environ)], open('said.json', 'w'))"
    return JobSpec(
        index,
        ("python3", "-c", program, *arguments),
        outputs=(OutputSpec("said.json", f"/test/{index}", pfn=f"file://{folder}/{index}.json"),),
        limits=Limits(600, 200),
        environment=environment or {},
    )


def firsts(batch: Batch) -> dict[int, int]:
    return dict.fromkeys((job.index for job in batch.jobs), 1)
