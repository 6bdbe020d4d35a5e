"""Checks of a full-enclosure IRF against GADF 0.3 (gamma-astro-data-formats) and against physics.

That a file loads says little: HDU classes, units, axes, value ranges and normalisations are looked at one by
one. Tolerances are a profile of the producer, since published files break the strict ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from . import reading
from .detector import Floats
from .fits_checks import open_checked
from .report import Report
from .response import AXIS_UNITS, LAYOUTS, Layout
from .units import scale_to

FORMAT = "gadf-irf"


def _are_components(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(v in LAYOUTS for v in value)


PROFILE = {
    "required": reading.Key(f"a list out of {', '.join(LAYOUTS)}", _are_components, list(LAYOUTS)),
    "edisp_norm": reading.rising("[low, high]", 2, [0.95, 1.01]),
    "psf_norm": reading.rising("[low, high]", 2, [0.95, 1.01]),
    "max_aeff_m2": reading.number(1, 1e12, "m2", 1e8),
    "max_empty_fraction": reading.number(0, 1, default=0.9),
}


@dataclass(frozen=True)
class Profile:
    """What one producer's files may be like; the defaults are strict."""

    required: list[str]
    edisp_norm: list[float]
    psf_norm: list[float]
    max_aeff_m2: float
    max_empty_fraction: float

    @classmethod
    def read(cls, path: Path | None) -> Profile:
        """Read a profile; PayloadError names unknown keys and wrong values."""
        defaults = {name: key.default for name, key in PROFILE.items()}
        return cls(**(reading.read_document(path, PROFILE) if path else defaults))


@dataclass(frozen=True)
class Grid:
    """Values of one HDU in GADF's units, with the edges of each axis; shape as numpy has it."""

    kind: str
    target: str
    values: Floats
    low: dict[str, Floats]
    high: dict[str, Floats]

    @property
    def layout(self) -> Layout:
        return LAYOUTS[self.kind]


def check_irf(path: Path, profile: Profile) -> Report:
    """Make all checks of an IRF file."""
    report = Report(path.name, FORMAT)
    hdus = open_checked(path, report)
    if hdus is None:
        return report
    grids: dict[str, Grid] = {}
    seen: list[str] = []
    for hdu in hdus[1:]:
        kind = str(hdu.header.get("HDUCLAS4", "")).strip()
        if str(hdu.header.get("HDUCLAS1", "")).strip() != "RESPONSE" and kind not in LAYOUTS:
            continue
        seen.append(kind)
        _check_keywords(hdu, kind, report)
        grid = _grid_of(hdu, kind, report) if kind in LAYOUTS else None
        if grid is not None and _check_grid(grid, profile, report):
            grids[kind] = grid
    _check_components(seen, profile, report)
    _check_agreement(grids, report)
    report.summary = _summary(hdus, grids)
    return report


def _check_components(seen: list[str], profile: Profile, report: Report) -> None:
    for kind in profile.required:
        report.add(
            "file.components",
            kind,
            seen.count(kind) == 1,
            value=seen.count(kind),
            allowed="1",
            message=f"{seen.count(kind)} HDUs have HDUCLAS4 = {kind}",
        )


def _check_keywords(hdu: Any, kind: str, report: Report) -> None:
    allowed = {
        "HDUCLASS": ("GADF",),
        "HDUCLAS1": ("RESPONSE",),
        "HDUCLAS2": LAYOUTS[kind].hduclas2 if kind in LAYOUTS else (),
        "HDUCLAS3": ("FULL-ENCLOSURE",),
        "HDUCLAS4": tuple(LAYOUTS),
    }
    found = {key: str(hdu.header.get(key, "")).strip() for key in allowed}
    wrong = [
        f"{key} = {found[key]!r}, allowed {' or '.join(values)}"
        for key, values in allowed.items()
        if values and found[key] not in values
    ]
    missing = [key for key in ("TELESCOP", "INSTRUME", "HDUDOC") if not str(hdu.header.get(key, "")).strip()]
    wrong += [f"{key} is missing" for key in missing]
    report.add(
        "gadf.keywords",
        hdu.name,
        not wrong,
        value="; ".join(wrong) or "as GADF has them",
        allowed="HDUCLASS, HDUCLAS1 to HDUCLAS4, HDUDOC, TELESCOP, INSTRUME of GADF",
        message="; ".join(wrong),
    )
    version = str(hdu.header.get("HDUVERS", "")).strip().lstrip("v")
    report.add(
        "gadf.version",
        hdu.name,
        version.split(".")[:2] in (["0", "2"], ["0", "3"]),
        value=version or None,
        allowed="0.2 or 0.3",
        message=f"HDUVERS = {version!r}",
    )
    date = hdu.header.get("DATE")
    report.add(
        "gadf.date",
        hdu.name,
        date is None or reading.is_fits_date(date),
        value=None if date is None else str(date),
        allowed="ISO 8601 with a T",
        message=f"DATE = {date!r} is no date of FITS",
    )


