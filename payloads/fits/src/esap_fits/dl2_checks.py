"""Checks of the light chain's DL2 file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .dl2 import COLUMNS, EXTENSION, KEYWORDS
from .fits_checks import open_checked
from .report import Report
from .table_checks import check_keywords, count_check, find_table, read_columns

FORMAT = "esap-toy-dl2"
TEXTS, WHOLE = ("SITE", "CREATOR"), ("OBS_ID", "SB_ID", "NEVENTS")


def check_dl2(path: Path) -> Report:
    """Make all checks of a DL2 file."""
    report = Report(path.name, FORMAT)
    hdus = open_checked(path, report)
    table = None if hdus is None else find_table(hdus, EXTENSION, report)
    if table is None:
        return report
    wanted = {key: str if key in TEXTS else int if key in WHOLE else float for key in KEYWORDS}
    complete = check_keywords(table, wanted, report)
    data = read_columns(table, COLUMNS, report)
    if data is None or not complete:
        return report
    header, count = table.header, len(data["TIME"])
    report.add(
        "dl2.count",
        EXTENSION,
        count == header["NEVENTS"],
        value=count,
        allowed=f"NEVENTS = {header['NEVENTS']}",
        message=f"there are {count} events, the header says {header['NEVENTS']}",
    )
    not_finite = ~np.isfinite([data[name] for name in ("TIME", "ENERGY", "EAST", "NORTH")])
    count_check(report, "dl2.finite", EXTENSION, not_finite, "values are not finite")
    count_check(report, "dl2.energies", EXTENSION, ~(data["ENERGY"] > 0), "energies are not above 0")
    outside = (data["TIME"] < header["TSTART"]) | (data["TIME"] > header["TSTOP"])
    count_check(report, "dl2.times", EXTENSION, outside, "events are outside TSTART to TSTOP")
    report.summary = {"header": {key: header[key] for key in KEYWORDS}, "events": count}
    return report
