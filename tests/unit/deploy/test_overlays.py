"""What the compose files that a site adds promise, without an engine."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from localgrid.layout import PROJECT
from tests.unit.deploy.test_files import SERVICES

DEFAULT = re.compile(r"\$\{[A-Z_]+(?::-([^}]*)|:\?[^}]*)?\}")
BUNDLES = "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"


def services(name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((PROJECT / name).read_text())["services"]
    return found


def test_all_who_read_dags_take_them_from_the_same_repository() -> None:
    ours = {name for name, one in SERVICES.items() if "esap-batch:" in one["image"]}
    git = services("docker-compose.git.yaml")
    assert set(git) == ours - {"init"}
    assert len({one["environment"][BUNDLES] for one in git.values()}) == 1
    (bundle,) = json.loads(DEFAULT.sub(lambda found: found[1] or "", git["worker"]["environment"][BUNDLES]))
    assert bundle["kwargs"]["tracking_ref"] == "main"
    assert bundle["kwargs"]["subdir"] == "dags"
    assert f'"{bundle["kwargs"]["git_conn_id"]}"' in (PROJECT / "deploy/connections.example.json").read_text()
    (connection,) = (name for name in git["worker"]["environment"] if name.startswith("AIRFLOW_CONN_"))
    assert connection == f"AIRFLOW_CONN_{bundle['kwargs']['git_conn_id'].upper()}"


def test_all_who_measure_send_it_to_the_exporter() -> None:
    def sent(one: dict[str, Any]) -> dict[str, str]:
        variables = one.get("environment", {}).items()
        return {name: value for name, value in variables if name.startswith("AIRFLOW__METRICS__")}

    host = {"AIRFLOW__METRICS__STATSD_HOST": "statsd-exporter"}
    sending = {name: sent(one) for name, one in services("deploy/monitoring/compose.yaml").items()}
    ours = {name for name, one in SERVICES.items() if "esap-batch:" in one["image"]}
    assert {name for name, settings in sending.items() if settings} == ours - {"init"}
    assert sent(services("docker-compose.worker.yaml")["worker"]) | host == sending["worker"]
    assert sending["worker"].items() >= host.items()


def test_what_an_overlay_adds_has_no_rights_to_spare_and_is_not_published_to_the_world() -> None:
    for name, one in services("deploy/monitoring/compose.yaml").items():
        if name in SERVICES:
            continue
        assert one["read_only"] is True, name
        assert one["cap_drop"] == ["ALL"], name
        assert one["mem_limit"], name
        inner = ("127.0.0.1:", "${ESAP_QUEUE_ADDRESS:-127.0.0.1}:")
        assert all(port.startswith(inner) for port in one.get("ports", ())), name
