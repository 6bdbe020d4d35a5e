from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import TaskInstanceState
from airflow.sdk.exceptions import AirflowFailException

from operators.report_end import ReportEnd
from tests.unit.conftest import PRODUCT, World

MADE = {**PRODUCT, "files": 5, "rse": "LAPALMA-DISK", "rules": {}, "missing": 0, "jobs": 4}
INGESTED = {"ingest_products": TaskInstanceState.SUCCESS}
OTHER = "hello_world/manual__0"


def run(world: World, xcoms: dict[str, Any], **states: TaskInstanceState) -> dict[str, Any]:
    world.ti.xcoms = xcoms
    world.ti.states = {name: state.value for name, state in states.items()}
    task = ReportEnd(task_id="report_end", claim="check_duplicate", ingest="ingest_products")
    return task.execute(world.context())


def test_a_product_of_this_run_is_told_as_published(world: World) -> None:
    told = run(world, {"check_duplicate": PRODUCT, "ingest_products": MADE}, **INGESTED)
    assert told == {"outcome": "published", "product": MADE, "missing": 0}


def test_of_a_partial_product_it_says_what_is_missing_and_how_to_complete_it(world: World) -> None:
    partial = {**MADE, "missing": 3}
    told = run(world, {"check_duplicate": PRODUCT, "ingest_products": partial}, **INGESTED)
    assert told["missing"] == 3
    assert told["note"].startswith(f"3 of 4 jobs are missing in {PRODUCT['dataset']}. To complete it, clear")


def test_a_product_of_an_earlier_pass_does_not_hide_that_this_one_has_failed(world: World) -> None:
    with pytest.raises(AirflowFailException, match="see the log of await_jobs"):
        run(
            world,
            {"check_duplicate": PRODUCT, "ingest_products": MADE},
            await_jobs=TaskInstanceState.FAILED,
            ingest_products=TaskInstanceState.UPSTREAM_FAILED,
        )


def test_a_product_of_another_run_is_told_as_found(world: World) -> None:
    found = {**PRODUCT, "made_by": OTHER, "state": "published"}
    told = run(world, {"check_duplicate": found}, ingest_products=TaskInstanceState.SKIPPED)
    assert told == {"outcome": "found", "product": found, "missing": 0}


@pytest.mark.parametrize("xcoms", [{}, {"check_duplicate": PRODUCT}])
def test_a_run_that_was_ended_before_its_ingest_was_cancelled(world: World, xcoms: dict[str, Any]) -> None:
    with pytest.raises(AirflowFailException, match="was cancelled"):
        run(
            world,
            xcoms,
            await_jobs=TaskInstanceState.FAILED,
            ingest_products=TaskInstanceState.SKIPPED,
        )


def test_a_failed_run_names_the_tasks_that_failed_and_no_others(world: World) -> None:
    with pytest.raises(AirflowFailException) as failure:
        run(
            world,
            {"check_duplicate": PRODUCT},
            validate_request=TaskInstanceState.SUCCESS,
            verify_outputs=TaskInstanceState.FAILED,
            clean_up=TaskInstanceState.FAILED,
            ingest_products=TaskInstanceState.UPSTREAM_FAILED,
        )
    text = str(failure.value)
    assert "clean_up, verify_outputs" in text
    assert "cancelled" not in text
    assert "validate_request" not in text


def test_a_run_without_product_never_passes_whatever_is_known_of_its_tasks(world: World) -> None:
    with pytest.raises(AirflowFailException, match="has made no product"):
        run(world, {"check_duplicate": PRODUCT})
