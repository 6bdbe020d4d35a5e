"""In which state the jobs of batches are."""

import os
import time
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from .commands import MARGIN_S, SiteError, accounting, queue, tasks_of
from .folders import REPORT, Area, Order, read_json, write_json

FORGET_S = 60.0  # accounting may lag behind the queue by that much
ENDED = frozenset(
    (
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "LAUNCH_FAILED",
        "LOST",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "RECONFIG_FAIL",
        "REVOKED",
        "TIMEOUT",
    )
)

Task = Tuple[str, int]  # SLURM's id of an array, id of a task in it
State = Tuple[str, str]  # SLURM's word, more of what it says


def states_of(areas: Sequence[Area], orders: Dict[str, List[Order]]) -> Dict[str, Dict[Task, State]]:
    """Give the state of every task of these batches, with one call of squeue and at most one of sacct."""
    known: Dict[str, Dict[Task, State]] = {area.group: kept_states(area) for area in areas}
    open_tasks = {
        (order.slurm_id, n): (area, order)
        for area in areas
        for order in orders[area.group]
        for n in range(len(order.jobs))
        if (order.slurm_id, n) not in known[area.group]
    }
    if not open_tasks:
        return known
    found: Dict[Task, State] = {}
    for slurm_id, number, state, reason in queue():
        if number.isdigit():
            found[slurm_id, int(number)] = (state, "" if reason == "None" else reason)
    vanished = [task for task in open_tasks if task not in found]
    if vanished:
        found.update(remembered(vanished, open_tasks))
    for task, (area, _) in open_tasks.items():
        known[area.group][task] = found[task]
    for area in areas:
        keep_states(area, known[area.group])
    return known


def remembered(tasks: Sequence[Task], orders: Dict[Task, Tuple[Area, Order]]) -> Dict[Task, State]:
    """Say what became of tasks that the controller has forgotten: by accounting, else by their reports.

    What accounting takes for queued or running and the controller does not know is not there any more: the
    controller has lost it, or accounting was not told of its end.
    """
    since = min(orders[task][1].document["time"] for task in tasks)
    rows, trouble = None, ""
    try:
        rows = accounting(since - MARGIN_S, "--jobs", ",".join(sorted({slurm_id for slurm_id, _ in tasks})))
    except SiteError as error:
        if error.kind != "unavailable":
            raise
        trouble = str(error)
    told = dict(state for row in rows or [] for state in accounted(row))
    found: Dict[Task, State] = {}
    for task in tasks:
        area, order = orders[task]
        found[task] = told.get(task) or by_report(area, order, task[1]) or lost(order, rows is None, trouble)
    return found


def accounted(row: Sequence[str]) -> Iterator[Tuple[Task, State]]:
    """Give the tasks of a line of accounting that have ended."""
    job_id, words, code = row
    slurm_id, _, which = job_id.partition("_")
    state = words.split(" ")[0]  # CANCELLED by 1000
    if state in ENDED:
        for number in tasks_of(which):
            yield (slurm_id, number), (state, f"exit code {code}" if code != "0:0" else "")


def by_report(area: Area, order: Order, task: int) -> Optional[State]:
    """Judge an ended job by the report that it left."""
    report = read_json(os.path.join(area.out(*order.jobs[task]), REPORT))
    if report is None:
        return None
    state = "COMPLETED" if report["exit_code"] == 0 else "FAILED"
    return state, "SLURM has forgotten it; its report says {}".format(report["reason"])


def lost(order: Order, unaccounted: bool, trouble: str) -> State:
    """Judge a job that nobody knows."""
    if trouble:
        raise SiteError("unavailable", trouble)
    if time.time() - order.document["time"] < FORGET_S:
        return "PENDING", "not seen in the queue yet"
    more = " (this site keeps no accounting)" if unaccounted else ""
    return "LOST", f"SLURM does not know it any more{more} and it left no report"


def kept_states(area: Area) -> Dict[Task, State]:
    """Read the states of ended tasks."""
    rows = read_json(area.path("states.json")) or []
    return {(slurm_id, task): (state, detail) for slurm_id, task, state, detail in rows if state in ENDED}


def keep_states(area: Area, states: Dict[Task, State]) -> None:
    """Keep the states of ended tasks; two who do so at once know the same."""
    ended = sorted(
        [*task, *state] for task, state in states.items() if state[0] in ENDED and state[0] != "LOST"
    )
    if ended and len(ended) != len(read_json(area.path("states.json")) or []):
        write_json(area.path("states.json"), ended)
