"""What the service asks, and the answers."""

import os
import shutil
import time
from collections import Counter
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

from .commands import SiteError, accounting, slurm
from .folders import (
    FULL,
    LOGS,
    REPORT,
    STAGES,
    Area,
    Json,
    list_folder,
    out_folder,
    owner_folder,
    read_json,
    tail,
)
from .orders import chunks, known_orders, order_name, place_order, settle
from .stages import stages_of
from .states import ENDED, states_of

KEPT_S = 90 * 86400.0  # folders of batches that have been cleaned up are forgotten after that time
UNKNOWN = {"LOST", "LAUNCH_FAILED", "RECONFIG_FAIL"}  # no states that sacct may be asked for


def areas_of(question: Json) -> List[Area]:
    """Give the batches that a question is about."""
    groups = question["groups"] if "groups" in question else [question["group"]]
    return [Area(question["work_area"], question["owner"], group) for group in groups]


def answer_counts(question: Json) -> Json:
    """Count the jobs of batches by state: `{group: {"states": {state: count}, "stages": see stages_of}}`."""
    areas = areas_of(question)
    orders, coming = {}, {}
    for area in areas:
        orders[area.group], coming[area.group] = known_orders(area) if area.exists else ([], [])
    states = states_of([a for a in areas if a.exists], orders)
    counts: Json = {}
    for area in areas:
        known = states.get(area.group, {})
        count = Counter(state for state, _ in known.values())
        for order in coming[area.group]:
            count["PENDING"] += len(order.jobs)
        stages = stages_of(area, orders[area.group], known)
        counts[area.group] = {"states": dict(count), "stages": stages}
    return counts


def answer_attempts(question: Json) -> List[List[Any]]:
    """List the jobs of a batch: `[[SLURM's id, index, attempt, state, detail], ...]`."""
    (area,) = areas_of(question)
    if not area.exists:
        return []
    orders, coming = known_orders(area)
    states = states_of([area], {area.group: orders})[area.group]
    rows: List[List[Any]] = []
    for order in orders:
        for task, (index, attempt) in enumerate(order.jobs):
            rows.append([f"{order.slurm_id}_{task}", index, attempt, *states[order.slurm_id, task]])
    for order in coming:
        rows += [[order_name(area, order), *job, "PENDING", "is being submitted"] for job in order.jobs]
    return rows


def answer_submit(question: Json) -> List[List[Any]]:
    """Submit the jobs that SLURM does not have yet, by few arrays; then list all as `attempts` does."""
    (area,) = areas_of(question)
    wanted = {(int(index), attempt) for index, attempt in question["attempts"]}
    with area.lock() as mine:
        if not mine:
            raise SiteError("unavailable", "another submission of this batch is still under way")
        orders = settle(area, area.orders())
        missing = sorted(wanted - {(i, a) for order in orders for i, a in order.jobs})
        if missing:
            os.makedirs(area.path("jobs"), exist_ok=True)
            for number, chunk in enumerate(chunks(question["batch"], missing), area.next_serial()):
                place_order(area, number, question, chunk)
    return answer_attempts(question)


def answer_cancel(question: Json) -> int:
    """Cancel what has not ended; give how many jobs that were."""
    (area,) = areas_of(question)
    if not area.exists:
        return 0
    with area.lock() as mine:
        if not mine:
            raise SiteError("unavailable", "a submission of this batch is still under way")
        orders = settle(area, area.orders())
        states = states_of([area], {area.group: orders})[area.group]
        alive = [task for task, (state, _) in states.items() if state not in ENDED]
        if alive:
            slurm(["scancel", *sorted({slurm_id for slurm_id, _ in alive})])
    return len(alive)


def located(question: Json, job_id: str, orders: Dict[str, Any]) -> Optional[Tuple[str, str]]:
    """Find a job by SLURM's id: the file of its order, and the folder of its report and logs.

    `orders` are those that were read for earlier jobs of the same question.
    """
    slurm_id, _, task = job_id.partition("_")
    if not (slurm_id.isdigit() and task.isdigit()):
        return None
    link = os.path.join(owner_folder(question["work_area"], question["owner"]), "ids", slurm_id)
    if slurm_id not in orders:
        orders[slurm_id] = read_json(link)
    if orders[slurm_id] is None:
        return None
    path = os.readlink(link)
    return path, out_folder(os.path.dirname(path), *orders[slurm_id]["jobs"][int(task)])


