"""Checks of an observation at data level 3 against GADF 0.3 and against what is expected of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import reading, sky
from .detector import Floats
from .dl3 import COLUMNS, EVENTS, GTI
from .fits_checks import open_checked
from .report import Report
from .table_checks import check_classes, check_keywords, count_check, find_table, read_columns

FORMAT = "gadf-dl3"
CLOCK: Mapping[str, type] = {
    "MJDREFI": int,
    "MJDREFF": float,
    "TIMEUNIT": str,
    "TIMESYS": str,
    "TIMEREF": str,
}
KEYWORDS: Mapping[str, type] = {
    **dict.fromkeys(("ORIGIN", "CREATOR", "TELESCOP", "INSTRUME", "OBJECT", "OBS_MODE", "RADECSYS"), str),
    **dict.fromkeys(("DATE-OBS", "DATE-END", "TIMEUNIT", "TIMESYS", "TIMEREF"), str),
    **dict.fromkeys(("OBS_ID", "MJDREFI"), int),
    **dict.fromkeys(("MJDREFF", "TSTART", "TSTOP", "TELAPSE", "ONTIME", "LIVETIME", "DEADC"), float),
    **dict.fromkeys(("RA_PNT", "DEC_PNT", "ALT_PNT", "AZ_PNT", "RA_OBJ", "DEC_OBJ", "EQUINOX"), float),
    **dict.fromkeys(("GEOLON", "GEOLAT", "ALTITUDE"), float),
}
GTI_COLUMNS = {"START": ("D", "s"), "STOP": ("D", "s")}


def _or_null(key: reading.Key) -> reading.Key:
    """Give a key that may also be null, or not there: nothing is expected then."""
    return reading.Key(f"{key.allowed}, or null", lambda v: v is None or key.accepts(v), None)


EXPECTED = {
    "obs_id": _or_null(reading.integer(0, 2**31)),
    "ra_pnt_deg": _or_null(reading.number(0, 360, "deg")),
    "dec_pnt_deg": _or_null(reading.number(-90, 90, "deg")),
    "tolerance_deg": reading.number(0, 180, "deg", 0.01),
    "start_time": _or_null(reading.date()),
    "stop_time": _or_null(reading.date()),
    "n_events_min": reading.integer(0, 2**53, 1),
}
CLOCK_SLACK_S = 1e-3
PERIOD_SLACK_S = 1.0
FIELD_OF_VIEW_DEG = 10.0


def read_expected(path: Path | None) -> dict[str, Any]:
    """Read what is expected; PayloadError names unknown keys and wrong values."""
    return reading.read_document(path, EXPECTED) if path else {n: key.default for n, key in EXPECTED.items()}


def check_dl3(path: Path, expected: Mapping[str, Any]) -> Report:
    """Make all checks of a DL3 file; `expected` as `read_expected` gives it."""
    report = Report(path.name, FORMAT)
    hdus = open_checked(path, report)
    if hdus is None:
        return report
    events, gti = find_table(hdus, EVENTS, report), find_table(hdus, GTI, report)
    intervals = None if gti is None else _check_gti(gti, report)
    if events is None:
        return report
    check_classes(events, ["EVENTS"], report)
    complete = check_keywords(events, KEYWORDS, report)
    data = read_columns(events, COLUMNS_NEEDED, report)
    if complete:
        _check_header(events.header, intervals, report)
        _check_expected(events.header, expected, report)
    if data is not None:
        _check_events(data, expected["n_events_min"], report)
        if complete and intervals is not None:
            _check_times(data["TIME"], events.header, intervals, report)
        if complete:
            _check_field(data, events.header, report)
    report.summary = _summary(events.header, 0 if data is None else len(data["TIME"]))
    return report


COLUMNS_NEEDED = {name: COLUMNS[name] for name in ("EVENT_ID", "TIME", "RA", "DEC", "ENERGY")}


def _check_gti(gti: Any, report: Report) -> tuple[Floats, Floats] | None:
    """Give starts and stops when they are sound."""
    check_classes(gti, ["GTI"], report)
    sound = check_keywords(gti, CLOCK, report)
    data = read_columns(gti, GTI_COLUMNS, report)
    if data is None:
        return None
    start, stop = data["START"], data["STOP"]
    sound &= report.add(
        "gti.not_empty", GTI, len(start) > 0, value=len(start), allowed="> 0", message="there is no interval"
    )
    sound &= count_check(
        report, "gti.positive", GTI, ~(stop > start), "intervals do not end after their start"
    )
    sound &= count_check(
        report, "gti.order", GTI, ~(start[1:] >= stop[:-1]), "intervals begin before the last"
    )
    return (start, stop) if sound else None


def _check_header(header: Any, intervals: tuple[Floats, Floats] | None, report: Report) -> None:
    start, stop = header["TSTART"], header["TSTOP"]
    tests = [
        ("dl3.span", stop > start, f"{start} to {stop}", "TSTART before TSTOP"),
        ("dl3.live_share", 0 < header["DEADC"] <= 1, header["DEADC"], "above 0, at most 1"),
        (
            "dl3.livetime",
            0 < header["LIVETIME"] <= header["ONTIME"] * (1 + 1e-9)
            and abs(header["LIVETIME"] - header["DEADC"] * header["ONTIME"]) <= 1e-6 * header["ONTIME"],
            header["LIVETIME"],
            f"DEADC * ONTIME = {header['DEADC'] * header['ONTIME']:.6f} s, at most ONTIME",
        ),
        (
            "dl3.elapsed",
            abs(header["TELAPSE"] - (stop - start)) <= CLOCK_SLACK_S,
            header["TELAPSE"],
            "TSTOP - TSTART",
        ),
        ("dl3.declination", abs(header["DEC_PNT"]) <= 90, header["DEC_PNT"], "-90 to 90"),  # noqa: PLR2004
        ("dl3.right_ascension", 0 <= header["RA_PNT"] <= 360, header["RA_PNT"], "0 to 360"),  # noqa: PLR2004
    ]
    if intervals is not None:
        first, last = float(intervals[0].min()), float(intervals[1].max())
        total = float((intervals[1] - intervals[0]).sum())
        inside = start - CLOCK_SLACK_S <= first and last <= stop + CLOCK_SLACK_S
        tests += [
            ("gti.span", inside, f"{first} to {last}", f"{start} to {stop}"),
            (
                "dl3.ontime",
                abs(header["ONTIME"] - total) <= CLOCK_SLACK_S,
                header["ONTIME"],
                f"{total} s of GTI",
            ),
        ]
    for name, passed, value, allowed in tests:
        report.add(name, EVENTS, passed, value=value, allowed=allowed, message=f"{value}: allowed {allowed}")


def _check_expected(header: Any, expected: Mapping[str, Any], report: Report) -> None:
    tests: list[tuple[str, bool, Any, str]] = []
    if expected["obs_id"] is not None:
        wanted = expected["obs_id"]
        tests.append(("dl3.obs_id", header["OBS_ID"] == wanted, header["OBS_ID"], str(wanted)))
    ra, dec = expected["ra_pnt_deg"], expected["dec_pnt_deg"]
    if ra is not None and dec is not None:
        off = sky.separation(header["RA_PNT"], header["DEC_PNT"], ra, dec)
        value = f"{header['RA_PNT']:g}, {header['DEC_PNT']:g} deg"
        allowed = f"{ra:g}, {dec:g} deg within {expected['tolerance_deg']:g} deg"
        tests.append(("dl3.pointing", off <= expected["tolerance_deg"], value, allowed))
    for key, name in (("TSTART", "start_time"), ("TSTOP", "stop_time")):
        if expected[name] is not None:
            off = abs(header[key] - sky.seconds(expected[name]))
            tests.append((f"dl3.{name}", off <= PERIOD_SLACK_S, sky.utc(header[key]), expected[name]))
    for check, passed, value, allowed in tests:
        message = f"{value}: expected {allowed}"
        report.add(check, EVENTS, passed, value=value, allowed=allowed, message=message)


def _check_events(data: Mapping[str, Any], least: int, report: Report) -> None:
    count = len(data["TIME"])
    report.add(
        "dl3.n_events",
        EVENTS,
        count >= max(1, least),
        value=count,
        allowed=f">= {max(1, least)}",
        message=f"there are {count} events",
    )
    numbers = [data[name] for name in ("TIME", "RA", "DEC", "ENERGY")]
    count_check(report, "dl3.finite", EVENTS, ~np.isfinite(numbers), "values are not finite")
    count_check(report, "dl3.energies", EVENTS, ~(data["ENERGY"] > 0), "energies are not above 0")
    outside = (data["RA"] < 0) | (data["RA"] > 360) | (np.abs(data["DEC"]) > 90)  # noqa: PLR2004
    count_check(report, "dl3.directions", EVENTS, outside, "directions are not on the sphere")
    doubled = count - len(np.unique(data["EVENT_ID"]))
    report.add(
        "dl3.event_ids",
        EVENTS,
        doubled == 0,
        value=doubled,
        allowed="0",
        message=f"{doubled} EVENT_ID are there before",
    )


def _check_times(time: Floats, header: Any, intervals: tuple[Floats, Floats], report: Report) -> None:
    start, stop = intervals
    last = np.clip(np.searchsorted(start, time + CLOCK_SLACK_S, side="right") - 1, 0, None)
    outside = (time < start[last] - CLOCK_SLACK_S) | (time > stop[last] + CLOCK_SLACK_S)
    count_check(report, "dl3.good_times", EVENTS, outside, "events are outside the good time intervals")
    outside = (time < header["TSTART"] - CLOCK_SLACK_S) | (time > header["TSTOP"] + CLOCK_SLACK_S)
    count_check(report, "dl3.times", EVENTS, outside, "events are outside TSTART to TSTOP")


def _check_field(data: Mapping[str, Any], header: Any, report: Report) -> None:
    ra, dec = np.radians(data["RA"] - header["RA_PNT"]), np.radians(data["DEC"])
    here = np.radians(header["DEC_PNT"])
    cosine = np.sin(here) * np.sin(dec) + np.cos(here) * np.cos(dec) * np.cos(ra)
    far = ~(cosine >= np.cos(np.radians(FIELD_OF_VIEW_DEG)))
    what = f"events are more than {FIELD_OF_VIEW_DEG:g} deg from the pointing"
    count_check(report, "dl3.field_of_view", EVENTS, far, what)


SUMMARY_KEYWORDS = (
    "TELESCOP", "OBS_ID", "SB_ID", "OBJECT", "PROJECT", "SITE", "RA_PNT", "DEC_PNT", "DATE-OBS", "DATE-END",
    "ONTIME", "LIVETIME", "NMISSING", "CAMPAIGN", "STANDIN", "CREATOR", "DATE",
)  # fmt: skip


def _summary(header: Any, events: int) -> dict[str, Any]:
    return {"header": {key: header[key] for key in SUMMARY_KEYWORDS if key in header}, "events": events}
