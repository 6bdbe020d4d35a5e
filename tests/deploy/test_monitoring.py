"""Monitoring beside the service: what every part tells arrives, and an alert comes and goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from localgrid.airflow_api import ENDED
from tests.deploy.deployment import Deployment
from tests.deploy.test_deployment import DAG, SLOW, product
from tests.unit.test_monitoring import NAME, expressions, panels, rules

PROMETHEUS = "http://127.0.0.1:9090/api/v1"
ARRIVES_WITHIN_S = 120  # scraped and evaluated, and what rates need
# The rates of heartbeats look back for two minutes.
FIRES_WITHIN_S = 300
# What is told only of campaigns, tapes, faults, limits, users' own credentials and blocked triggerers.
SILENT = {
    "airflow_triggers_blocked_main_thread",
    "esap_audit_faults",
    "esap_campaign_held",
    "esap_campaign_observations",
    "esap_credential_life_seconds",
    "esap_credentials",
    "esap_housekeeping_deleted",
    "esap_limited",
    "esap_staged_bytes",
}
Wait = Callable[..., Any]
pytestmark = pytest.mark.timeout(2400)


def get(path: str, **params: str) -> Any:
    answer = httpx.get(f"{PROMETHEUS}/{path}", params=params).json()
    assert answer["status"] == "success", (params, answer)
    return answer["data"]


def asked(expression: str) -> list[dict[str, Any]]:
    """Give what Prometheus finds now."""
    return list(get("query", query=expression)["result"])


def states() -> dict[str, str]:
    """Give the state of each alert that is pending or fires."""
    return {one["labels"]["alertname"]: one["state"] for one in get("alerts")["alerts"]}


@pytest.fixture(scope="module")
def run(grown: Deployment, made_there: str, wait_for: Wait) -> str:
    """Let the facilities be checked and housekeeping say what it would do, after a product was made.

    One job lasts longer than what lies between two looks of Prometheus, which may not see quick ones.
    """
    alice, carol = grown.api("alice"), grown.api("carol")
    slow = {"n_jobs": 1, "message": "seen at work", "behaviour": "slow", "duration_s": 45}
    seen = str(alice.trigger(SLOW, slow).json()["dag_run_id"])
    others = {}
    for dag, conf in (("facilities_check", {}), ("housekeeping", {"dry_run": True})):
        answer = carol.trigger(dag, conf)
        assert answer.status_code == 200, answer.text
        others[dag] = str(answer.json()["dag_run_id"])
    assert grown.http(carol.token).get(f"/uws/{DAG}/jobs").status_code == 200
    wait_for(lambda: all(carol.run(dag, one)["state"] in ENDED for dag, one in others.items()), 300)
    assert {carol.run(dag, one)["state"] for dag, one in others.items()} == {"success"}
    product(alice, seen, wait_for, SLOW)
    return made_there


def test_the_exporter_is_scraped_and_all_rules_load(grown: Deployment, wait_for: Wait) -> None:
    wait_for(lambda: asked('up{job="statsd"} == 1'), ARRIVES_WITHIN_S)
    targets = get("targets")["activeTargets"]
    assert [(t["scrapePool"], t["health"]) for t in targets] == [("statsd", "up")]

    def health() -> dict[str, str]:
        return {rule["name"]: rule["health"] for group in get("rules")["groups"] for rule in group["rules"]}

    wait_for(lambda: "unknown" not in health().values(), ARRIVES_WITHIN_S)
    assert health() == {rule["alert"]: "ok" for rule in rules()}


@pytest.mark.parametrize(
    "expression",
    [
        'esap_requests{door="uws",outcome="accepted"} > 0',  # from the API server
        'esap_request_seconds_count{door="airflow"} > 0',
        'esap_acts{outcome="done"} > 0',
        f'esap_runs{{workflow="{DAG}",outcome="published"}} > 0',  # from the worker on the further machine
        'sum(esap_jobs_ended{outcome="done"}) > 0',  # from the triggerer
        'esap_poll_seconds_count{what="jobs",outcome="ok"} > 0',
        "max_over_time((sum by (facility) (esap_jobs))[15m:15s]) > 0",
        "rate(airflow_scheduler_heartbeat[2m]) > 0",
        "rate(airflow_triggerer_heartbeat[2m]) > 0",
        "rate(airflow_dag_processor_heartbeat[2m]) > 0",
        "esap_facility_in_order == 1",
        f'airflow_dagrun_duration_success_count{{dag_id="{DAG}"}} > 0',
        'airflow_dagrun_duration_success_count{dag_id="housekeeping"} > 0',
    ],
)
def test_each_part_is_heard(run: str, wait_for: Wait, expression: str) -> None:
    wait_for(lambda: asked(expression), ARRIVES_WITHIN_S)


def test_what_rules_and_dashboard_name_is_there(run: str, wait_for: Wait) -> None:
    named = {name for expression in expressions() for name in NAME.findall(expression)} - SILENT

    def missing() -> set[str]:
        return {name for name in named if not asked(f"count({name})")}

    wait_for(lambda: not missing(), ARRIVES_WITHIN_S)
    series = {name for name in get("label/__name__/values") if name.startswith("esap_")}
    private = [one for name in series for one in asked(name) if run in str(one) or "alice" in str(one)]
    assert private == []


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: str(panel["title"]))
def test_every_panel_has_its_data(run: str, wait_for: Wait, panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        asked(target["expr"])
        if not SILENT & set(NAME.findall(target["expr"])):
            wait_for(lambda expression=target["expr"]: asked(expression), ARRIVES_WITHIN_S)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_every_alert_is_understood_and_none_fires(run: str, rule: dict[str, Any]) -> None:
    asked(rule["expr"])
    assert rule["alert"] not in {name for name, state in states().items() if state == "firing"}


def test_a_triggerer_that_is_gone_is_noticed_until_it_is_back(grown: Deployment, wait_for: Wait) -> None:
    def state() -> str:
        return states().get("EsapTriggererSilent", "")

    wait_for(lambda: state() == "", FIRES_WITHIN_S)
    grown.compose("stop", "triggerer")
    # It fires five minutes later, which is not waited for.
    wait_for(lambda: state() in ("pending", "firing"), FIRES_WITHIN_S)
    grown.up("--no-deps", "triggerer")
    wait_for(lambda: state() == "", FIRES_WITHIN_S)
