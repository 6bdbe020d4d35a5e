"""The picture that goes with a product: flux and velocities on the sky, with the sources marked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from .arrays import Floats
from .geometry import Geometry
from .sky import to_pixels

mpl.use("Agg")
SIZE, DPI = (13.0, 5.6), 110
PANELS = (
    ("MOMENT0", "Flux (moment 0)", "Jy/beam km/s", "inferno"),
    ("MOMENT1", "Velocity (moment 1)", "km/s", "RdBu_r"),
)
STRETCH = 0.5  # power that lets faint gas be seen beside bright one


def draw_overview(
    maps: Mapping[str, Floats], columns: Mapping[str, Any], geometry: Geometry, path: Path
) -> None:
    """Draw moments 0 and 1, each source with its number, and the beam."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=SIZE, dpi=DPI, layout="constrained")
    figure.suptitle(f"HI in {geometry.target}: {len(columns['id'])} sources — toy data", fontsize=14)
    for place, (name, title, unit, colours) in enumerate(PANELS, 1):
        axes = figure.add_subplot(1, len(PANELS), place, projection=geometry.celestial)
        shown = np.where(maps["MOMENT0"] > 0, maps[name], np.nan)
        image = axes.imshow(
            shown, origin="lower", cmap=colours, interpolation="nearest", **_range(name, shown)
        )
        axes.set_facecolor("black" if name == "MOMENT0" else "0.93")
        axes.set_title(title)
        frame = geometry.celestial.wcs.radesys
        axes.coords[0].set_axislabel(f"right ascension ({frame})")
        axes.coords[1].set_axislabel(f"declination ({frame})" if place == 1 else " ")
        figure.colorbar(image, ax=axes, label=unit, shrink=0.86)
        _mark(axes, columns, geometry, "white" if name == "MOMENT0" else "black")
    figure.savefig(path, format="png", metadata={"Software": None})
    plt.close(figure)


def _range(name: str, shown: Floats) -> dict[str, Any]:
    known = shown[np.isfinite(shown)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    if name == "MOMENT0":
        return {"norm": mpl.colors.PowerNorm(STRETCH, vmin=0, vmax=high)}
    return {"vmin": low, "vmax": high}


def _mark(axes: Any, columns: Mapping[str, Any], geometry: Geometry, colour: str) -> None:
    nx, ny, _ = geometry.shape
    x, y = to_pixels(geometry.celestial, columns["ra"], columns["dec"])
    axes.plot(x, y, linestyle="none", marker="+", markersize=9, color=colour)
    for number, column, row in zip(columns["id"], np.atleast_1d(x), np.atleast_1d(y), strict=True):
        axes.annotate(
            str(number), (column, row), xytext=(7, 6), textcoords="offset points", color=colour,
            fontsize=12, fontweight="bold", annotation_clip=True,
        )  # fmt: skip
    scale = np.sqrt(geometry.pixel_area)
    major, minor, angle = geometry.beam_deg
    beam = mpl.patches.Ellipse(
        (0.07 * nx, 0.07 * ny), minor / scale, major / scale, angle=angle, edgecolor=colour, facecolor="none"
    )
    axes.add_patch(beam)
    axes.annotate("beam", (0.07 * nx + major / scale, 0.07 * ny), color=colour, va="center", fontsize=9)
