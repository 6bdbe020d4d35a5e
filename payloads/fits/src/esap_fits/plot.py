"""The plot that goes with an IRF: effective area and energy dispersion."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from astropy.io import fits

from .detector import Floats

mpl.use("Agg")
SIZE, DPI = (12.5, 5.2), 110


def plot_irf(hdus: fits.HDUList, path: Path) -> None:
    """Draw both panels of an IRF as `irf.make_hdus` gives it."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=SIZE, dpi=DPI, layout="constrained")
    head = hdus["EFFECTIVE AREA"].header
    figure.suptitle(
        f"IRF of {head['SITE']} {head['LAYOUT']}, zenith {head['ZENITH']:g}°, {head['PARTICLE']}, "
        f"model {head['MODEL']} — toy simulation",
        fontsize=13,
    )
    _draw_area(left, hdus["EFFECTIVE AREA"])
    _draw_dispersion(figure, right, hdus["ENERGY DISPERSION"])
    figure.savefig(path, format="png", metadata={"Software": None})
    plt.close(figure)


def _edges(row: Any, axis: str) -> Floats:
    return np.append(row[f"{axis}_LO"], row[f"{axis}_HI"][-1:]).astype(float)


def _draw_area(axes: Any, hdu: Any) -> None:
    row = hdu.data[0]
    energy, theta = _edges(row, "ENERG"), _edges(row, "THETA")
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.88, len(theta) - 1))
    for band, (area, colour) in enumerate(zip(row["EFFAREA"], colours, strict=True)):
        shown = np.where(area > 0, area, np.nan)
        label = f"{theta[band]:g}° to {theta[band + 1]:g}°"
        axes.stairs(shown, energy, baseline=None, color=colour, linewidth=1.8, label=label)
    axes.set(xscale="log", yscale="log", xlabel="true energy / TeV", ylabel="effective area / m²")
    axes.set_title("Effective area")
    axes.grid(alpha=0.25, which="major")
    axes.legend(title="offset", loc="lower right")


def _draw_dispersion(figure: Any, axes: Any, hdu: Any) -> None:
    row = hdu.data[0]
    energy, migra, theta = (_edges(row, axis) for axis in ("ENERG", "MIGRA", "THETA"))
    density = row["MATRIX"][0]
    image = axes.pcolormesh(energy, migra, density, cmap="viridis", vmin=0)
    axes.plot(np.sqrt(energy[1:] * energy[:-1]), _median(density, migra), "w.-", label="median")
    axes.axhline(1, color="white", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", yscale="log", xlim=energy[[0, -1]], ylim=(0.4, 2.5))
    axes.set(xlabel="true energy / TeV", ylabel="reconstructed / true energy")
    axes.set_yticks([0.5, 0.7, 1, 1.5, 2], ["0.5", "0.7", "1", "1.5", "2"])
    axes.minorticks_off()
    axes.set_facecolor(mpl.colormaps["viridis"](0))
    axes.set_title(f"Energy dispersion, offset {theta[0]:g}° to {theta[1]:g}°")
    axes.legend(loc="upper right", facecolor=mpl.colormaps["viridis"](0), labelcolor="white")
    figure.colorbar(image, ax=axes, label="probability density")


def _median(matrix: Floats, migra: Floats) -> Floats:
    """Median migration by energy from a density of shape (migra, energy); nan where nothing was seen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # empty energies become nan, and are not drawn
        share = np.cumsum(matrix * np.diff(migra)[:, None], axis=0)
        share = share / share[-1]
    return np.asarray(
        [np.interp(0.5, np.append(0, s), migra) if np.isfinite(s).all() else np.nan for s in share.T]
    )
