"""What a campaign costs each process at 100, 1,000 and 10,000 files: `python -m bench.campaign`.

It runs real campaigns of the no-op processor on a local grid of its own, ten files an observation, and
writes bench/results/campaign.json. `bench/plot.py` draws it.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from localgrid.airflow_api import ENDED, AirflowApi
from localgrid.grid import Grid
from localgrid.lake import lake_of
from localgrid.layout import PROJECT
from localgrid.samples.blank import fill_blank

DAG, USER = "cta_reprocessing", "alice"
FILES_EACH, SIZE = 10, 200  # files of an observation, bytes of a file
LEAST_WINDOW = 30  # observations that fit on disk, or a fifth of the campaign
SAMPLE_EVERY_S = 2.0
RESULTS = PROJECT / "bench" / "results" / "campaign.json"
TICKS = os.sysconf("SC_CLK_TCK")
console = Console()


def processes() -> dict[int, list[int]]:
    """Give the children of each process of this machine."""
    children: dict[int, list[int]] = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        children[int(fields[1])].append(int(stat.parent.name))
    return children


def tree(root: int, children: dict[int, list[int]]) -> list[int]:
    """Give a process and all that it has started."""
    return [root, *(p for child in children.get(root, ()) for p in tree(child, children))]


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(f) for f in fields[11:15]) / TICKS


def memory_mb(pid: int) -> float:
    """Memory of a process in MB, with its share of what is shared (PSS)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


class Meter:
    """Samples CPU time and memory of every service of a grid until it is stopped."""

    def __init__(self, grid: Grid) -> None:
        self.roots = {s.name: s.pid for s in grid.status() if s.pid}
        self.first: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self.peak_mb: dict[str, float] = defaultdict(float)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Meter:
        self._sample()
        self.first = dict(self.last)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_EVERY_S):
            self._sample()

    def _sample(self) -> None:
        children = processes()
        for name, root in self.roots.items():
            pids = tree(root, children)
            self.last[name] = max(self.last.get(name, 0.0), sum(map(cpu_s, pids)))
            self.peak_mb[name] = max(self.peak_mb[name], sum(map(memory_mb, pids)))

    def result(self) -> dict[str, dict[str, float]]:
        """CPU seconds since the start and peak memory of each service."""
        return {
            name: {
                "cpu_s": round(self.last[name] - self.first[name], 1),
                "peak_mb": round(self.peak_mb[name]),
            }
            for name in self.roots
        }


def on_disk(grid: Grid) -> int:
    """Bytes of recalled files on the disk of the facility."""
    area = grid.home / "storage" / "lapalma-disk" / "ctao" / "acada"
    return sum(SIZE for p in area.rglob("obs_*.dat"))


def measure(grid: Grid, api: AirflowApi, files: int, first: int) -> dict[str, Any]:
    """Run one campaign of so many files and give what it took."""
    lake, count, project = lake_of(grid), files // FILES_EACH, f"bench-{files}-{int(time.time())}"
    began = time.monotonic()
    fill_blank(
        lake, grid.home / "bench", project=project, first=first, count=count, files=FILES_EACH, size=SIZE
    )
    filled = time.monotonic() - began
    window = max(LEAST_WINDOW, count // 5) * FILES_EACH * SIZE
    conf = {
        "project": project,
        "obs_ids": f"{first}-{first + count - 1}",
        "processor": "esap-noop",
        "facility": "lapalma",
        "window_gb": window / 1e9,
    }
    timeline = []
    with Meter(grid) as meter:
        began = time.monotonic()
        answer = api.trigger(DAG, conf)
        answer.raise_for_status()
        run = answer.json()["dag_run_id"]
        while (state := api.run(DAG, run)["state"]) not in ENDED:
            grid.check()
            seen = api.xcom(DAG, run, "process_observations", "progress")
            at = round(time.monotonic() - began, 1)
            timeline.append({"s": at, "disk": on_disk(grid), **(seen["observations"] if seen else {})})
            time.sleep(SAMPLE_EVERY_S)
        seconds = time.monotonic() - began
    tasks = api.tasks(DAG, run)
    end = api.xcom(DAG, run, "report_end") or {}
    told = api.log(DAG, run, "process_observations", tasks["process_observations"]["try_number"])
    return {
        "files": files,
        "observations": count,
        "state": state,
        "done": end.get("done"),
        "seconds": round(seconds, 1),
        "registration_s": round(filled, 1),
        "turns": sum(line.startswith("observations ") for line in told),
        "airflow_tasks": len(tasks),
        "window_bytes": window,
        "peak_disk_bytes": max(t["disk"] for t in timeline),
        "services": meter.result(),
        "timeline": timeline,
    }


def keep(result: dict[str, Any]) -> None:
    """Write a result in the place of an earlier one of the same size."""
    RESULTS.parent.mkdir(exist_ok=True)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    others = [r for r in known if r["files"] != result["files"]]
    RESULTS.write_text(json.dumps(sorted([*others, result], key=lambda r: int(r["files"])), indent=1) + "\n")


def main(
    files: Annotated[list[int] | None, typer.Argument(help="campaign sizes")] = None,
    home: Annotated[Path, typer.Option(help="state of the grid, removed at the end")] = PROJECT
    / ".localgrid-bench",
) -> None:
    """Measure campaigns of several sizes, the smallest first."""
    grid = Grid(home)
    grid.up()
    try:
        httpx.put(f"{grid.info['fts']['url']}/_control", json={"stage_delay": 0}).raise_for_status()
        api, first = AirflowApi.of(grid.info, USER), 1
        for size in sorted(files or [100, 1000, 10_000]):
            result = measure(grid, api, size, first)
            first += size
            console.print({k: v for k, v in result.items() if k != "timeline"})
            keep(result)
    finally:
        grid.down(purge=True)


if __name__ == "__main__":
    typer.run(main)
