"""Rules, dashboard, mapping and runbooks name what there is."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from esap_batch.metrics import METRICS, Kind
from localgrid.layout import PROJECT

FOLDER = PROJECT / "deploy" / "monitoring"
RUNBOOK = PROJECT / "docs" / "operate.md"
NAME = re.compile(r"\b(?:esap|airflow)_[a-z_]+")
BUCKETS = ("_bucket", "_count", "_sum")
KINDS = {"counter": Kind.COUNTER, "gauge": Kind.GAUGE, "timer": Kind.TIMER}
LABELS = re.compile(r"\b(?:by|without) \(([a-z_, ]+)\)|[{,]\s*([a-z_]+)=~?\"")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        (FOLDER / "grafana" / "dashboards" / "esap-batch.json").read_text()
    )["panels"]
    return found


def expressions() -> list[str]:
    of_panels = chain.from_iterable(p["targets"] for p in panels())
    return [r["expr"] for r in rules()] + [t["expr"] for t in of_panels]


def series(name: str, kind: Kind) -> set[str]:
    return {f"{name}{end}" for end in BUCKETS} if kind is Kind.TIMER else {name}


def airflows() -> dict[str, str]:
    """Read the installed Airflow's list of its metrics: name and type."""
    spec = find_spec("airflow")
    assert spec is not None
    assert spec.origin is not None
    listed = Path(spec.origin).parent / "_shared/observability/metrics/metrics_template.yaml"
    return {one["name"]: one["type"] for one in yaml.safe_load(listed.read_text())["metrics"]}


def known() -> set[str]:
    own = set().union(*(series(m.series, m.kind) for m in METRICS))
    theirs = (
        series(f"airflow_{re.sub(r'[^a-zA-Z0-9_]', '_', name)}", KINDS[kind])
        for name, kind in airflows().items()
    )
    return own.union(*theirs)


def test_every_metric_of_rules_and_dashboard_is_sent_by_somebody() -> None:
    named = {name for expression in expressions() for name in NAME.findall(expression)}
    assert named
    assert named - known() == set()


def test_every_metric_of_the_services_own_is_on_the_dashboard_or_alerted_on() -> None:
    named = {name for expression in expressions() for name in NAME.findall(expression)}
    assert [m.series for m in METRICS if not series(m.series, m.kind) & named] == []


def test_expressions_use_labels_that_the_metrics_have() -> None:
    allowed = {name for m in METRICS for name in m.labels} | {"le", "job", "dag_id", "alertstate"}
    used = set()
    for grouped, matched in chain.from_iterable(LABELS.findall(e) for e in expressions()):
        used |= {name.strip() for name in (grouped or matched).split(",")}
    assert used - allowed == set()


def test_every_alert_names_an_action_and_has_its_section() -> None:
    text = RUNBOOK.read_text()
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", t.lower()).replace(" ", "-") for t in titles}
    for rule in rules():
        said = rule["annotations"]
        assert said["summary"]
        assert said["action"], rule["alert"]
        page, _, anchor = said["runbook"].partition("#")
        assert page == "docs/operate.md"
        assert anchor in anchors, rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning", "info")


def test_the_runbook_names_no_alert_that_is_not_there() -> None:
    named = set(re.findall(r"`(Esap[A-Z][A-Za-z]+)`", RUNBOOK.read_text()))
    assert named == {rule["alert"] for rule in rules()}


def test_every_alert_is_in_a_test_of_promtool() -> None:
    text = (FOLDER / "alerts.test.yml").read_text()
    fired = re.sub(r"Esap\(([A-Za-z|]+)\)\.\*", "", text)
    assert [r["alert"] for r in rules() if r["alert"] not in fired] == []


def test_panels_do_not_overlap() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, (panel["title"], taken[x, y])
                taken[x, y] = panel["title"]


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_the_mapping_gives_each_metric_its_name(metric: Any) -> None:
    from localgrid.programs.statsd_exporter import Mapping

    mapping = Mapping(yaml.safe_load((FOLDER / "statsd-mapping.yml").read_text()))
    assert mapping.of(f"airflow.{metric.stat}")[0] == metric.series
    assert mapping.of("airflow.scheduler_heartbeat") == ("airflow_scheduler_heartbeat", None)
