"""Checks of what an analysis makes: sky maps, flux points and the summary."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from .counting import li_ma
from .fits_checks import open_checked
from .report import READABLE, Report
from .results import FORMAT
from .skymap import MAPS
from .spectrum import COLUMNS
from .table_checks import find_table, read_columns

WHOLE, NO_EXCESS = 1e-2, 1e-3  # counts: maps are kept in single precision
SLACK = 1e-6  # relative difference of numbers that should be equal
MEMBERS = ("format", "note", "processor", "target", "observations", "units", "spectrum")
NUMBERS = ("livetime_s", "n_on", "n_off", "alpha", "excess")


def check_fits(path: Path) -> Report:
    """Check that a FITS file is whole and has right checksums: for files that only a next step reads."""
    report = Report(path.name, "fits")
    open_checked(path, report)
    return report


def check_map(path: Path) -> Report:
    """Make all checks of sky maps."""
    report = Report(path.name, "esap-skymap")
    hdus = open_checked(path, report)
    if hdus is None:
        return report
    missing = [name for name in MAPS if name not in hdus or not isinstance(hdus[name], fits.ImageHDU)]
    shapes = {hdus[name].shape for name in MAPS if name not in missing}
    problem = f"{', '.join(missing)} missing" if missing else "the maps have different shapes"
    if not report.note("map.hdus", not missing and len(shapes) == 1, ", ".join(MAPS), problem):
        return report
    for name in MAPS:
        _check_projection(hdus[name], report)
    _check_values(hdus, report)
    report.summary = {"pixels": list(hdus["COUNTS"].shape), "counts": int(hdus["COUNTS"].data.sum())}
    return report


def _check_projection(hdu: Any, report: Report) -> None:
    problems = []
    try:
        wcs = WCS(hdu.header)
        if not wcs.is_celestial:
            problems.append("it has no celestial projection")
        elif not np.isfinite(np.asarray(wcs.wcs_pix2world([[0, 0]], 0))).all():
            problems.append("its corner has no place in the sky")
    except Exception as error:  # wcslib raises errors of many kinds
        problems.append(f"{type(error).__name__}: {error}")
    message = "; ".join(problems)
    report.note("map.wcs", not problems, "a celestial projection", message, hdu.name)


def _check_values(hdus: fits.HDUList, report: Report) -> None:
    counts, background, excess, significance = (np.asarray(hdus[n].data, dtype=float) for n in MAPS)
    whole = np.isfinite(counts).all() and (counts >= 0).all() and (counts == np.rint(counts)).all()
    report.note("map.values", bool(whole), "whole numbers of at least 0", "counts are not", "COUNTS")
    known = np.isfinite(background)
    positive = known.any() and bool((background[known] >= 0).all())
    report.note(
        "map.values", positive, "numbers of at least 0", "some are negative, or all unknown", "BACKGROUND"
    )
    seen = np.isfinite(significance)
    agree = bool((np.isfinite(excess) == known).all()) and bool((seen <= known).all())
    report.note("map.values", agree, "known where the background is", "unknown pixels differ", "EXCESS")
    sums = excess + background
    whole_sums = bool((np.abs(sums[known] - np.rint(sums[known])) < WHOLE).all())
    report.note("map.sums", whole_sums, "whole counts", "excess and background add up to no counts", "EXCESS")
    signs = np.sign(significance[seen]) * np.sign(excess[seen])
    close = np.abs(excess[seen]) < NO_EXCESS
    same = bool(((signs >= 0) | close).all())
    report.note("map.sums", same, "the sign of the excess", "signs differ", "SIGNIFICANCE")


def check_spectrum(path: Path) -> Report:
    """Make all checks of flux points."""
    report = Report(path.name, "gadf-flux-points")
    hdus = open_checked(path, report)
    if hdus is None or (table := find_table(hdus, "FLUXPOINTS", report)) is None:
        return report
    columns = {n: c for n, c in COLUMNS.items() if c[0] != "L"}
    data = read_columns(table, columns, report)
    sed_type = str(table.header.get("SED_TYPE", ""))
    there = data is not None and "is_ul" in table.columns.names and sed_type == "dnde"
    if not report.note("spectrum.columns", there, "columns of GADF, SED_TYPE dnde", "not as GADF has them"):
        return report
    assert data is not None
    is_limit = np.asarray(table.data["is_ul"], dtype=bool)
    rising = (data["e_min"] > 0) & (data["e_min"] < data["e_ref"]) & (data["e_ref"] < data["e_max"])
    rising &= np.append(data["e_min"][1:] >= data["e_max"][:-1] * (1 - SLACK), True)
    report.note(
        "spectrum.values", bool(rising.all()), "rising energies", "energies do not rise", "e_min, e_max"
    )
    points = ~is_limit
    sound = all(np.isfinite(data[n][points]).all() for n in ("dnde", "dnde_errn", "dnde_errp"))
    sound = sound and bool((data["dnde"][points] > 0).all() and (data["dnde_errp"][points] > 0).all())
    report.note("spectrum.values", sound, "positive, finite", "a flux or its error is not", "dnde")
    limits = data["dnde_ul"][is_limit]
    sound = bool(np.isfinite(limits).all() and (limits > 0).all())
    sound = sound and bool((data["dnde_ul"][points] > data["dnde"][points]).all())
    report.note("spectrum.limits", sound, "positive, above the flux", "an upper limit is not", "dnde_ul")
    report.summary = {"points": int(points.sum()), "limits": int(is_limit.sum())}
    return report


def check_result(path: Path) -> Report:
    """Make all checks of the summary; the significance is computed anew."""
    report = Report(path.name, FORMAT)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        problem = "" if isinstance(document, dict) else "it is no JSON object"
    except (OSError, ValueError) as error:
        document, problem = {}, str(error)
    if not report.note(READABLE, not problem, "a JSON object", f"cannot be read: {problem}", "FILE"):
        return report
    missing = [m for m in MEMBERS if document.get(m) in (None, "")]
    missing += [m for m in NUMBERS if not _is_number(document.get(m))]
    if document.get("format") != FORMAT:
        missing.append("format")
    if not report.note("result.members", not missing, ", ".join((*MEMBERS, *NUMBERS)), f"wrong: {missing}"):
        return report
    on, off, alpha = (float(document[n]) for n in ("n_on", "n_off", "alpha"))
    sound = on >= 0 and off >= 0 and alpha > 0 and float(document["livetime_s"]) > 0
    sound = sound and math.isclose(document["excess"], on - alpha * off, rel_tol=SLACK, abs_tol=SLACK)
    report.note("result.counts", sound, "excess = n_on - alpha n_off", "the counts do not agree")
    _check_significance(document.get("significance"), on, off, alpha, report)
    report.summary = {n: document[n] for n in ("n_on", "n_off", "excess")}
    return report


def _check_significance(given: Any, on: float, off: float, alpha: float, report: Report) -> None:
    computed = float(li_ma(np.array(on), np.array(off), np.array(alpha)))
    if math.isfinite(computed):
        right = _is_number(given) and math.isclose(given, computed, rel_tol=SLACK, abs_tol=SLACK)
    else:
        right = given is None
    message = f"is {given}, computed anew {computed:g}"
    report.note("result.significance", right, f"{computed:g} (Li & Ma 17)", message)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
