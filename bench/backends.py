"""What it costs to submit and to poll on both back ends, beside one call per job: `python -m bench.backends`.

Jobs are accepted and wait, so nothing else takes time from them. The naive way submits each job and asks for
its state by a call of its own: at DiracX on a kept connection, at SLURM on an SSH connection per call, as
Airflow's SSHOperator does. It is measured for as many jobs as `--naive-most` says and multiplied beyond that,
which the results tell (`measured`). Writes bench/results/backends.json.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from esap_batch.jobs import Batch, JobBackend, JobState
from hooks.dirac_wms import DiracWms, jdl
from hooks.slurm_ssh import SlurmSsh
from localgrid.grid import Grid
from localgrid.layout import PROJECT
from tests.integration.backends.places import Dirac, Place, Slurm, a_batch, firsts

COUNTS = (10, 100, 1000, 5000)
POLLS = 5
RESULTS = PROJECT / "bench" / "results" / "backends.json"
console = Console()


@dataclass(frozen=True)
class Cost:
    """What it took for so many jobs: seconds and calls over the network."""

    jobs: int
    submit_s: float
    submit_calls: int
    poll_s: float
    poll_calls: int
    measured: int

    @property
    def rate(self) -> float:
        """Jobs submitted a second."""
        return self.jobs / self.submit_s


def timed(work: Callable[[], Any]) -> float:
    """Do work; give the seconds that it took."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


def as_batches(place: Place, count: int) -> Cost:
    """Submit and poll as the service does."""
    parked, polling = place.parked(), place.counted()
    batch = a_batch(place, count, site=place.parking)
    counted, calls = submitting(place)
    submit_s = timed(lambda: counted.submit(batch, firsts(batch)))
    submit_calls = calls()
    backend, calls = polling
    backend.counts([batch.group])
    before = calls()
    poll_s = timed(lambda: [backend.counts([batch.group]) for _ in range(POLLS)]) / POLLS
    poll_calls = (calls() - before) // POLLS
    assert parked.counts([batch.group])[batch.group] == {JobState.QUEUED: count}
    parked.cancel(batch.group)
    return Cost(count, submit_s, submit_calls, poll_s, poll_calls, count)


def submitting(place: Place) -> tuple[JobBackend, Callable[[], int]]:
    """Open the back end such that jobs wait, and count the calls."""
    backend, calls = place.counted()
    if isinstance(backend, SlurmSsh):
        backend._options["begin"] = "now+1day"
    return backend, calls


def one_by_one(place: Place, count: int, most: int) -> Cost:
    """Submit and poll by a call per job."""
    measured = min(count, most)
    batch = a_batch(place, measured, site=place.parking)
    submit, poll, end = naive_dirac(place, batch) if isinstance(place, Dirac) else naive_slurm(place, batch)
    ids: list[str] = []
    submit_s = timed(lambda: ids.extend(submit(job.index) for job in batch.jobs))
    poll_s = timed(lambda: [poll(one) for one in ids])
    end(ids)
    more = count / measured
    return Cost(count, submit_s * more, count, poll_s * more, count, measured)


Naive = tuple[Callable[[int], str], Callable[[str], Any], Callable[[list[str]], Any]]


def naive_dirac(place: Place, batch: Batch) -> Naive:
    """One POST, and one search, per job."""
    backend = place.open(place.owner)
    assert isinstance(backend, DiracWms)
    sandbox, jobs = backend._upload_sandbox(batch), backend._client.jobs

    def submit(index: int) -> str:
        return str(jobs.submit_jdl_jobs([jdl(batch, index, 1, batch.jobs[index].limits, sandbox)])[0].job_id)

    def poll(job_id: str) -> None:
        where: Any = [{"parameter": "JobID", "operator": "eq", "value": job_id}]
        jobs.search(parameters=["JobID", "Status"], search=where)

    return submit, poll, lambda _: backend.cancel(batch.group)


def naive_slurm(place: Place, batch: Batch) -> Naive:
    """One SSH connection with one sbatch, or one squeue, per job."""
    assert isinstance(place, Slurm)

    def run(*words: str) -> str:
        with place.open_at(place.owner).site._hook.get_conn() as client:
            _, out, _ = client.exec_command(shlex.join(words))
            return str(out.read().decode())

    def submit(_index: int) -> str:
        options = ("--begin=now+1day", "--account=esap", f"--job-name={batch.group}", "--wrap=true")
        return run("sbatch", "--parsable", *options).strip()

    return submit, lambda one: run("squeue", "-h", "-j", one, "-o", "%T"), lambda ids: run("scancel", *ids)


def show(found: dict[str, dict[str, list[Cost]]]) -> None:
    """Print the results side by side."""
    for name, ways in found.items():
        table = Table("jobs", *(f"{way}: {what}" for way in ways for what in ("submit", "poll")), title=name)
        for costs in zip(*ways.values(), strict=True):
            cells = []
            for cost in costs:
                cells.append(f"{cost.submit_s:.2f} s, {cost.rate:.0f}/s, {cost.submit_calls} calls")
                cells.append(f"{cost.poll_s:.3f} s, {cost.poll_calls} calls")
            table.add_row(str(costs[0].jobs), *cells)
        console.print(table)


def main(
    home: Annotated[Path, typer.Option(help="state of the grid")] = PROJECT / ".localgrid-bench",
    naive_most: Annotated[int, typer.Option(help="jobs that are really submitted one by one")] = 1000,
    keep: Annotated[bool, typer.Option(help="leave the grid as it is")] = False,
) -> None:
    """Measure both back ends, both ways, one after the other."""
    grid = Grid(home)
    grid.up()
    places: dict[str, Place] = {"DiracX": Dirac(grid), "SLURM over SSH": Slurm(grid)}
    try:
        found: dict[str, dict[str, list[Cost]]] = {}
        for name, place in places.items():
            found[name] = {"batch": [], "one by one": []}
            for count in COUNTS:
                found[name]["batch"].append(as_batches(place, count))
                found[name]["one by one"].append(one_by_one(place, count, naive_most))
    finally:
        if not keep:
            grid.down(purge=True)
    show(found)
    ways = {
        name: {way: [asdict(c) for c in costs] for way, costs in ways.items()} for name, ways in found.items()
    }
    RESULTS.parent.mkdir(exist_ok=True)
    machine = {"cores": os.cpu_count(), "load_average": round(os.getloadavg()[1], 1)}
    RESULTS.write_text(json.dumps(machine | ways, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
