"""The picture that goes with an analysis: the histogram with its peak."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from .opening import HISTOGRAM, classes, is_class, open_root
from .peak import NoPeak, background, find_peak, read_histogram
from .profile import PeakProfile, Profile

mpl.use("Agg")
SIZE, DPI = (9.0, 5.4), 110
DATA, LINE, WINDOW = "#1b4b8f", "#c8501e", "#e8eef7"


def draw_analysis(path: Path, profile: Profile, title: str, target: Path) -> None:
    """Draw the histogram of the profile's peak, or else the first one of the file."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=SIZE, dpi=DPI, layout="constrained")
    with open_root(path) as file:
        names = [n for n, c in classes(file).items() if is_class(c, HISTOGRAM)]
        name = profile.peak.histogram if profile.peak and profile.peak.histogram in names else names[:1]
        shown = name if isinstance(name, str) else "".join(name)
        if shown:
            counts, edges, variances = read_histogram(file[shown])
            axes.stairs(counts, edges, color=DATA, linewidth=1.6, fill=False, label="candidates")
            if profile.peak and profile.peak.histogram == shown:
                _draw_peak(axes, counts, edges, variances, profile.peak)
    axes.set(xlabel="invariant mass / GeV", ylabel="entries a bin")
    axes.set_title(title)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(loc="upper right")
    figure.savefig(target, format="png", metadata={"Software": None})
    plt.close(figure)


def _draw_peak(axes: Any, counts: Any, edges: Any, variances: Any, peak: PeakProfile) -> None:
    low, high = peak.window_gev
    axes.axvspan(low, high, color=WINDOW, zorder=0, label=f"allowed mean: {low:g} to {high:g} GeV")
    try:
        found = find_peak(counts, edges, variances, *peak.search_gev)
    except NoPeak:
        return
    centres = 0.5 * (edges[1:] + edges[:-1])
    axes.plot(
        centres, background(counts, edges, *peak.search_gev), "--", color=LINE, label="background (line)"
    )
    axes.axvline(found.mean_gev, color=LINE, linewidth=1.2)
    words = (
        f"mean {found.mean_gev:.4f} GeV\n{found.entries:,.0f} above background\n"
        f"significance {found.significance:.0f}"
    )
    axes.annotate(words, (0.03, 0.95), xycoords="axes fraction", va="top", fontsize=11)
    axes.set_xlim(float(np.min(edges)), float(np.max(edges)))
