"""Metrics on their whole way: Airflow's client, packets, the exporter's stand-in, a real Prometheus."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from localgrid.layout import HOST, PROJECT, pick_ports
from tests.unit.test_monitoring import panels

FOLDER = PROJECT / "deploy" / "monitoring"
PROMTOOL, PROMETHEUS = shutil.which("promtool"), shutil.which("prometheus")
needs_prometheus = pytest.mark.skipif(
    not (PROMTOOL and PROMETHEUS), reason="Prometheus is not here: apt-get install prometheus"
)
_SEND = """
from esap_batch.metrics import *
from hooks.metrics import count, gauge, timing
count(REQUESTS, 3, door="uws", outcome="failed")
gauge(JOBS, 4, facility="cscs", state="running", triggerer="t 1")
gauge(JOBS, 5, facility="cscs", state="running", triggerer="t 1")
timing(POLLS, 0.2, what="jobs", connection="dirac_local", outcome="ok")
timing(POLLS, 20, what="jobs", connection="dirac_local", outcome="ok")
count(AUDIT_FAULTS)
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics.stats_utils import get_stats_factory
stats.initialize(factory=get_stats_factory(), export_legacy_names=False)
stats.incr("scheduler_heartbeat")
stats.gauge("dag_processing.import_errors", 2)
"""


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL
    return subprocess.run([PROMTOOL, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)


@needs_prometheus
@pytest.mark.parametrize(
    "arguments", [("check", "config", "prometheus.yml"), ("test", "rules", "alerts.test.yml")], ids=" ".join
)
def test_promtool_is_content(arguments: tuple[str, ...]) -> None:
    done = promtool(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return pick_ports(("udp", "web", "prometheus"))


@pytest.fixture(scope="module")
def exporter(ports: dict[str, int], wait_for: Callable[..., Any]) -> Iterator[str]:
    """Start the stand-in and send it one packet of each kind, from a process of its own."""
    command = [
        sys.executable,
        "-m",
        "localgrid.programs.statsd_exporter",
        f"--statsd.listen-udp={HOST}:{ports['udp']}",
        f"--web.listen-address={HOST}:{ports['web']}",
        f"--statsd.mapping-config={FOLDER / 'statsd-mapping.yml'}",
    ]
    url = f"http://{HOST}:{ports['web']}/metrics"
    settings = {
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": HOST,
        "AIRFLOW__METRICS__STATSD_PORT": str(ports["udp"]),
        "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
    }
    with subprocess.Popen(command, cwd=PROJECT) as process:
        try:
            wait_for(lambda: scraped(url) is not None, 30)
            subprocess.run([sys.executable, "-c", _SEND], env={**os.environ, **settings}, check=True)
            wait_for(lambda: "import_errors" in str(scraped(url)), 30)
            yield url
        finally:
            process.terminate()


def scraped(url: str) -> str | None:
    try:
        return httpx.get(url).raise_for_status().text
    except httpx.TransportError:
        return None


@pytest.fixture(scope="module")
def ask(
    exporter: str,
    ports: dict[str, int],
    tmp_path_factory: pytest.TempPathFactory,
    wait_for: Callable[..., Any],
) -> Iterator[Callable[..., Any]]:
    """Start Prometheus with the project's own files, but other addresses and a faster pace."""
    assert PROMETHEUS
    home: Path = tmp_path_factory.mktemp("prometheus")
    document = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    document["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    document["scrape_configs"][0]["static_configs"][0]["targets"] = [f"{HOST}:{ports['web']}"]
    (home / "prometheus.yml").write_text(yaml.safe_dump(document))
    shutil.copy(FOLDER / "alerts.yml", home)
    url = f"http://{HOST}:{ports['prometheus']}"
    command = [
        PROMETHEUS,
        f"--config.file={home / 'prometheus.yml'}",
        f"--storage.tsdb.path={home / 'data'}",
        f"--web.listen-address={HOST}:{ports['prometheus']}",
        "--log.level=warn",
    ]

    def get(path: str, **params: str) -> Any:
        answer = httpx.get(f"{url}/api/v1/{path}", params=params).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def is_up() -> bool:
        try:
            return bool(get("query", query='up{job="statsd"} == 1')["result"])
        except httpx.TransportError:
            return False

    with subprocess.Popen(command) as process:
        try:
            wait_for(is_up, 60)
            yield get
        finally:
            process.terminate()


def test_a_scrape_has_the_names_of_the_original(exporter: str) -> None:
    lines = str(scraped(exporter)).splitlines()
    for line in (
        'esap_requests{door="uws",outcome="failed"} 3.0',
        'esap_jobs{facility="cscs",state="running",triggerer="t_1"} 5.0',
        'esap_poll_seconds_count{connection="dirac_local",outcome="ok",what="jobs"} 2.0',
        'esap_poll_seconds_bucket{connection="dirac_local",le="0.25",outcome="ok",what="jobs"} 1.0',
        "airflow_scheduler_heartbeat 1.0",
        "airflow_dag_processing_import_errors 2.0",
    ):
        assert line in lines, "\n".join(lines)


@needs_prometheus
def test_prometheus_takes_them_and_its_rules_fire(
    ask: Callable[..., Any], wait_for: Callable[..., Any]
) -> None:
    (found,) = ask("query", query='sum by (facility) (esap_jobs{state="running"})')["result"]
    assert (found["metric"], found["value"][1]) == ({"facility": "cscs"}, "5")

    def firing() -> set[str]:
        return {a["labels"]["alertname"] for a in ask("alerts")["alerts"] if a["state"] == "firing"}

    wait_for(lambda: "EsapAuditFaults" in firing(), 30)
    groups = ask("rules")["groups"]
    states = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert set(states.values()) == {"ok"}, states


@needs_prometheus
def test_prometheus_understands_every_panel(ask: Callable[..., Any]) -> None:
    for panel in panels():
        for target in panel["targets"]:
            ask("query", query=target["expr"])
