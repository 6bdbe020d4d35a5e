"""What running jobs say of the files that they move, summed up."""

import re
from typing import Dict, List, Sequence

from .folders import STAGES, Area, Order, job_name, list_folder
from .states import State, Task

LINE = re.compile(r"^([a-z ]+): ([0-9]+) of ([0-9]+) files, ([0-9]+) of ([0-9]+) bytes$")


def stages_of(area: Area, orders: Sequence[Order], states: Dict[Task, State]) -> Dict[str, List[int]]:
    """Sum up a batch: `{stage: [jobs, files moved, of files, bytes moved, of bytes]}`.

    What is read are the files of jobs that move something now, however many jobs there are. One that a killed
    job has left does not count, nor does what is no such line.
    """
    told = list_folder(area.path(STAGES))
    if not told:
        return {}
    running = {
        job_name(*job)
        for order in orders
        for task, job in enumerate(order.jobs)
        if states[order.slurm_id, task][0] == "RUNNING"
    }
    sums: Dict[str, List[int]] = {}
    for name in running.intersection(told):
        found = LINE.match(line_of(area.path(STAGES, name)))
        if found:
            figures = [1, *map(int, found.groups()[1:])]
            before = sums.get(found.group(1), [0] * len(figures))
            sums[found.group(1)] = [a + b for a, b in zip(before, figures)]
    return sums


def line_of(path: str) -> str:
    """Read a file of one line that may be gone."""
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            return stream.readline(200)
    except FileNotFoundError:
        return ""
