"""The plots that go with an analysis: sky maps and spectrum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from .geometry import Geometry
from .response import REFERENCE_AMPLITUDE, REFERENCE_INDEX, reference_flux
from .skymap import SkyMaps
from .spectrum import FluxPoint

mpl.use("Agg")
DPI = 110
MARK = "#00e5ff"
TOY = "TOY DATA"


def plot_skymap(maps: SkyMaps, summary: Mapping[str, Any], path: Path) -> None:
    """Draw counts, excess and significance side by side."""
    import matplotlib.pyplot as plt

    geometry = maps.geometry
    figure = plt.figure(figsize=(15.5, 4.9), dpi=DPI, layout="constrained")
    low, high = summary["energy_range_tev"]
    observed = len(summary["observations"]["analysed"])
    figure.suptitle(
        f"{summary['target']}: {observed} observations, {summary['livetime_s'] / 3600:.2f} h, "
        f"{low:g} to {high:g} TeV, {_sigma(summary)} — {TOY}",
        fontsize=13,
    )
    limit = float(max(np.nanmax(np.abs(maps.significance)), 3.0))
    panels: list[tuple[str, Any, str, dict[str, Any]]] = [
        ("Counts", maps.counts, "events a pixel", {"cmap": "inferno", "vmin": 0}),
        ("Excess", maps.excess, "events in the on radius", {"cmap": "viridis"}),
        (
            "Significance",
            maps.significance,
            "standard deviations",
            {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit},
        ),
    ]
    for number, (title, values, label, style) in enumerate(panels, 1):
        axes = figure.add_subplot(1, 3, number, projection=_projection(geometry))
        image = axes.imshow(values, origin="lower", interpolation="nearest", **style)
        _mark(axes, geometry, first=number == 1)
        axes.set_title(title)
        axes.text(0.03, 0.03, TOY, transform=axes.transAxes, color="white", fontsize=9, weight="bold",
                  bbox={"facecolor": "black", "alpha": 0.45, "edgecolor": "none", "pad": 2.5})  # fmt: skip
        figure.colorbar(image, ax=axes, label=label, shrink=0.85, pad=0.02)
    figure.savefig(path, format="png", metadata={"Software": None})
    plt.close(figure)


def _projection(geometry: Geometry) -> WCS:
    header = fits.Header()
    for key, (value, _) in geometry.cards.items():
        header[key] = value
    return WCS(header)


def _mark(axes: Any, geometry: Geometry, *, first: bool) -> None:
    """Mark source and on region; label the axes, the declination at the first panel only."""
    from matplotlib.patches import Circle

    centre = (geometry.pixels - 1) / 2
    axes.plot(centre, centre, "+", color=MARK, markersize=11, markeredgewidth=1.6, label="source")
    radius = geometry.on_radius / geometry.pixel_deg
    axes.add_patch(Circle((centre, centre), radius, fill=False, color=MARK, linewidth=1.4))
    right_ascension, declination = axes.coords
    right_ascension.set_axislabel("right ascension (ICRS)")
    right_ascension.set_major_formatter("d.d")
    declination.set_major_formatter("d.d")
    declination.set_axislabel("declination (ICRS)" if first else " ")
    axes.coords.grid(color="grey", alpha=0.22, linestyle=":")
    if first:
        axes.plot([], [], "o", color=MARK, markersize=11, fillstyle="none", label="on region")
        axes.legend(loc="upper right", fontsize=9, framealpha=0.6)


def plot_spectrum(points: Sequence[FluxPoint], summary: Mapping[str, Any], path: Path) -> None:
    """Draw flux points as E² dN/dE, limits as arrows, and the spectrum that they are compared with."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.6, 5.2), dpi=DPI, layout="constrained")
    measured = [p for p in points if not p.is_ul]
    limits = [p for p in points if p.is_ul and np.isfinite(p.dnde_ul)]
    for p in measured:
        scale = p.e_ref**2
        axes.errorbar(
            p.e_ref,
            p.dnde * scale,
            xerr=[[p.e_ref - p.e_min], [p.e_max - p.e_ref]],
            yerr=[[p.dnde_errn * scale], [p.dnde_errp * scale]],
            fmt="o",
            color="#1f4e9e",
            label="flux points" if p is measured[0] else None,
        )
    for p in limits:
        top = p.dnde_ul * p.e_ref**2
        axes.errorbar(
            p.e_ref,
            top,
            xerr=[[p.e_ref - p.e_min], [p.e_max - p.e_ref]],
            yerr=0.35 * top,
            uplims=True,
            fmt="none",
            color="#9e1f1f",
            label="upper limits, 95 %" if p is limits[0] else None,
        )
    energies = np.geomspace(*summary["energy_range_tev"], 60)
    label = f"reference, E^-{REFERENCE_INDEX:g}, {REFERENCE_AMPLITUDE:g} at 1 TeV"
    axes.plot(energies, energies**2 * reference_flux(energies), ":", color="grey", label=label)
    if fit := summary.get("fit"):
        curve = fit["amplitude"] * energies ** -fit["index"]
        axes.plot(energies, energies**2 * curve, color="#d2691e", label=f"fit, E^-{fit['index']:.2f}")
    axes.set(xscale="log", yscale="log", xlabel="energy / TeV", ylabel="E² dN/dE / (TeV cm⁻² s⁻¹)")
    axes.set_title(f"{summary['target']}, {_sigma(summary)} — {TOY}")
    axes.grid(alpha=0.25)
    axes.legend()
    figure.savefig(path, format="png", metadata={"Software": None})
    plt.close(figure)


def _sigma(summary: Mapping[str, Any]) -> str:
    value = summary["significance"]
    return "no counts" if value is None else f"{value:.1f} \N{GREEK SMALL LETTER SIGMA}"
