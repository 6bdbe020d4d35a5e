from __future__ import annotations

from datetime import timedelta

from operators.defaults import task_defaults


def test_tries_go_on_for_as_long_as_an_ordinary_restart_takes() -> None:
    defaults = task_defaults()
    delays = [
        min(defaults["retry_delay"] * defaults["retry_exponential_backoff"] ** n, defaults["max_retry_delay"])
        for n in range(defaults["retries"])
    ]
    assert timedelta(minutes=8) <= sum(delays, timedelta()) <= timedelta(minutes=15)


def test_each_dag_gets_settings_of_its_own() -> None:
    task_defaults()["retries"] = 0
    assert task_defaults()["retries"] > 0


def test_operators_take_the_defaults() -> None:
    from airflow.sdk import DAG

    from operators.validate import ValidateRequest

    with DAG("d", schedule=None, default_args=task_defaults()):
        task = ValidateRequest(task_id="t", workflow="hello_world")
    assert (task.retries, task.owner) == (task_defaults()["retries"], "esap-batch")
