"""Telling what a deferred task waits for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.triggers.base import BaseTrigger

PROGRESS_KEY = "progress"


async def show_progress(trigger: BaseTrigger, document: Mapping[str, Any]) -> None:
    """Keep `document` as the XCom `progress` of the task that waits, in the place of the one before.

    Its `text` is for people, e.g. `jobs 3 of 8 done, 2 running`; the rest is the same in numbers. It costs a
    request to Airflow, so call it when something has changed. A wait never fails for its progress: what
    cannot be shown is logged.
    """
    from airflow.sdk.exceptions import AirflowRuntimeError
    from airflow.sdk.execution_time.xcom import XCom

    task = trigger.task_instance
    if task is None:  # a trigger without a task, as in tests
        return
    try:
        await XCom.aset(
            PROGRESS_KEY,
            dict(document),
            dag_id=task.dag_id,
            task_id=task.task_id,
            run_id=task.run_id,
            map_index=-1 if task.map_index is None else task.map_index,
        )
    except AirflowRuntimeError as error:
        trigger.log.warning("the progress cannot be shown: %s", error)
