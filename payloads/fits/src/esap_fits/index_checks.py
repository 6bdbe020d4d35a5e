"""Checks of GADF's index tables, and of the files that they point to where those lie beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import sky
from .dl3 import DERIVED_COLUMNS, EVENTS, HDU_COLUMNS, HDU_INDEX, INDEX_COLUMNS, OBS_INDEX
from .fits_checks import open_checked
from .report import Report
from .strict import DamagedError, load, parse
from .table_checks import check_classes, check_keywords, count_check, read_columns

FORMAT = "gadf-index"
FILE = "FILE"
CLOCK: Mapping[str, type] = {"MJDREFI": int, "MJDREFF": float, "TIMEUNIT": str, "TIMESYS": str}
NEEDED = {n: c for n, c in (INDEX_COLUMNS | DERIVED_COLUMNS).items() if n not in ("QUALITY", "EVENT_COUNT")}
HDU_TYPES = ("events", "gti", "aeff", "psf", "edisp", "bkg", "rad_max")
POINTING_SLACK_DEG = 1e-3


def check_index(path: Path) -> Report:
    """Make all checks of an observation index or of an HDU index, whichever it is."""
    report = Report(path.name, FORMAT)
    hdus = open_checked(path, report)
    if hdus is None:
        return report
    found = [hdu for hdu in hdus if hdu.name in (OBS_INDEX, HDU_INDEX)]
    report.add(
        "index.kind",
        FILE,
        len(found) == 1,
        value=", ".join(hdu.name for hdu in found) or "none",
        allowed=f"one table, {OBS_INDEX} or {HDU_INDEX}",
        message=f"{len(found)} tables are named {OBS_INDEX} or {HDU_INDEX}",
    )
    if len(found) != 1:
        return report
    table = found[0]
    if table.name == OBS_INDEX:
        _check_observations(table, path.parent, report)
    else:
        _check_hdus(table, path.parent, report)
    report.summary = {"kind": table.name, "rows": len(table.data)}
    return report


def _check_observations(table: Any, directory: Path, report: Report) -> None:
    check_classes(table, ["INDEX", "OBS"], report)
    check_keywords(table, CLOCK, report)
    data = read_columns(table, NEEDED, report)
    if data is None:
        return
    _check_rows(data, table.name, report)
    count_check(
        report, "index.span", table.name, ~(data["TSTOP"] > data["TSTART"]), "rows end before their start"
    )
    repeated = len(data["OBS_ID"]) - len(set(data["OBS_ID"].tolist()))
    report.add(
        "index.obs_ids",
        table.name,
        repeated == 0,
        value=repeated,
        allowed="0",
        message=f"{repeated} OBS_ID are there before",
    )
    headers = _headers_beside(directory)
    problems = [
        problem
        for row, obs_id in enumerate(data["OBS_ID"].tolist())
        if obs_id in headers
        for problem in _differences({name: data[name][row] for name in data}, headers[obs_id])
    ]
    _note_agreement(problems, table.name, report)


def _headers_beside(directory: Path) -> dict[int, Any]:
    """Give the event headers of the DL3 files in a directory; unreadable ones are for another check."""
    headers = {}
    for path in sorted(directory.glob("dl3_*.fits*")):
        try:
            hdus = parse(load(path))
        except DamagedError:
            continue
        if EVENTS in hdus and "OBS_ID" in hdus[EVENTS].header:
            headers[hdus[EVENTS].header["OBS_ID"]] = hdus[EVENTS].header
    return headers


def _differences(row: Mapping[str, Any], header: Any) -> list[str]:
    where = f"OBS_ID {row['OBS_ID']}"
    wrong = [
        f"{where}: {name} = {row[name]}, the file has {header.get(name)}"
        for name in ("ONTIME", "LIVETIME", "TSTART", "TSTOP")
        if name not in header or abs(row[name] - header[name]) > 1e-3  # noqa: PLR2004 - s
    ]
    there = [header.get(key) for key in ("RA_PNT", "DEC_PNT")]
    if None in there or sky.separation(row["RA_PNT"], row["DEC_PNT"], *there) > POINTING_SLACK_DEG:
        wrong.append(f"{where}: pointing {row['RA_PNT']:g}, {row['DEC_PNT']:g}, the file has {there}")
    return wrong


def _check_hdus(table: Any, directory: Path, report: Report) -> None:
    check_classes(table, ["INDEX", "HDU"], report)
    data = read_columns(table, HDU_COLUMNS, report)
    if data is None:
        return
    _check_rows(data, table.name, report)
    unknown = sorted({kind for kind in data["HDU_TYPE"] if kind not in HDU_TYPES})
    report.add(
        "index.hdu_types",
        table.name,
        not unknown,
        value=", ".join(unknown) or "known",
        allowed=", ".join(HDU_TYPES),
        message=f"unknown: {', '.join(unknown)}",
    )
    absolute = [d for d in data["FILE_DIR"] if Path(d).is_absolute()]
    report.add(
        "index.relative",
        table.name,
        not absolute,
        value=", ".join(absolute) or "relative",
        allowed="directories relative to the index",
        message=f"{', '.join(absolute)} is absolute",
    )
    rows = [{name: data[name][n] for name in data} for n in range(len(data["OBS_ID"]))]
    missing = sorted({r["FILE_NAME"] for r in rows if not _place(directory, r).is_file()})
    report.add(
        "index.files",
        table.name,
        not missing,
        value=", ".join(missing) or "all there",
        allowed="files that are there",
        message=f"{', '.join(missing)} is not there",
    )
    _note_agreement([p for r in rows for p in _hdu_problems(directory, r)], table.name, report)


def _place(directory: Path, row: Mapping[str, Any]) -> Path:
    return directory / str(row["FILE_DIR"]) / str(row["FILE_NAME"])


def _hdu_problems(directory: Path, row: Mapping[str, Any]) -> list[str]:
    path = _place(directory, row)
    if not path.is_file():
        return []
    wrong = []
    if path.stat().st_size != row["SIZE"]:
        wrong.append(f"{path.name}: SIZE = {row['SIZE']}, the file has {path.stat().st_size}")
    try:
        hdus = parse(load(path))
    except DamagedError as error:
        return [*wrong, f"{path.name} cannot be read: {error}"]
    if row["HDU_NAME"] not in hdus:
        return [*wrong, f"{path.name} has no HDU {row['HDU_NAME']}"]
    found = hdus[row["HDU_NAME"]].header.get("OBS_ID")
    if found is not None and found != row["OBS_ID"]:
        wrong.append(f"{path.name}: OBS_ID = {row['OBS_ID']}, the file has {found}")
    return wrong


def _check_rows(data: Mapping[str, Any], target: str, report: Report) -> None:
    rows = len(data["OBS_ID"])
    report.add("index.not_empty", target, rows > 0, value=rows, allowed="> 0", message="there is no row")


def _note_agreement(problems: list[str], target: str, report: Report) -> None:
    report.add(
        "index.agreement",
        target,
        not problems,
        value="; ".join(problems) or "agrees",
        allowed="what the files beside it say",
        message="; ".join(problems),
    )
