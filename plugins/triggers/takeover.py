"""Whether a trigger that Airflow ends was ended by a user, or goes on in another triggerer.

Airflow 3.3 takes both for an act of a user: a triggerer that was slow for `triggerer_health_check_threshold`
loses its triggers to another one, and then calls `on_kill` of each. What tells them apart is the task: after
an act of a user it no longer waits, or it does so in another try, which has its own XComs.
"""

from __future__ import annotations

from airflow.triggers.base import BaseTrigger

from triggers.progress import place_of, tell

TRY = "watched_try"
WAITS = "deferred"


async def note_try(trigger: BaseTrigger) -> None:
    """Keep the number of the try that waits as an XCom, which goes when another try begins."""
    if trigger.task_instance is not None:
        await tell(trigger, TRY, trigger.task_instance.try_number)


async def is_taken_over(trigger: BaseTrigger) -> bool:
    """Tell whether the same try still waits; False where Airflow does not say: a user may have acted."""
    task = trigger.task_instance
    if task is None:  # as in tests
        return False
    from airflow.sdk.exceptions import AirflowRuntimeError
    from airflow.sdk.execution_time.comms import GetTaskStates, TaskStatesResult
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS
    from airflow.sdk.execution_time.xcom import XCom

    place = place_of(trigger)
    index = place["map_index"]
    name = task.task_id if index < 0 else f"{task.task_id}_{index}"
    asked = GetTaskStates(dag_id=task.dag_id, map_index=index, task_ids=[task.task_id], run_ids=[task.run_id])
    try:
        answer = await SUPERVISOR_COMMS.asend(asked)
        if not isinstance(answer, TaskStatesResult):
            return False
        if answer.task_states.get(task.run_id, {}).get(name) != WAITS:
            return False
        return bool(await XCom.aget_one(key=TRY, **place) == task.try_number)
    except AirflowRuntimeError as error:
        trigger.log.warning("Airflow does not tell the state of the task: %s", error)
        return False
