"""Draws bench/results/campaign.json: `.envs/fits/bin/python bench/plot.py`."""


from __future__ import annotations

import json
from pathlib import Path

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


def main() -> None:
    """Write docs/images/campaign_cost.png."""
    results = json.loads((HERE / "results" / "campaign.json").read_text())
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
    figure.savefig(HERE.parent / "docs" / "images" / "campaign_cost.png", dpi=110)


if __name__ == "__main__":
    main()
