"""Whether a trigger that Airflow ends was ended by a user, or goes on in another triggerer.

Airflow 3.3 takes both for an act of a user: a triggerer that was slow for `triggerer_health_check_threshold`
loses its triggers to another one, and then calls `on_kill` of each. What tells them apart is the task: after
an act of a user it no longer waits.
"""

from __future__ import annotations

from airflow.triggers.base import BaseTrigger

WAITS = "deferred"


async def is_taken_over(trigger: BaseTrigger) -> bool:
    """Tell whether the task still waits; False where Airflow does not say: a user may have acted."""
    task = trigger.task_instance
    if task is None:  # as in tests
        return False
    from airflow.sdk.exceptions import AirflowRuntimeError
    from airflow.sdk.execution_time.comms import GetTaskStates, TaskStatesResult
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    index = -1 if task.map_index is None else task.map_index
    name = task.task_id if index < 0 else f"{task.task_id}_{index}"
    asked = GetTaskStates(dag_id=task.dag_id, map_index=index, task_ids=[task.task_id], run_ids=[task.run_id])
    try:
        answer = await SUPERVISOR_COMMS.asend(asked)
    except AirflowRuntimeError as error:
        trigger.log.warning("Airflow does not tell the state of the task: %s", error)
        return False
    if not isinstance(answer, TaskStatesResult):
        return False
    return bool(answer.task_states.get(task.run_id, {}).get(name) == WAITS)
