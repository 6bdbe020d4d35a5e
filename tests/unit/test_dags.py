"""The DAG files as Airflow's processor and scheduler see them."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator
from airflow.utils.file import might_contain_dag

from esap_batch.workflows import request_schema

PROJECT = Path(__file__).parents[2]
SERVICE = {"facilities_check", "housekeeping"}  # DAGs that are no use case
CAMPAIGN_FILES = PROJECT / "dags" / "campaign_files.py"  # has no DAG
FILES = {path.stem: path for path in sorted((PROJECT / "dags").glob("*.py")) if path != CAMPAIGN_FILES}
ORDER = {
    "hello_world": [
        "validate_request",
        "check_duplicate",
        "select_facility",
        "submit_jobs",
        "await_jobs",
        "verify_outputs",
        "ingest_products",
    ],
    "cta_irf": [
        "validate_request",
        "check_duplicate",
        "estimate_events",
        "confirm_events",
        "select_facility",
        "submit_simulation",
        "await_simulation",
        "submit_merge",
        "await_merge",
        "verify_outputs",
        "ingest_products",
    ],
}
CONCORDIA = [
    "validate_request",
    "check_duplicate",
    "select_container",
    "select_facility",
    "submit_showers",
    "await_showers",
    "submit_summary",
    "await_summary",
    "verify_outputs",
    "ingest_products",
]
ORDER |= {"cta_concordia": CONCORDIA, "km3net_concordia": CONCORDIA}
ORDER["cta_pi_analysis"] = [
    "validate_request",
    "select_data",
    "check_duplicate",
    "select_facility",
    "stage_inputs",
    "await_inputs",
    "submit_analysis",
    "await_analysis",
    "submit_combine",
    "await_combine",
    "verify_outputs",
    "ingest_products",
]
ORDER["ska_hi_cube"] = [
    "validate_request",
    "select_data",
    "check_duplicate",
    "select_facility",
    "stage_inputs",
    "await_inputs",
    "submit_subcubes",
    "await_subcubes",
    "submit_merge",
    "await_merge",
    "verify_outputs",
    "ingest_products",
]
READ, PUBLISH = ORDER["cta_pi_analysis"][:6], ["submit_merge", "await_merge", *ORDER["cta_pi_analysis"][-2:]]
ORDER["fair_analysis"] = [*READ, "submit_analysis", "await_analysis", *PUBLISH]
ORDER["km3net_reduction"] = [*READ, "submit_reduction", "await_reduction", *PUBLISH]
ORDER["cta_reprocessing"] = [
    "validate_request",
    "select_facility",
    "search_lake",
    "reserve_recall",
    "process_observations",
]
TEARDOWNS = {name: {"clean_up", "report_end"} for name in ORDER}
TEARDOWNS["cta_pi_analysis"] |= {"release_inputs"}
TEARDOWNS["ska_hi_cube"] |= {"release_inputs"}
TEARDOWNS["fair_analysis"] |= {"release_inputs"}
TEARDOWNS["km3net_reduction"] |= {"release_inputs"}
OWN = {"esap_batch", "hooks", "operators", "sensors", "triggers"}
HEAVY = {"rucio", "diracx", "astropy", "numpy", "pandas", "gammapy", "paramiko", "uproot"}
# Airflow first, then the DAG files: what comes on top is what they cost at every parse.
PROBE = """
import json, runpy, sys
at_start = set(sys.modules)  # a package's own hook at the start of Python is not what a DAG file costs
import airflow.providers.standard.operators.empty, airflow.sdk.bases.sensor  # for mapped tasks
import airflow.providers.standard.operators.hitl
import airflow.providers.standard.triggers.external_task
import airflow.sdk, airflow.triggers.base
from airflow.sdk import BaseOperator, Connection, DAG, Param
from airflow.sdk.bases.hook import BaseHook
before = set(sys.modules)
for path in sys.argv[1:]:
    runpy.run_path(path)
