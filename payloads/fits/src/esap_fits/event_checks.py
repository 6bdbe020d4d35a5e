"""Checks of an event file of the toy simulation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .detector import LAYOUTS, MODELS, PARTICLES
from .events import COLUMNS, EXTENSION, KEYWORDS
from .fits_checks import open_checked
from .report import Report

FORMAT = "esap-toy-events"
COUNTS = ("NTHROWN", "NTRIG", "SEED")


def check_events(path: Path) -> Report:
    """Make all checks of an event file."""
    report = Report(path.name, FORMAT)
    hdus = open_checked(path, report)
    if hdus is None:
        return report
    table = hdus[EXTENSION] if EXTENSION in hdus else None  # noqa: SIM401 - an HDUList has no get
    header_is_right = _check_header(table, report)
    if _check_columns(table, report) and header_is_right:
        _check_values(table, report)
    if table is not None:
        keys = [*(keyword for keyword, _ in KEYWORDS.values()), *COUNTS]
        report.summary = {"header": {key: table.header[key] for key in keys if key in table.header}}
    return report


def _check_header(table: Any, report: Report) -> bool:
    header = {} if table is None else table.header
    missing = [key for key in (*(k for k, _ in KEYWORDS.values()), *COUNTS) if key not in header]
    problems = [f"{', '.join(missing)} missing"] if missing else []
    if not missing:
        if (header["SITE"], header["LAYOUT"]) not in LAYOUTS:
            problems.append(f"SITE, LAYOUT = {header['SITE']!r}, {header['LAYOUT']!r}")
        if header["MODEL"] not in MODELS:
            problems.append(f"MODEL = {header['MODEL']!r}")
        if header["PARTICLE"] not in PARTICLES:
            problems.append(f"PARTICLE = {header['PARTICLE']!r}")
        if not 0 < header["E_MIN"] < header["E_MAX"]:
            problems.append(f"E_MIN, E_MAX = {header['E_MIN']}, {header['E_MAX']}")
    return report.add(
        "events.header",
        EXTENSION,
        not problems,
        value="; ".join(problems) or "complete",
        allowed="what was thrown, by known names",
        message="; ".join(problems),
    )


def _check_columns(table: Any, report: Report) -> bool:
    units = {} if table is None else {c.name: c.unit or "" for c in table.columns}
    missing = [name for name in COLUMNS if name not in units]
    report.add(
        "events.columns",
        EXTENSION,
        not missing,
        value=", ".join(units),
        allowed=", ".join(COLUMNS),
        message=f"{', '.join(missing)} missing",
    )
    wrong = [
        f"{name} in {units[name]!r}, not {unit!r}"
        for name, (_, unit) in COLUMNS.items()
        if name in units and units[name] != unit
    ]
    report.add(
        "events.units",
        EXTENSION,
        not wrong,
        value="; ".join(wrong) or "right",
        allowed="energies in TeV, angles in deg",
        message="; ".join(wrong),
    )
    return not missing and not wrong


def _check_values(table: Any, report: Report) -> None:
    header, data = table.header, table.data
    not_finite = sum(int((~np.isfinite(data[name])).sum()) for name in COLUMNS)
    report.add(
        "events.finite",
        EXTENSION,
        not not_finite,
        value=not_finite,
        allowed="0",
        message=f"{not_finite} values are not finite",
    )
    slack = 1e-6  # columns are single precision
    energy, offset = data["TRUE_ENERGY"], data["TRUE_OFFSET"]
    outside = {
        "TRUE_ENERGY": (energy < header["E_MIN"] * (1 - slack)) | (energy > header["E_MAX"] * (1 + slack)),
        "TRUE_OFFSET": (offset < 0) | (offset > header["VIEWCONE"] * (1 + slack)),
        "RECO_ENERGY": data["RECO_ENERGY"] <= 0,
        "RECO_OFFSET": data["RECO_OFFSET"] < 0,
        "THETA": data["THETA"] < 0,
    }
    counts = {name: int(bad.sum()) for name, bad in outside.items() if bad.any()}
    report.add(
        "events.ranges",
        EXTENSION,
        not counts,
        value=sum(counts.values()),
        allowed="0 outside of what was thrown",
        message=", ".join(f"{n} of {name} are out of range" for name, n in counts.items()),
    )
    ids = data["EVENT_ID"]
    rising = bool((np.diff(ids) > 0).all()) and (not len(ids) or 0 <= ids[0] <= ids[-1] < header["NTHROWN"])
    counted = len(data) == header["NTRIG"] and rising
    report.add(
        "events.count",
        EXTENSION,
        counted,
        value=len(data),
        allowed=f"NTRIG = {header['NTRIG']} with rising EVENT_ID below NTHROWN",
        message=f"{len(data)} rows, NTRIG says {header['NTRIG']}, EVENT_ID rises: {rising}",
    )