def _grid_of(hdu: Any, kind: str, report: Report) -> Grid | None:
    """Read the columns in GADF's units; None, and the reason in the report, when that cannot be done."""
    layout = LAYOUTS[kind]
    wanted = {layout.column: layout.unit} | {
        f"{axis}_{side}": AXIS_UNITS[axis] for axis in layout.axes for side in ("LO", "HI")
    }
    present = hdu.columns.names if isinstance(hdu, fits.BinTableHDU) else []
    missing = [name for name in wanted if name not in present]
    rows = 0 if hdu.data is None else len(hdu.data)
    problems = ([f"columns missing: {', '.join(missing)}"] if missing else []) + (
        [f"{rows} rows"] if rows != 1 else []
    )
    columns_fit = report.add(
        "gadf.columns",
        hdu.name,
        not problems,
        value="; ".join(problems) or "all there",
        allowed=f"one row of {', '.join(wanted)}",
        message="; ".join(problems),
    )
    scales = {name: scale_to(hdu, name, unit) for name, unit in wanted.items()} if columns_fit else {}
    bad = [
        f"{name} in {hdu.columns[name].unit!r}, not in {wanted[name] or 'no unit'}"
        for name, scale in scales.items()
        if scale is None
    ]
    if columns_fit:
        report.add(
            "gadf.units",
            hdu.name,
            not bad,
            value="; ".join(bad) or "convertible",
            allowed=", ".join(f"{name} in {unit}" for name, unit in wanted.items() if unit),
            message="; ".join(bad),
        )
    if bad or not columns_fit:
        return None
    data = {n: np.asarray(hdu.data[n][0], dtype=float) * (scale or 1.0) for n, scale in scales.items()}
    low = {axis: np.atleast_1d(data[f"{axis}_LO"]) for axis in layout.axes}
    high = {axis: np.atleast_1d(data[f"{axis}_HI"]) for axis in layout.axes}
    grid = Grid(kind, hdu.name, data[layout.column], low, high)
    shape = tuple(len(low[axis]) for axis in reversed(layout.axes))
    fits_axes = grid.values.shape == shape and all(low[a].shape == high[a].shape for a in layout.axes)
    report.add(
        "gadf.shape",
        hdu.name,
        fits_axes,
        value=str(grid.values.shape),
        allowed=str(shape),
        message=f"{layout.column} has shape {grid.values.shape}, its axes say {shape}",
    )
    return grid if fits_axes else None


def _check_grid(grid: Grid, profile: Profile, report: Report) -> bool:
    """Check axes, then values; normalisations only where those are right. Gives whether all passed."""
    before = len(report.checks)
    for axis in grid.layout.axes:
        _check_axis(grid, axis, report)
    _check_values(grid, profile, report)
    sound = all(check.passed for check in report.checks[before:])
    if sound and grid.kind in ("EDISP_2D", "PSF_TABLE"):
        _check_normalisation(grid, profile, report)
    return sound


def _check_axis(grid: Grid, axis: str, report: Report) -> None:
    low, high = grid.low[axis], grid.high[axis]
    rising = bool(np.isfinite([low, high]).all() and (high > low).all() and (np.diff(low) > 0).all())
    ends = f"{low[0]:g} to {high[-1]:g} {AXIS_UNITS[axis]}".strip()
    report.add(
        "axis.increasing",
        f"{grid.target}.{axis}",
        rising,
        value=ends,
        allowed="finite bin edges that rise",
        message=f"edges of {axis} do not rise: {ends}",
    )
    joined = bool(np.allclose(low[1:], high[:-1], rtol=1e-5, atol=1e-9))
    report.add(
        "axis.contiguous",
        f"{grid.target}.{axis}",
        joined,
        value=f"{len(low)} bins",
        allowed="each bin starts where the one before ends",
        message=f"bins of {axis} have gaps or overlap",
    )