print("MODULES", json.dumps([sorted(before - at_start), sorted(set(sys.modules) - before)]))
"""


def dag_of(name: str) -> DAG:
    content = runpy.run_path(str(FILES[name])).values()
    dags = [v if isinstance(v, DAG) else v.dag for v in content if isinstance(v, DAG | BaseOperator)]
    return {dag.dag_id: dag for dag in dags}[name]


@pytest.fixture(scope="module")
def dags() -> dict[str, DAG]:
    return {name: dag_of(name) for name in FILES}


def ancestors(dag: DAG, task_id: str) -> set[str]:
    return {t.task_id for t in dag.get_task(task_id).get_flat_relatives(upstream=True)}


def test_there_is_a_use_case_for_every_dag_file() -> None:
    assert set(FILES) - SERVICE == set(ORDER)


@pytest.mark.parametrize("name", sorted(ORDER))
def test_the_steps_are_a_chain_in_the_order_of_the_use_case(dags: dict[str, DAG], name: str) -> None:
    dag, order = dags[name], ORDER[name]
    assert set(dag.task_ids) == {*order, *TEARDOWNS[name]}
    for position, task_id in enumerate(order):
        assert ancestors(dag, task_id) == set(order[:position])


@pytest.mark.parametrize("name", sorted(ORDER))
def test_teardowns_come_after_every_step(dags: dict[str, DAG], name: str) -> None:
    assert {t.task_id for t in dags[name].tasks if t.is_teardown} == TEARDOWNS[name]
    for task_id in TEARDOWNS[name]:
        assert ancestors(dags[name], task_id) >= set(ORDER[name])
        assert not any(not t.is_teardown for t in dags[name].get_task(task_id).downstream_list)


@pytest.mark.parametrize("name", sorted(ORDER))
def test_the_last_word_on_a_run_is_report_ends_alone(dags: dict[str, DAG], name: str) -> None:
    """Leaves as Airflow counts them for the state of a run: a teardown only if its failure fails the run."""

    def counts(task: Any) -> bool:
        return not task.is_teardown or task.on_failure_fail_dagrun

    dag = dags[name]
    leaves = {t.task_id for t in dag.tasks if counts(t) and not any(counts(d) for d in t.downstream_list)}
    assert leaves == {"report_end"}


@pytest.mark.parametrize("name", sorted(set(ORDER) - {"cta_reprocessing"}))
def test_tasks_that_ask_other_tasks_by_name_ask_tasks_that_there_are(dags: dict[str, DAG], name: str) -> None:
    dag: Any = dags[name]
    clean_up, end = dag.get_task("clean_up"), dag.get_task("report_end")
    submitting = [t for t in ORDER[name] if t.startswith("submit_")]
    assert list(clean_up.steps) == submitting
    assert (clean_up.facility, clean_up.claim, clean_up.verify) == (
        "select_facility",
        "check_duplicate",
        "verify_outputs",
    )
    assert (end.claim, end.ingest) == ("check_duplicate", "ingest_products")


@pytest.mark.parametrize("name", ["cta_reprocessing", "campaign_crab_2026"])
def test_the_teardowns_of_a_campaign_ask_tasks_that_there_are(name: str) -> None:
    dag: Any = runpy.run_path(str(FILES["cta_reprocessing"]))
    found = {d.dag_id: d for d in dag.values() if isinstance(d, DAG)}[name]
    asking: list[Any] = [found.get_task("clean_up"), found.get_task("report_end")]
    asked = {
        getattr(t, n) for t in asking for n in ("steering", "facility", "search", "process") if hasattr(t, n)
    }
    assert asked == {"validate_request", "select_facility", "search_lake", "process_observations"}
    assert asked <= set(found.task_ids)


def test_a_campaign_runs_by_its_schedule_one_run_at_a_time() -> None:
    content = runpy.run_path(str(FILES["cta_reprocessing"]))
    campaign = content["campaign_crab_2026"]
    assert (campaign.max_active_runs, campaign.catchup) == (1, False)
    assert set(campaign.params) == {"dry_run", "retry_failed"}


def test_a_wrong_campaign_takes_nothing_else_down_and_shows_as_an_import_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(PROJECT / "config", tmp_path, dirs_exist_ok=True)
    (tmp_path / "campaigns" / "vela_2026.yaml").write_text("title: Vela\n")
    monkeypatch.setenv("ESAP_CONFIG_DIR", str(tmp_path))
    found = {d.dag_id for d in runpy.run_path(str(FILES["cta_reprocessing"])).values() if isinstance(d, DAG)}
    assert found == {"cta_reprocessing", "campaign_crab_2026"}
    with pytest.raises(RuntimeError, match=r"vela_2026\.yaml: \$: 'workflow' is a required property"):
        runpy.run_path(str(CAMPAIGN_FILES))


def test_airflow_looks_into_every_file() -> None:
    """It imports a file only when that names both Airflow and a DAG."""
    for path in (*FILES.values(), CAMPAIGN_FILES):
        assert might_contain_dag(str(path), safe_mode=True), path


@pytest.mark.parametrize("name", sorted(ORDER))
def test_a_form_is_sent_as_it_comes_and_nothing_runs_by_itself(dags: dict[str, DAG], name: str) -> None:
    dag = dags[name]
    assert dag.schedule is None
    schema = request_schema(PROJECT / "config/workflows" / name)
    assert set(dag.params) == set(schema["properties"])
    dag.params.validate()


@pytest.mark.parametrize("name", sorted(ORDER))
def test_every_task_is_tried_again(dags: dict[str, DAG], name: str) -> None:
    assert {t.retries for t in dags[name].tasks} == {7}


def test_intermediate_files_must_be_valid_and_products_are_left_to_the_verification(
    dags: dict[str, DAG],
) -> None:
    irf: Any = dags["cta_irf"]
    hello: Any = dags["hello_world"]
    assert irf.get_task("await_simulation").require_valid
    assert not irf.get_task("await_merge").require_valid
    assert not hello.get_task("await_jobs").require_valid


def test_parsing_the_dag_files_loads_nothing_but_airflow_and_this_project(tmp_path: Path) -> None:
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": str(PROJECT / "plugins")}
    result = subprocess.run(
        [sys.executable, "-c", PROBE, *map(str, FILES.values()), str(CAMPAIGN_FILES)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    line = next(text for text in result.stdout.splitlines() if text.startswith("MODULES "))
    before, added = json.loads(line.removeprefix("MODULES "))
    packages = {m.split(".", 1)[0] for m in added}
    assert packages - set(sys.stdlib_module_names) == OWN
    assert not HEAVY & {m.split(".", 1)[0] for m in (*before, *added)}
