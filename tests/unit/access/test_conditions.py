"""Every table of the installed Airflow that tells of runs has a rule."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.dialects import postgresql

from access.conditions import models, rules

# What has to do with runs and needs no rule, and why.
EXEMPT = {
    "trigger": "no route shows triggers but with their task instances",
    "callback": "no route shows callbacks",
    "job": "tells of schedulers and other services; for ops only",
}
RUN_COLUMNS = {"run_id", "dag_run_id", "dagrun_id", "ti_id", "task_instance_id", "source_run_id",
               "created_dag_run_id", "triggering_user_name", "ti_history_id"}  # fmt: skip


def tables() -> dict[str, Any]:
    from airflow.models import import_all_models
    from airflow.models.base import Base

    import_all_models()
    return {mapper.local_table.name: mapper.local_table for mapper in Base.registry.mappers}


def test_every_table_that_names_a_run_has_a_rule() -> None:
    found = {name for name, table in tables().items() if RUN_COLUMNS & {c.name for c in table.columns}}
    assert {"dag_run", "task_instance", "xcom", "log", "hitl_detail"} <= found
    assert found == set(models())


def test_every_table_that_refers_to_one_with_a_rule_has_one() -> None:
    for name, table in tables().items():
        targets = {key.column.table.name for key in table.foreign_keys}
        assert not targets & set(models()) or name in models() or name in EXEMPT, name


@pytest.mark.parametrize("name", sorted(models()))
def test_the_mark_is_how_the_condition_begins_in_sql(name: str) -> None:
    rule = rules()[models()[name]]
    sql = str(rule.condition.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    assert rule.mark.format(name) in sql
