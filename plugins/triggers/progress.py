"""Telling what a deferred task waits for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.triggers.base import BaseTrigger

from esap_batch.progress import MARK, PROGRESS


async def show_progress(trigger: BaseTrigger, document: Mapping[str, Any]) -> None:
    """Keep `document` as the XCom `progress` of the task that waits, in the place of the one before.

    Its `text` is for people, e.g. `jobs 3 of 8 done, 2 running`; the rest is the same in numbers. It costs a
    request to Airflow, so call it when something has changed. A wait never fails for its progress: what
    cannot be shown is logged.
    """
    await tell(trigger, PROGRESS, dict(document))


async def show_mark(trigger: BaseTrigger, mark: str) -> None:
    """Keep a mark as the task's XCom (`esap_batch.progress.MARK`), or take it away when it is empty."""
    await tell(trigger, MARK, mark)


async def tell(trigger: BaseTrigger, key: str, value: Any) -> None:
    """Keep a value as an XCom of the task that waits, an empty one by taking it away; failures are logged."""
    from airflow.sdk.exceptions import AirflowRuntimeError
    from airflow.sdk.execution_time.xcom import XCom

    if not (place := place_of(trigger)):
        return
    try:
        if value:
            await XCom.aset(key, value, **place)
        else:  # the library's own `delete` blocks
            from airflow.sdk.execution_time.comms import DeleteXCom
            from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

            await SUPERVISOR_COMMS.asend(DeleteXCom(key=key, **place))
    except AirflowRuntimeError as error:
        trigger.log.warning("the %s cannot be shown: %s", key, error)


def place_of(trigger: BaseTrigger) -> dict[str, Any]:
    """Name the task that waits; nothing for a trigger without a task, as in tests."""
    task = trigger.task_instance
    if task is None:
        return {}
    index = -1 if task.map_index is None else task.map_index
    return {"dag_id": task.dag_id, "task_id": task.task_id, "run_id": task.run_id, "map_index": index}
