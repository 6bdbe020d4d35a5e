"""What the files of the deployment promise, without an engine."""

from __future__ import annotations

import configparser
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from localgrid.layout import PROJECT, PUBLIC, SYSTEM_VARIABLE
from localgrid.services import SYSTEMS

COMPOSE = yaml.safe_load((PROJECT / "docker-compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
STANDING = {name: one for name, one in SERVICES.items() if name != "init"}
WORD = re.compile(r"password|secret|token|key", re.IGNORECASE)
# Who has which secret: whoever adds one here says in docs/security.md what can be done with it.
SECRETS = {
    "proxy": {"tls.crt", "tls.key"},
    "postgres": {"postgres_password"},
    "redis": {"redis.conf", "redis_password"},
    "init": {"database_url", "fernet_key"},
    "api-server": {"database_url", "fernet_key", "jwt_secret", "api_secret_key", "connections.json"},
    "scheduler": {"database_url", "fernet_key", "jwt_secret", "broker_url", "result_backend_url"},
    "dag-processor": {"database_url", "fernet_key"},
    "triggerer": {"database_url", "fernet_key", "connections.json"},
    "worker": {"broker_url", "result_backend_url", "connections.json"},
    **{name: set() for name in SYSTEMS},
}


@pytest.mark.parametrize("name", STANDING)
def test_every_service_is_watched_limited_and_starts_again(name: str) -> None:
    service = STANDING[name]
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert service["restart"] == "unless-stopped"
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_has_rights_to_spare(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert name == "postgres" or service["user"] == "${ESAP_UID:-50000}:0"
    assert not {"privileged", "network_mode", "pid", "ipc", "devices"} & set(service)
    assert ":latest" not in service["image"]
    assert ":" in service["image"].removeprefix("${").partition(":-")[2]


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_has_its_secrets_only(name: str) -> None:
    assert set(SERVICES[name].get("secrets", ())) == SECRETS[name]
    for variable, value in SERVICES[name].get("environment", {}).items():
        if WORD.search(variable):
            assert variable.endswith(("_CMD", "_FILE")), (variable, value)


def test_every_secret_is_a_file_that_make_secrets_makes(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "deploy").mkdir(parents=True)
    script = project / "deploy" / "make_secrets.sh"
    script.write_text((PROJECT / "deploy" / "make_secrets.sh").read_text())
    subprocess.run(["sh", script], check=True, capture_output=True)
    made = {p.name: p for p in (project / "deploy" / "secrets").iterdir()}
    assert {one["file"] for one in COMPOSE["secrets"].values()} <= {f"deploy/secrets/{n}" for n in made}
    for path in made.values():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert not path.read_text().endswith("\n") or path.suffix in (".crt", ".key"), path
    before = {name: path.read_bytes() for name, path in made.items()}
    subprocess.run(["sh", script], check=True, capture_output=True)
    assert {name: path.read_bytes() for name, path in made.items()} == before
    others = {name: path.read_text() for name, path in made.items() if name != "connections.json"}
    assert len(set(others.values())) == len(others)


def test_only_the_proxy_and_the_laptops_grid_are_published() -> None:
    published = {name: one["ports"] for name, one in SERVICES.items() if one.get("ports")}
    assert set(published) == {"proxy", "issuer", "diracx"}
    assert published["proxy"] == ["${ESAP_ADDRESS:-127.0.0.1}:${ESAP_PORT:-8443}:8443"]
    for name in ("issuer", "diracx"):
        assert published[name] == [f"127.0.0.1:{PUBLIC[name]}:{PUBLIC[name]}"]


@pytest.mark.parametrize("name", SYSTEMS)
def test_each_system_of_the_grid_is_found_by_its_name(name: str) -> None:
    service = SERVICES[name]
    assert service["profiles"] == ["grid"]
    assert service["environment"][SYSTEM_VARIABLE] == name
    assert f"/var/lib/esap-grid/run/{name}/serves" in service["healthcheck"]["test"]
    assert service["networks"]["default"]["aliases"] == [f"{name}.grid.localhost"]


def test_one_system_of_the_grid_is_made_before_the_others_that_share_its_new_volume() -> None:
    first, *others = SYSTEMS
    assert first not in SERVICES[first].get("depends_on", {})
    assert all(first in SERVICES[name]["depends_on"] for name in others)


def test_a_site_changes_its_configuration_without_a_new_image() -> None:
    further = yaml.safe_load((PROJECT / "docker-compose.worker.yaml").read_text())["services"]
    ours = {name: one for name, one in SERVICES.items() if "esap-batch:" in one["image"]}
    assert {"init", "api-server", "worker"} < set(ours)
    for name, service in [*ours.items(), *further.items()]:
        assert "./config:/opt/esap/config:ro" in service["volumes"], name


def test_the_database_and_the_queue_reach_nobody_outside() -> None:
    assert COMPOSE["networks"]["database"] == COMPOSE["networks"]["queue"] == {"internal": True}
    assert SERVICES["postgres"]["networks"] == ["database"]
    assert SERVICES["redis"]["networks"] == ["queue"]
    assert "database" not in SERVICES["worker"]["networks"]


def test_all_who_sign_have_the_address_of_the_portal() -> None:
    variable, standard = "AIRFLOW__API__BASE_URL", "${ESAP_URL:-https://localhost:8443}"
    given = {name: one.get("environment", {}).get(variable) for name, one in SERVICES.items()}
    assert {name for name, value in given.items() if value} == {"api-server", "triggerer", "worker"}
    assert {value for value in given.values() if value} == {standard}
    elsewhere = yaml.safe_load((PROJECT / "docker-compose.worker.yaml").read_text())["services"]["worker"]
    assert elsewhere["environment"][variable] == "${ESAP_URL}"


def test_the_chart_gets_the_settings_of_the_image() -> None:
    values = yaml.safe_load((PROJECT / "deploy" / "helm" / "values.yaml").read_text())
    given = {(s, k): str(v) for s, options in values["config"].items() for k, v in options.items()}
    file = configparser.ConfigParser()
    file.read(PROJECT / "deploy" / "airflow.cfg")
    ours = {(section, key): value for section in file.sections() for key, value in file.items(section)}
    # What the chart sets itself.
    its_own = {("core", "executor"), ("core", "execution_api_server_url"), ("logging", "base_log_folder")}
    its_own |= {("api", "host"), ("api", "port"), ("api", "workers")}
    assert given == {key: value for key, value in ours.items() if key not in its_own} | {
        ("api", "base_url"): "https://esap-batch.example.org"
    }


def test_a_session_that_no_issuer_ends_is_short() -> None:
    file = configparser.ConfigParser()
    file.read(PROJECT / "deploy" / "airflow.cfg")
    assert file.getint("api_auth", "jwt_expiration_time") <= 3600


def test_the_page_tells_who_has_each_secret() -> None:
    page = (PROJECT / "docs" / "security.md").read_text()
    rows = re.findall(r"^\| (`[a-z_.`, ]+`) \| ([a-z, ;-]+) \|", page, re.MULTILINE)
    told = {
        frozenset(re.findall(r"`([^`]+)`", names)): set(re.findall(r"[a-z-]+", who)) for names, who in rows
    }
    known = SECRETS | {"grafana": {"grafana_password"}}  # of deploy/monitoring/compose.yaml
    assert set().union(*told) == set().union(*known.values()) - {"tls.crt"}
    for names, who in told.items():
        assert who == {service for service, has in known.items() if has & names}, names
