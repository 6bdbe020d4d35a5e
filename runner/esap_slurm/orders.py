"""Job arrays: written down before they are submitted, and found again by their names."""

import contextlib
import json
import os
import shlex
import sys
import time
from typing import Dict, List, Sequence, Tuple

from .commands import MARGIN_S, SiteError, accounting, largest_array, queue, slurm
from .folders import Area, Json, Order, write_json


def order_name(area: Area, order: Order) -> str:
    """Name an array for ever: what makes submission exactly-once."""
    return f"{area.group}.{order.serial:04d}"


def settle(area: Area, orders: List[Order]) -> List[Order]:
    """Find out what became of orders that a broken submission left without id; drop what never got through.

    The caller holds the lock, so nobody is submitting them now.
    """
    for order in [o for o in orders if not o.slurm_id]:
        ids = find_named(order_name(area, order), order.document["time"])
        if ids:
            adopt(area, order, ids)
        else:
            order.drop()
    return [o for o in orders if o.slurm_id]


def find_named(name: str, since: float) -> List[str]:
    """Give the ids of arrays of a name, the oldest first."""
    ids = {row[0] for row in queue("--name", name)}
    if not ids:
        ids = {row[0].partition("_")[0] for row in accounting(since - MARGIN_S, "--name", name) or []}
    return sorted(ids, key=lambda one: (len(one), one))


def adopt(area: Area, order: Order, ids: Sequence[str]) -> None:
    """Take the oldest array of a name for the order's; whatever else has the name is cancelled."""
    if ids[1:]:
        slurm(["scancel", *ids[1:]])
    os.makedirs(os.path.join(area.owner_folder, "ids"), exist_ok=True)
    link = area.link(ids[0])
    with contextlib.suppress(FileNotFoundError):
        os.unlink(link)
    os.symlink(order.path, link)
    order.accepted(ids[0])


def known_orders(area: Area) -> Tuple[List[Order], List[Order]]:
    """Give the orders that SLURM has, and those that somebody is just submitting."""
    orders = area.orders()
    if all(o.slurm_id for o in orders):
        return orders, []
    with area.lock(0) as mine:
        if mine:
            return settle(area, area.orders()), []
    return [o for o in orders if o.slurm_id], [o for o in orders if not o.slurm_id]


def chunks(batch: Json, missing: Sequence[Tuple[int, int]]) -> List[List[Tuple[int, int]]]:
    """Divide jobs into arrays: no larger than the site allows, with the same limits within each."""
    most, limits = largest_array(), {job["index"]: job["limits"] for job in batch["jobs"]}
    alike: Dict[str, List[Tuple[int, int]]] = {}
    for job in missing:
        alike.setdefault(json.dumps(limits[job[0]], sort_keys=True), []).append(job)
    return [jobs[n : n + most] for jobs in alike.values() for n in range(0, len(jobs), most)]


def place_order(area: Area, serial: int, question: Json, jobs: Sequence[Tuple[int, int]]) -> None:
    """Write an order, then submit it."""
    batch, chosen = question["batch"], {index for index, _ in jobs}
    mine = [job for job in batch["jobs"] if job["index"] in chosen]
    document = {
        "time": time.time(),
        "jobs": jobs,
        "scratch_env": question.get("scratch_env", ""),
        "site": question["site"],
    }
    write_json(area.path(f"{serial:04d}.batch"), dict(batch, jobs=mine))
    write_json(area.path(f"{serial:04d}.json"), document)
    order = Order(area.folder, serial)
    command = ["python3", os.path.abspath(sys.argv[0]), "run", area.folder, str(serial)]
    script = "#!/bin/sh\nexec " + " ".join(shlex.quote(word) for word in command) + "\n"
    try:
        said = slurm(sbatch(area, order, question, mine[0]["limits"]), script)
    except SiteError as error:
        if error.kind != "unavailable":
            order.drop()  # SLURM has refused it, so there is nothing to be found again
        raise
    adopt(area, order, [said.strip().partition(";")[0]])


def sbatch(area: Area, order: Order, question: Json, limits: Json) -> List[str]:
    """Give the command line that submits an order; `overhead` is what the runner needs beside the payload."""
    overhead = question["overhead"]
    minutes = -(-(limits["wall_time_s"] + overhead["wall_time_s"]) // 60)
    options = {
        "job-name": order_name(area, order),
        "array": f"0-{len(order.jobs) - 1}",
        "time": str(int(minutes)),
        "mem": f"{int(limits['memory_mb'] + overhead['memory_mb'])}M",
        "cpus-per-task": str(limits.get("cores", 1)),
        "output": f"slurm-{order.serial:04d}-%a.out",
        "chdir": area.folder,
    }
    options.update({k: v for k, v in question["options"].items() if v})
    return ["sbatch", "--parsable", "--no-requeue", *(f"--{k}={v}" for k, v in sorted(options.items()))]
