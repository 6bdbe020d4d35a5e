"""What is wrong is said before anything is submitted: by Airflow at the trigger, else by the first task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from localgrid.demo import example
from tests.e2e.conftest import Runs

IRF = "cta_irf"


def refusal(alice: Runs, dag_id: str = IRF, **conf: Any) -> str:
    """Start a run that must not get past its first task; give what it says."""
    run = alice.start(dag_id, **conf)
    assert alice.end(dag_id, run) == "failed"
    tasks = alice.api.tasks(dag_id, run)
    assert tasks["validate_request"]["state"] == "failed"
    assert tasks["validate_request"]["try_number"] == 1
    submitting = [t for name, t in tasks.items() if name.startswith(("submit", "check", "select"))]
    assert {t["state"] for t in submitting} == {"upstream_failed"}
    return alice.told(dag_id, run, "validate_request")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("zenith_deg", 91),
        ("zenith_deg", "steep"),
        ("model_version", "prod99"),
        ("period_start", "2026-02-31"),
        ("facility", "moon"),
        ("particle", ["gamma"]),
    ],
)
def test_airflow_refuses_a_wrong_value_at_the_trigger(alice: Runs, field: str, value: Any) -> None:
    answer = alice.api.trigger(IRF, {**example(IRF), field: value})
    assert answer.status_code == 400
    assert field in answer.json()["detail"]


@pytest.mark.parametrize("conf", [[1, 2], "all of it", 7])
def test_airflow_refuses_a_conf_that_is_no_object(alice: Runs, conf: Any) -> None:
    assert alice.api.trigger(IRF, conf).status_code == 422


def test_every_mistake_is_told_at_once_with_field_value_and_what_is_allowed(alice: Runs) -> None:
    told = refusal(
        alice, energy_min_tev=150, energy_max_tev=0.5, period_start="2026-12-01", period_end="2026-11-01"
    )
    assert "energy_min_tev = 150.0: allowed below energy_max_tev = 0.5 TeV" in told
    assert 'period_start = "2026-12-01": allowed at most period_end = 2026-11-01' in told


def test_an_unknown_field_is_refused_with_the_nearest_known_one(alice: Runs) -> None:
    told = refusal(alice, zenit_deg=20)
    assert "zenit_deg" in told
    assert "did you mean zenith_deg?" in told


def test_a_period_outside_the_models_validity_names_the_dates(alice: Runs) -> None:
    told = refusal(alice, period_start="1999-01-01", period_end="1999-01-31")
    assert "period_start" in told
    assert "validity of model prod6-v1.1" in told


def test_a_megabyte_of_json_is_refused(alice: Runs) -> None:
    told = refusal(alice, job_name="short", padding="x" * 1_000_000)
    assert "at most 65536 bytes" in told


def test_a_target_that_cannot_be_reached_names_one_that_can(alice: Runs) -> None:
    told = refusal(alice, statistical_uncertainty=0.005, spectral_index=-2.6)
    assert "statistical_uncertainty = 0.005: allowed" in told


def test_a_facility_that_does_not_fit_says_why_and_which_would(alice: Runs) -> None:
    run = alice.start("hello_world", facility="lapalma", memory_mb=4000, message="much memory")
    assert alice.end("hello_world", run) == "failed"
    told = alice.told("hello_world", run, "select_facility")
    assert "needs 4000 MB of memory a job, gives at most 2000" in told
    assert "Fitting: cscs" in told
    assert alice.task_state("hello_world", run, "submit_jobs") == "upstream_failed"


def test_when_no_facility_fits_the_nearest_miss_is_named(alice: Runs) -> None:
    run = alice.start("hello_world", memory_mb=50_000, message="far too much memory")
    assert alice.end("hello_world", run) == "failed"
    assert "Nearest is cscs" in alice.told("hello_world", run, "select_facility")


def test_a_user_of_another_experiment_is_refused(users: Callable[[str], Runs]) -> None:
    answer = users("dave").api.trigger(IRF, example(IRF))
    assert answer.status_code == 403, answer.text
    runs = users("carol").api.get(f"/dags/{IRF}/dagRuns", limit=100)["dag_runs"]
    assert "dave" not in {run["triggering_user_name"] for run in runs}
