"""Draws bench/results/campaign.json: `.envs/fits/bin/python bench/plot.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
GROUPS = {
    "scheduler and workers": ("airflow-scheduler",),
    "triggerer": ("airflow-triggerer",),
    "API server": ("airflow-api",),
    "DAG processor": ("airflow-dag-processor",),
    "Rucio server and daemons": ("rucio", "rucio-daemons"),
    "DiracX": ("diracx",),
    "site (runs the jobs)": ("site",),
    "PostgreSQL": ("postgres",),
}


PHASES = ("done", "running", "ready", "recalling", "waiting")
IMAGES = HERE.parent / "docs" / "images"


def main() -> None:
    """Draw cost and course of the campaigns."""
    results = json.loads((HERE / "results" / "campaign.json").read_text())
    draw_cost(results)
    draw_course(next(r for r in results if r["files"] == 1000))  # noqa: PLR2004


def draw_course(result: dict[str, Any]) -> None:
    """Write docs/images/campaign.png: what a campaign's observations are doing, and the disk they take."""
    line = result["timeline"]
    seconds = [t["s"] for t in line]
    figure, (phases, disk) = plt.subplots(
        2, 1, figsize=(9, 5.4), sharex=True, height_ratios=(2, 1), constrained_layout=True
    )
    colours = ("#3b7d4f", "#e0a030", "#f2d98b", "#5b8bbd", "#d9d9d9")
    phases.stackplot(seconds, [[t.get(p, 0) for t in line] for p in PHASES], labels=PHASES, colors=colours)
    phases.set(
        ylabel="observations", title="A campaign of 100 observations and 1,000 files (no-op processor)"
    )
    phases.legend(loc="center right")
    disk.fill_between(seconds, [t["disk"] / 1e3 for t in line], color="#5b8bbd", step="post")
    disk.axhline(result["window_bytes"] / 1e3, color="k", linestyle="--", label="window")
    disk.set(xlabel="seconds", ylabel="recalled files on disk, kB", ylim=(0, None), xlim=(0, seconds[-1]))
    disk.legend(loc="upper right")
    figure.savefig(IMAGES / "campaign.png", dpi=110)


def draw_cost(results: list[dict[str, Any]]) -> None:
    """Write docs/images/campaign_cost.png."""
    files = [r["files"] for r in results]
    figure, (cpu, memory) = plt.subplots(1, 2, figsize=(11, 4.6), constrained_layout=True)
    for label, names in GROUPS.items():
        style = {"marker": "o", "linewidth": 1.4, "label": label}
        cpu.plot(files, [sum(r["services"][n]["cpu_s"] for n in names) for r in results], **style)
        memory.plot(files, [sum(r["services"][n]["peak_mb"] for n in names) for r in results], **style)
    cpu.plot(files, [r["seconds"] for r in results], "k--", label="wall clock")
    top = results[-1]["seconds"]
    cpu.plot(
        files, [top * f / files[-1] for f in files], "k:", linewidth=0.9, label="in proportion to the files"
    )
    cpu.set(
        xscale="log",
        yscale="log",
        xlabel="files recalled",
        ylabel="seconds of CPU",
        title="Time of a campaign",
    )
    memory.set(
        xscale="log", xlabel="files recalled", ylabel="peak memory in MB", title="Memory of each service"
    )
    memory.set_ylim(bottom=0)
    for axis in (cpu, memory):
        axis.grid(alpha=0.3, which="both")
    cpu.legend(fontsize=7)
    figure.suptitle("cta_reprocessing with the no-op processor, 10 files an observation, 2 cores")
    figure.savefig(IMAGES / "campaign_cost.png", dpi=110)


if __name__ == "__main__":
    main()
