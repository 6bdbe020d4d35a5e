"""Checks of every kind of file that this payload writes; which checks apply, the file itself says."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from esap_fits.fits_checks import open_checked
from esap_fits.report import READABLE, Report

from .catalogue_checks import check_catalogue
from .parts import BOUNDS, CELLS, GEOMETRY, PART, SOURCES
from .sources import KIND_MAPS, KIND_MASK, UNITS

PNG = b"\x89PNG\r\n\x1a\n"
SLACK = 1e-5  # relative difference of sums: maps are kept in single precision
FLUX = "Jy/beam"
DEEPEST = 0.5  # of the highest pixel: how far below 0 the noise may bring one


def check(path: Path, maps: Path | None = None) -> Report:
    """Make all checks of a file. `maps` are the moments that a catalogue is compared with."""
    suffix = path.name.removesuffix(".gz").rsplit(".", 1)[-1].lower()
    match suffix:
        case "fits":
            return _check_fits(path)
        case "vot" | "xml":
            return check_catalogue(path, maps)
        case "json":
            return _check_json(path)
        case "png":
            return _check_png(path)
    report = Report(path.name, "file")
    size = path.stat().st_size if path.is_file() else 0
    report.note(READABLE, size > 0, "a file that is not empty", f"has {size} bytes")
    return report


def _check_png(path: Path) -> Report:
    report = Report(path.name, "png")
    content = path.read_bytes() if path.is_file() else b""
    whole = content.startswith(PNG) and content.rstrip()[-8:-4] == b"IEND"
    report.note(READABLE, whole, "a complete PNG", "it is no complete PNG")
    return report


def _check_json(path: Path) -> Report:
    report = Report(path.name, "json")
    try:
        json.loads(path.read_text(encoding="utf-8"))
        problem = ""
    except (OSError, ValueError) as error:
        problem = str(error)
    report.note(READABLE, not problem, "JSON", f"cannot be read: {problem}")
    return report


def _check_fits(path: Path) -> Report:
    report = Report(path.name, "fits")
    hdus = open_checked(path, report)
    if hdus is None:
        return report
    kind = str(hdus[0].header.get("KIND", ""))
    if kind in CHECKS:
        report.format = f"esap-{kind.lower()}"
        CHECKS[kind](hdus, report)
    return report


def _check_part(hdus: fits.HDUList, report: Report) -> None:
    names = [h.name for h in hdus]
    there = names[1:] == [CELLS, SOURCES, GEOMETRY] and all(k in hdus[0].header for k in BOUNDS)
    if not report.note(
        "part.tables", there, f"{CELLS}, {SOURCES}, {GEOMETRY}, bounds", f"has {', '.join(names)}"
    ):
        return
    head, cells, pieces = hdus[0].header, hdus[CELLS], hdus[SOURCES]
    units = cells.columns["FLUX"].unit
    report.note("part.units", units == FLUX, FLUX, f"FLUX is in {units}", CELLS)
    limits = [int(head[k]) for k in BOUNDS]
    inside = True
    for name, low, high in zip(("X", "Y", "CHANNEL"), limits[::2], limits[1::2], strict=True):
        values = np.asarray(cells.data[name])
        inside &= bool(((values >= low) & (values < high)).all())
    report.note("part.bounds", inside, "cells in the sub-cube", "cells lie outside", CELLS)
    flux, label = np.asarray(cells.data["FLUX"], dtype=float), np.asarray(cells.data["LABEL"], dtype=int)
    number = len(pieces.data)
    labelled = bool(((label >= 1) & (label <= number)).all())
    finite = bool(np.isfinite(flux).all()) and float(head.get("NOISE", 0)) > 0
    report.note("part.values", finite and labelled, "numbers, and noise above 0", "are not", CELLS)
    if not (finite and labelled):
        return
    sums = np.bincount(label, flux, number + 1)[1:]
    agree = np.allclose(sums, np.asarray(pieces.data["SUM"], dtype=float), rtol=SLACK, atol=1e-12)
    agree &= np.array_equal(np.bincount(label, minlength=number + 1)[1:], pieces.data["N_CELLS"])
    report.note("part.sums", bool(agree), "sums of the cells", "the pieces do not add up", SOURCES)
    report.summary = {"cells": len(flux), "pieces": number}


def _check_maps(hdus: fits.HDUList, report: Report) -> None:
    names = [h.name for h in hdus][1:]
    wanted = list(UNITS)
    there = names == wanted and len({hdus[n].shape for n in wanted}) == 1 and hdus[wanted[0]].data is not None
    if not report.note("maps.hdus", there, f"{', '.join(wanted)}, of one size", f"has {', '.join(names)}"):
        return
    for name in wanted:
        unit = hdus[name].header.get("BUNIT")
        report.note("maps.units", unit == UNITS[name], UNITS[name], f"BUNIT is {unit}", name)
        _check_projection(hdus[name], report)
    head = hdus[0].header
    keys = ("FLUX", "VMIN", "VMAX", "CHANNELW", "BMAJ", "BMIN")
    missing = [k for k in keys if not _is_number(head.get(k))]
    if report.note(
        "maps.keywords", not missing, ", ".join(keys), f"missing or no number: {', '.join(missing)}"
    ):
        _check_values(hdus, report)


def _check_projection(hdu: Any, report: Report) -> None:
    problem = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            wcs = WCS(hdu.header)
            if not wcs.is_celestial or not _is_sky(wcs):
                problem = f"its axes are {list(wcs.wcs.ctype)}"
            elif not np.isfinite(wcs.wcs_pix2world([[0, 0], list(reversed(hdu.shape))], 0)).all():
                problem = "its corners have no place in the sky"
            elif _area(wcs) <= 0:
                problem = "its pixels have no size"
    except Exception as error:  # wcslib raises errors of many kinds
        problem = f"{type(error).__name__}: {error}"
    report.note("maps.wcs", not problem, "right ascension and declination", problem, hdu.name)


def _is_sky(wcs: WCS) -> bool:
    first, second = wcs.wcs.ctype
    return bool(first.startswith("RA--") and second.startswith("DEC-"))


def _area(wcs: WCS) -> float:
    return float(abs(np.linalg.det(wcs.pixel_scale_matrix)))


def _check_values(hdus: fits.HDUList, report: Report) -> None:
    zeroth, first, second = (np.asarray(hdus[n].data, dtype=float) for n in UNITS)
    head = hdus[0].header
    finite = bool(np.isfinite(zeroth).all())
    report.note("maps.values", finite, "a number in each pixel", "some have none", "MOMENT0")
    if not finite:
        return
    area = _area(WCS(hdus["MOMENT0"].header))
    beam = np.pi / (4 * np.log(2)) * head["BMAJ"] * head["BMIN"] / area if area > 0 else np.nan
    flux = float(zeroth.sum() / beam)
    same = bool(np.isclose(flux, head["FLUX"], rtol=1e-3, atol=1e-9))
    report.note(
        "maps.flux", same, f"{head['FLUX']:g} Jy km/s, that of all sources", f"adds up to {flux:g}", "MOMENT0"
    )
    # Noise makes single pixels of a source negative, never by much of its peak.
    deepest, highest = float(zeroth.min(initial=0)), float(zeroth.max(initial=0))
    shallow = -deepest <= DEEPEST * highest
    told = f"goes down to {deepest:g}, up to {highest:g}"
    report.note("maps.negative", shallow, "no pixel below minus half of the highest", told, "MOMENT0")
    known = np.isfinite(first)
    agree = bool((known == np.isfinite(second)).all() and (known | (zeroth <= 0)).all())
    report.note("maps.known", agree, "a value where there is flux", "some pixels have none", "MOMENT1")
    inside = bool(((first[known] >= head["VMIN"] - 0.01) & (first[known] <= head["VMAX"] + 0.01)).all())
    allowed = f"{head['VMIN']:g} to {head['VMAX']:g} km/s"
    report.note("maps.velocity", inside, allowed, "velocities lie outside of the cube", "MOMENT1")
    width = head["VMAX"] - head["VMIN"]
    sound = bool(((second[known] >= 0) & (second[known] <= width)).all())
    report.note("maps.dispersion", sound, f"0 to {width:g} km/s", "dispersions are outside", "MOMENT2")
    report.summary = {"flux_jy_kms": flux, "pixels": list(zeroth.shape)}


def _check_mask(hdus: fits.HDUList, report: Report) -> None:
    data, number = hdus[0].data, hdus[0].header.get("NSOURCES")
    cube = data is not None and data.ndim == 3 and data.dtype.kind == "i" and isinstance(number, int)  # noqa: PLR2004
    if report.note("mask.cube", cube, "whole numbers on three axes, and NSOURCES", "it is not"):
        found = np.unique(data[data != 0])
        right = np.array_equal(found, np.arange(1, number + 1))
        report.note("mask.labels", right, f"0 to {number}, each", f"has {found[:10].tolist()}")
        report.summary = {"sources": number, "cells": int(np.count_nonzero(data))}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


CHECKS = {PART: _check_part, KIND_MAPS: _check_maps, KIND_MASK: _check_mask}
