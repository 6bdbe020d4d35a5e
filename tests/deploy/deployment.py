"""The project's compose file, run in a copy of the project, and its users."""

from __future__ import annotations

import json
import shutil
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from localgrid.airflow_api import AirflowApi
from localgrid.layout import PROJECT
from tests.deploy.engine import Engine
from tests.deploy.shell import run

UP_TIMEOUT_S = 900
TOKEN_S = 1800  # a token is asked for anew after this; the issuer's lasts an hour


def copy_project(to: Path) -> Path:
    """Copy what git knows or would add: no state, no secret, no environment."""
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=PROJECT)
    for name in filter(None, names.split("\0")):
        source, target = PROJECT / name, to / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return to


@dataclass(frozen=True)
class Deployment:
    """A deployment of the copy in `project`, with the profile `grid`.

    `files` are those of compose, `settings` what else is in its environment.
    """

    engine: Engine
    project: Path
    name: str
    port: int
    host: str = "localhost"
    files: tuple[str, ...] = ("docker-compose.yaml",)
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **self.engine.environment,
            "COMPOSE_PROJECT_NAME": self.name,
            "COMPOSE_PROFILES": "grid",
            "COMPOSE_FILE": ":".join(self.files),
            "ESAP_PORT": str(self.port),
            "ESAP_URL": self.url,
            **self.settings,
        }

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}"

    def script(self, name: str, *arguments: str | Path) -> str:
        return run(self.project / "deploy" / name, *arguments, env=self.environment, cwd=self.project)

    def compose(self, *arguments: str, within: float = 300) -> str:
        return run("docker", "compose", *arguments, env=self.environment, cwd=self.project, within=within)

    def up(self, *arguments: str) -> float:
        """Start what does not run and wait until all of it is healthy; give the seconds that it took."""
        began = time.monotonic()
        self.compose("up", "--detach", "--wait", "--pull", "never", *arguments, within=UP_TIMEOUT_S)
        return time.monotonic() - began

    def down(self) -> None:
        """Stop it and remove its volumes and networks, whichever files they are from."""
        command = ("docker", "compose", "--project-name", self.name, "down", "--volumes", "--timeout", "20")
        run(*command, env=self.engine.environment, cwd=Path("/"), within=300)

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """Give what the engine knows of the containers."""
        ids = self.compose("ps", "--all", "--quiet", *filter(None, [service])).split()
        found: list[dict[str, Any]] = json.loads(self.engine.docker("inspect", *ids)) if ids else []
        return found

    def logs(self, service: str) -> str:
        return self.compose("logs", "--no-color", "--tail", "60", service)

    def secrets(self) -> dict[str, str]:
        return {p.name: p.read_text() for p in (self.project / "deploy" / "secrets").iterdir()}

    @cached_property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.project / "deploy" / "secrets" / "tls.crt")

    def token(self, user: str) -> Mapping[str, Any]:
        """Sign a user in at the grid's issuer."""
        told = self.compose("exec", "-T", "issuer", ".venv/bin/python", "-m", "localgrid", "token", user)
        return {"access_token": told.split()[-1], "expires_in": TOKEN_S}

    def api(self, user: str) -> AirflowApi:
        """Airflow through the published port."""
        return AirflowApi(self.url, lambda: self.token(user), verify=self.trust)

    def http(self, token: str = "") -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, verify=self.trust, headers=headers, timeout=60)
