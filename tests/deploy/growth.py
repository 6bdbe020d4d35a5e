"""The deployment grown as docs/deploy.md says: monitoring, DAGs from git, a worker on a further machine."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from localgrid.layout import PUBLIC, SYSTEM_OF
from tests.deploy.deployment import Deployment
from tests.deploy.shell import run

OVERRIDE = "docker-compose.override.yaml"
FILES = (
    "docker-compose.yaml",
    OVERRIDE,
    "deploy/monitoring/compose.yaml",
    "docker-compose.machines.yaml",
    "docker-compose.git.yaml",
)
FURTHER_FILES = ("docker-compose.worker.yaml", "docker-compose.git.yaml", OVERRIDE)
FURTHER_SECRETS = ("broker_url", "result_backend_url", "api_secret_key", "tls.crt")
WORKER = "worker2.test"  # the further machine's name
HANDED_OVER = "/run/esap-grid"
STORAGE = "/var/lib/esap-grid/storage"
GIT_PORT = 19010
NOT_TO_BE_HAD = {"grafana"}  # no package holds it
_TOLD = """
from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import DAG, task

with DAG("told", schedule=None):

    @task
    def before() -> str:
        return {word!r}

    @task
    def after() -> str:
        return {word!r}

    before() >> DateTimeSensorAsync(task_id="hold", target_time="2999-01-01T00:00:00+00:00") >> after()
"""


def told(word: str) -> str:
    """Give a DAG whose tasks tell a word, with a wait between them that somebody has to end."""
    return _TOLD.format(word=word)


def bridge(deployment: Deployment) -> str:
    """Give an address of this host that containers of any network reach."""
    (told,) = json.loads(deployment.engine.docker("network", "inspect", "bridge"))
    link = told["Options"]["com.docker.network.bridge.name"]
    (known,) = json.loads(run("ip", "-json", "-4", "address", "show", "dev", link))
    return str(known["addr_info"][0]["local"])


@dataclass(frozen=True)
class Repository:
    """A git repository with the project's DAGs, in `home`; what is pushed is served from its bare copy."""

    home: Path

    @classmethod
    def make(cls, home: Path, dags: Path) -> Repository:
        made = cls(home)
        shutil.copytree(dags, made.work / "dags")
        run("git", "init", "--quiet", "--initial-branch=main", made.work)
        run("git", "init", "--quiet", "--bare", "--initial-branch=main", made.bare)
        hook = made.bare / "hooks" / "post-update"
        hook.write_text("#!/bin/sh\nexec git update-server-info\n")  # for a server of files
        hook.chmod(0o755)
        return made

    @property
    def work(self) -> Path:
        return self.home / "work"

    @property
    def served(self) -> Path:
        return self.home / "served"

    @property
    def bare(self) -> Path:
        return self.served / "dags.git"

    def push(self, name: str, text: str) -> str:
        """Write a file into the folder of DAGs, push it, and give the commit."""
        (self.work / "dags" / name).write_text(text)
        who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
        run("git", "add", "--all", cwd=self.work)
        run("git", *who, "commit", "--quiet", "--message", f"Change {name}", cwd=self.work)
        run("git", "push", "--quiet", self.bare, "main", cwd=self.work)
        return run("git", "rev-parse", "HEAD", cwd=self.work).strip()


def grow(deployment: Deployment, repository: Repository) -> Deployment:
    """Write what a site would write, and give the deployment with all files; nothing is started."""
    address = bridge(deployment)
    secrets = deployment.project / "deploy" / "secrets"
    names = ("-subj", "/CN=localhost", "-addext", f"subjectAltName=DNS:localhost,IP:{address}")
    files = ("-keyout", secrets / "tls.key", "-out", secrets / "tls.crt")
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "30", *names, *files)
    deployment.script("make_secrets.sh")  # whose the files are
    # The grid stands for systems of the site, which all of its machines reach.
    services: dict[str, Any] = {system: {"ports": []} for system in SYSTEM_OF.values()}
    for listener, system in SYSTEM_OF.items():
        services[system]["ports"].append(f"{address}:{PUBLIC[listener]}:{PUBLIC[listener]}")
    services["api-server"] = {"extra_hosts": [f"{WORKER}:{address}"]}
    services["repository"] = {
        "image": "python:3.11-slim-bookworm",
        "command": ["python", "-m", "http.server", "--directory", "/srv", str(GIT_PORT)],
        "init": True,
        "ports": [f"{address}:{GIT_PORT}:{GIT_PORT}"],
        "volumes": [f"{repository.served}:/srv:ro"],
    }
    (deployment.project / OVERRIDE).write_text(yaml.safe_dump({"services": services}))
    return replace(
        deployment,
        host=address,
        files=FILES,
        settings={
            "ESAP_ADDRESS": address,
            "ESAP_QUEUE_ADDRESS": address,
            "ESAP_DAGS_REPOSITORY": f"http://{address}:{GIT_PORT}/{repository.bare.name}",
        },
    )


def start(grown: Deployment, *arguments: str) -> float:
    """Start what can be had; give the seconds that it took."""
    services = set(grown.compose("config", "--services").split()) - NOT_TO_BE_HAD
    return grown.up(*arguments, *sorted(services))


def further(first: Deployment, home: Path) -> Deployment:
    """Lay out a further machine: what docs/deploy.md names, and nothing else of the first one."""
    (home / "deploy" / "secrets").mkdir(parents=True)
    for name in (".env", *FURTHER_FILES[:2]):
        shutil.copy(first.project / name, home)
    shutil.copytree(first.project / "config", home / "config")
    for name in FURTHER_SECRETS:
        text = first.secrets()[name].replace("@redis:", f"@{first.host}:")
        (home / "deploy" / "secrets" / name).write_text(text)
    told = first.compose("exec", "-T", "worker", "cat", f"{HANDED_OVER}/connections.json")
    connections = json.loads(told)
    connections["esap_broker"]["host"] = first.url
    for name in ("esap_iam", "esap_vault"):  # which no worker needs
        del connections[name]
    (home / "deploy" / "secrets" / "connections.json").write_text(json.dumps(connections))
    hosts = [f"{system}.grid.localhost:{first.host}" for system in set(SYSTEM_OF.values())]
    # Storage, and what connections name as files: on a file system of both machines.
    shared = {"storage": STORAGE, "handed-over": HANDED_OVER}
    override = {
        "services": {
            "worker": {
                "extra_hosts": hosts,
                "volumes": [f"{name}:{where}" for name, where in shared.items()],
            }
        },
        "volumes": {name: {"external": True, "name": f"{first.name}_grid-{name}"} for name in shared},
    }
    (home / OVERRIDE).write_text(yaml.safe_dump(override))
    for path in (home / "deploy" / "secrets").iterdir():
        path.chmod(0o600)
        if os.geteuid() == 0:
            os.chown(path, int((home / ".env").read_text().split("ESAP_UID=")[-1].split()[0]), 0)
    return replace(
        first,
        project=home,
        name=f"{first.name}-2",
        files=FURTHER_FILES,
        settings={
            **first.settings,
            "ESAP_WORKER_NAME": WORKER,
            "ESAP_WORKER_ADDRESS": first.host,
            "ESAP_STORAGE": STORAGE,
            "ESAP_STATSD_ADDRESS": first.host,
        },
    )
