"""Checks of a catalogue: a VOTable with units and UCDs, whose sources are where the maps have flux."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import votable
from astropy.io.votable.tree import VOTableFile
from astropy.io.votable.ucd import check_ucd
from astropy.wcs import WCS
from esap_fits.report import READABLE, Report
from esap_fits.strict import DamagedError, load, parse

from .sky import SYSTEM, to_pixels
from .sources import COLUMNS
from .votable import FRAMES, PLACE

POSITIVE = ("f_sum", "f_sum_err", "f_max", "n_cells", "n_pix", "n_chan")


def check_catalogue(path: Path, maps: Path | None) -> Report:
    """Make all checks; with `maps` also that sources lie on them and have their flux together."""
    report = Report(path.name, "votable")
    document, problem = _read(path)
    if not report.note(READABLE, not problem, "a VOTable", f"cannot be read: {problem}"):
        return report
    assert document is not None
    table = document.get_first_table()
    fields = {str(f.name): f for f in table.fields}
    if "f_sum" not in fields:  # somebody's own catalogue: that it can be read is all there is to ask
        return report
    report.format = "esap-hi-catalogue"
    missing = [n for n in COLUMNS if n not in fields]
    if not report.note(
        "catalogue.columns", not missing, ", ".join(COLUMNS), f"missing: {', '.join(missing)}"
    ):
        return report
    wrong = [n for n, (unit, _, _) in COLUMNS.items() if not _same_unit(fields[n].unit, unit)]
    report.note("catalogue.units", not wrong, "those of every column", f"wrong: {', '.join(wrong)}")
    wrong = [
        n for n, f in fields.items() if not (f.ucd and check_ucd(f.ucd, check_controlled_vocabulary=True))
    ]
    report.note("catalogue.ucds", not wrong, "UCD1+ of every column", f"wrong: {', '.join(wrong)}")
    frames = {s.ID: s.system for r in document.resources for s in r.coordinate_systems}
    found = [frames.get(fields[n].ref) for n in PLACE]
    report.note("catalogue.frame", found == [SYSTEM] * len(PLACE), SYSTEM, f"positions are in {found}")
    params = {str(p.name): p for p in table.params}
    missing = [n for n in FRAMES if n not in params]
    report.note("catalogue.rest", not missing, ", ".join(FRAMES), f"missing: {', '.join(missing)}")
    rows = table.to_table()
    _check_rows(rows, report)
    if maps is not None:
        _check_against(rows, maps, report)
    report.summary = {"sources": len(rows), "flux_jy_kms": _flux(rows)}
    return report


def _plain(column: Any) -> Any:
    return np.ma.filled(np.ma.asarray(column, dtype=float), np.nan)


def _flux(rows: Any) -> float:
    return float(_plain(rows["f_sum"]).sum())


def _read(path: Path) -> tuple[VOTableFile | None, str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return votable.parse(path, verify="exception"), ""
    except Exception as error:  # expat, astropy and numpy raise errors of many kinds on damaged files
        return None, f"{type(error).__name__}: {str(error)[:200]}"


def _same_unit(found: Any, wanted: str) -> bool:
    try:
        return bool(u.Unit(found or "") == u.Unit(wanted))
    except (ValueError, TypeError):
        return False


def _check_rows(rows: Any, report: Report) -> None:
    numbers = {n: _plain(rows[n]) for n in COLUMNS if n != "name"}
    finite = [n for n, values in numbers.items() if not np.isfinite(values).all()]
    report.note("catalogue.values", not finite, "numbers", f"some are none in {', '.join(finite)}")
    unique = np.array_equal(numbers["id"], np.arange(1, len(rows) + 1))
    report.note("catalogue.ids", unique, "1, 2, 3, ...", "they are not")
    negative = [n for n in POSITIVE if (numbers[n] <= 0).any()]
    report.note("catalogue.positive", not negative, "above 0", f"{', '.join(negative)} is not everywhere")
    inside = (numbers["v_min"] <= numbers["v_rad"]) & (numbers["v_rad"] <= numbers["v_max"])
    report.note("catalogue.velocity", bool(inside.all()), "v_min to v_max", "v_rad lies outside")
    sky = (numbers["ra"] >= 0) & (numbers["ra"] < 360) & (np.abs(numbers["dec"]) <= 90)  # noqa: PLR2004
    report.note("catalogue.sky", bool(sky.all()), "0 to 360 deg, -90 to 90 deg", "a position lies outside")


def _check_against(rows: Any, maps: Path, report: Report) -> None:
    try:
        hdus = parse(load(maps))
        header, zeroth = hdus["MOMENT0"].header, np.asarray(hdus["MOMENT0"].data)
        flux = float(hdus[0].header["FLUX"])
    except (DamagedError, KeyError, OSError) as error:
        report.note("catalogue.maps", False, "maps to compare with", f"{maps.name} cannot be read: {error}")
        return
    x, y = (np.atleast_1d(v) for v in to_pixels(WCS(header), _plain(rows["ra"]), _plain(rows["dec"])))
    height, width = zeroth.shape
    inside = (np.rint(x) >= 0) & (np.rint(x) < width) & (np.rint(y) >= 0) & (np.rint(y) < height)
    report.note(
        "catalogue.positions", bool(inside.all()), "on the map", f"{int((~inside).sum())} lie outside"
    )
    total = _flux(rows)
    same = bool(np.isclose(total, flux, rtol=1e-6, atol=1e-12))
    report.note("catalogue.flux", same, f"{flux:g} Jy km/s, that of the maps", f"adds up to {total:g}")