def _check_values(grid: Grid, profile: Profile, report: Report) -> None:
    values, name = grid.values, grid.layout.column
    not_finite, negative = int((~np.isfinite(values)).sum()), int((values < 0).sum())
    highest = float(np.nanmax(np.where(np.isfinite(values), values, 0)))
    empty = float((values == 0).mean())
    tests: list[tuple[str, bool, float, str, str]] = [
        ("values.finite", not not_finite, not_finite, "0", f"{not_finite} values of {name} are not finite"),
        ("values.non_negative", not negative, negative, "0", f"{negative} values of {name} are negative"),
        ("values.not_empty", highest > 0, highest, "> 0", f"no value of {name} is above 0"),
    ]
    if grid.kind in ("AEFF_2D", "BKG_2D"):
        limit = profile.max_empty_fraction
        message = f"{empty:.0%} of {name} is 0"
        tests.append(("values.populated", empty <= limit, round(empty, 4), f"<= {limit:g}", message))
    if grid.kind == "AEFF_2D":
        limit = profile.max_aeff_m2
        message = f"{name} reaches {highest:.3g} m2"
        tests.append(("aeff.maximum", highest <= limit, highest, f"<= {limit:g} m2", message))
    for check, passed, value, allowed, message in tests:
        report.add(check, grid.target, passed, value=value, allowed=allowed, message=message)


def _edisp_norm(grid: Grid) -> Floats:
    width = grid.high["MIGRA"] - grid.low["MIGRA"]
    return np.asarray((grid.values * width[None, :, None]).sum(axis=1))


def _psf_norm(grid: Grid) -> Floats:
    low, high = np.radians(grid.low["RAD"]), np.radians(grid.high["RAD"])
    solid_angle = 2 * np.pi * (np.cos(low) - np.cos(high))
    return np.asarray((grid.values * solid_angle[:, None, None]).sum(axis=0))


NORMS: dict[str, tuple[str, Callable[[Grid], Floats]]] = {
    "EDISP_2D": ("edisp", _edisp_norm),
    "PSF_TABLE": ("psf", _psf_norm),
}


def _check_normalisation(grid: Grid, profile: Profile, report: Report) -> None:
    """Check that densities integrate to 1 wherever there is anything (an empty bin integrates to 0)."""
    name, integrate = NORMS[grid.kind]
    norm = integrate(grid)
    filled = norm[norm > 0]
    low, high = profile.edisp_norm if name == "edisp" else profile.psf_norm
    outside = (filled < low) | (filled > high)
    worst = float(filled[np.argmax(np.abs(filled - 1))])
    report.add(
        f"{name}.normalisation",
        grid.target,
        not outside.any(),
        value=round(worst, 6),
        allowed=f"{low:g}..{high:g}",
        message=f"{int(outside.sum())} of {filled.size} integrals are outside, the worst is {worst:.3f}",
    )


def _check_agreement(grids: dict[str, Grid], report: Report) -> None:
    """Check that energy dispersion and PSF are on the effective area's grid, and there wherever it is."""
    area = grids.get("AEFF_2D")
    if area is None:
        return
    for kind in ("EDISP_2D", "PSF_TABLE"):
        if kind not in grids:
            continue
        grid = grids[kind]
        agree = all(_equal(area.low[a], grid.low[a]) for a in ("ENERG", "THETA"))
        report.add(
            "axis.agreement",
            grid.target,
            agree,
            value="equal" if agree else "different",
            allowed="true energy and offset bins of the effective area",
            message="true energy or offset bins differ from those of the effective area",
        )
        if agree:
            filled = (NORMS[kind][1](grid) > 0).reshape(area.values.shape)
            bare = int(((area.values > 0) & ~filled).sum())
            report.add(
                "values.populated",
                grid.target,
                bare == 0,
                value=bare,
                allowed="0",
                message=f"{bare} bins have effective area but nothing here",
            )


def _equal(a: Floats, b: Floats) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-5))


SUMMARY_KEYWORDS = (
    "TELESCOP", "PARTICLE", "SITE", "LAYOUT", "MODEL", "ZENITH", "AZIMUTH", "SPINDEX",
    "NSIMGAM", "NSIMPRO", "NTRGGAM", "NTRGPRO", "SYSTUNC", "OBSTIME", "PRODID", "CREATOR", "DATE",
)  # fmt: skip


def _summary(hdus: fits.HDUList, grids: dict[str, Grid]) -> dict[str, Any]:
    header = hdus[1].header if len(hdus) > 1 else hdus[0].header
    return {
        "header": {key: header[key] for key in SUMMARY_KEYWORDS if key in header},
        "components": {
            kind: {"shape": list(g.values.shape), "min": float(g.values.min()), "max": float(g.values.max())}
            for kind, g in grids.items()
        },
        **(
            {
                "energy_tev": [
                    float(grids["AEFF_2D"].low["ENERG"][0]),
                    float(grids["AEFF_2D"].high["ENERG"][-1]),
                ]
            }
            if "AEFF_2D" in grids
            else {}
        ),
    }