def answer_reports(question: Json) -> Json:
    """Give the reports of ended jobs by SLURM's ids: `{id: report}`."""
    orders: Dict[str, Any] = {}
    places = {job_id: located(question, job_id, orders) for job_id in question["jobs"]}
    found = {job_id: read_json(os.path.join(at[1], REPORT)) for job_id, at in places.items() if at}
    return {job_id: report for job_id, report in found.items() if report is not None}


def answer_logs(question: Json) -> Json:
    """Give the end of what a job's runner and SLURM said: `{file: text}`."""
    at = located(question, question["job"], {})
    if at is None:
        return {}
    (path, out), task = at, question["job"].partition("_")[2]
    area, serial = os.path.dirname(path), os.path.splitext(os.path.basename(path))[0]
    names = [os.path.join(area, f"slurm-{serial}-{task}.out")]
    names += [os.path.join(out, name) for name in ("std.out", "std.err", *LOGS)]
    return {os.path.basename(name): tail(name) for name in names if os.path.isfile(name)}


def answer_clean_up(question: Json) -> int:
    """Delete what an ended batch holds here, but its orders and states; give the number of files gone."""
    (area,) = areas_of(question)
    if not area.exists:
        return 0
    if any(row[3] not in ENDED for row in answer_attempts(question)):
        raise SiteError("refused", "some of its jobs have not ended")
    for order in area.orders():
        order.strip()
    gone = [area.path("jobs", name) for name in list_folder(area.path("jobs"))]
    gone += [area.path(name) for name in list_folder(area.folder) if name.startswith("slurm-")]
    gone += [area.path(STAGES)] if os.path.isdir(area.path(STAGES)) else []
    for path in gone:
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    forget_old(area.owner_folder)
    return len(gone)


def forget_old(mine: str) -> None:
    """Delete the folders of batches that were cleaned up long ago, and dangling links to them."""
    for name in list_folder(mine):
        folder = os.path.join(mine, name)
        if (
            name != "ids"
            and os.stat(folder).st_mtime < time.time() - KEPT_S
            and not list_folder(os.path.join(folder, "jobs"))
        ):
            shutil.rmtree(folder)
    links = os.path.join(mine, "ids")
    for name in list_folder(links):
        if not os.path.exists(os.path.join(links, name)):
            os.unlink(os.path.join(links, name))


def answer_load(question: Json) -> Json:
    """Count jobs by state: everybody's in a partition now, and this user's that have ended lately."""
    lines = slurm(["squeue", "--noheader", "--array", f"--partition={question['site']}", "--format=%T"])
    states = f"--state={','.join(sorted(ENDED - UNKNOWN))}"
    since = time.time() - question["recent_s"]
    ended = accounting(since, "--endtime=now", states, columns=("State",)) or []
    return {"queue": count(lines.splitlines()), "ended": count(row[0] for row in ended)}


def count(lines: Iterable[str]) -> Json:
    """Count the first words of lines."""
    return dict(Counter(line.split()[0] for line in lines if line.strip()))


def answer_hello(_question: Json) -> Json:
    """Say that all is there: the site's time and SLURM's version."""
    return {"time": time.time(), "slurm": slurm(["sinfo", "--version"]).strip()}


ANSWERS: Dict[str, Callable[[Json], Any]] = {
    "attempts": answer_attempts,
    "cancel": answer_cancel,
    "clean_up": answer_clean_up,
    "counts": answer_counts,
    "hello": answer_hello,
    "load": answer_load,
    "logs": answer_logs,
    "reports": answer_reports,
    "submit": answer_submit,
}


def answer(question: Json) -> Json:
    """Answer a question: `{"answer": ...}` or `{"error": {"kind", "message"}}`."""
    try:
        return {"answer": ANSWERS[question["ask"]](question)}
    except SiteError as error:
        return {"error": {"kind": error.kind, "message": str(error)}}
    except OSError as error:
        full = "the disk or the quota of the work area is full: " if error.errno in FULL else ""
        return {"error": {"kind": "unavailable", "message": f"{full}{error}"}}
