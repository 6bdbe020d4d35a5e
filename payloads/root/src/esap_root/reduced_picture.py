"""The picture that goes with a reduction: hits an event by run, and hits of the optical modules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from .reduced import DOMS, EVENTS, RUNS, Tables

mpl.use("Agg")
SIZE, DPI = (12.5, 5.2), 110
BINS = 40
MEGA = 1e6


def draw_reduction(tables: Tables, campaign: Mapping[str, Any], target: Path) -> None:
    """Draw both panels."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=SIZE, dpi=DPI, layout="constrained")
    runs = tables[RUNS]
    read = f"{runs['bytes_read'].sum() / MEGA:.1f} MB and {runs['hits_read'].sum():,} hits read"
    kept = f"{runs['events_kept'].sum()} events kept"
    figure.suptitle(
        f"KM3NeT campaign {campaign['name']}: {len(runs['run'])} runs, {read}, {kept}", fontsize=13
    )
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.88, max(len(runs["run"]), 1)))
    _draw_events(left, tables, colours)
    _draw_modules(right, tables, colours)
    figure.savefig(target, format="png", metadata={"Software": None})
    plt.close(figure)


def _draw_events(axes: Any, tables: Tables, colours: Any) -> None:
    events = tables[EVENTS]
    hits = np.maximum(events["hits"], 1)
    edges = np.logspace(np.log10(hits.min(initial=10)), np.log10(hits.max(initial=100) * 1.01), BINS + 1)
    for run, colour in zip(tables[RUNS]["run"], colours, strict=True):
        counts, _ = np.histogram(hits[events["run"] == run], bins=edges)
        axes.stairs(counts, edges, color=colour, linewidth=1.8, label=f"run {run}: {counts.sum()}")
    axes.set(xscale="log", xlabel="hits an event, after the cut on time over threshold", ylabel="events")
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(bottom=0)
    axes.set_title("Events kept")
    axes.grid(alpha=0.25)
    axes.legend(loc="upper right")


def _draw_modules(axes: Any, tables: Tables, colours: Any) -> None:
    doms = tables[DOMS]
    for run, colour in zip(tables[RUNS]["run"], colours, strict=True):
        hits = np.sort(doms["hits"][doms["run"] == run])[::-1]
        axes.plot(
            np.arange(1, len(hits) + 1), hits, color=colour, linewidth=1.8, label=f"{len(hits)} modules"
        )
    axes.set(xscale="log", yscale="log", xlabel="optical modules, most hits first", ylabel="hits of a module")
    axes.set_title("Hits of the optical modules")
    axes.grid(alpha=0.25)
    axes.legend(loc="lower left")
