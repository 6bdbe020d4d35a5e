"""Checks of an analysis' ROOT file, read again from disk, and of the summary beside it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from esap_fits.reading import PayloadError
from esap_fits.report import READABLE, Report

from .merge import FORMAT, STEP, measure
from .opening import HISTOGRAM, TREE, UNREADABLE, classes, first_line, is_class, open_root, plain_type
from .peak import NoPeak, find_peak, read_histogram
from .profile import PeakProfile, Profile

CLOSE = 1e-9  # relative, between a number and the same computed anew
MEMBERS = ("files", "entries", "histograms", "peak")


def check_analysis(path: Path, profile: Profile) -> Report:
    """Make all checks of a ROOT file against a profile. Everything in it is read to the last entry."""
    report = Report(path.name, "root")
    try:
        with open_root(path) as file:
            found = classes(file)
            report.add(READABLE, "FILE", True, value="read", allowed="a whole ROOT file", message="")
            _check_objects(report, found, profile)
            for name, kind in found.items():
                if kind == TREE:
                    _check_tree(report, name, file[name], profile.min_entries)
                elif is_class(kind, HISTOGRAM):
                    _check_histogram(report, name, file[name])
            if profile.peak and is_class(found.get(profile.peak.histogram, ""), HISTOGRAM):
                _check_peak(report, file[profile.peak.histogram], profile.peak)
    except UNREADABLE as error:
        why = first_line(error)
        report.add(
            READABLE, "FILE", False, value=why, allowed="a whole ROOT file", message=f"cannot be read: {why}"
        )
    return report


def _check_objects(report: Report, found: dict[str, str], profile: Profile) -> None:
    for name, wanted in profile.required.items():
        there = name in found
        if report.add(
            "objects.present",
            name,
            there,
            value=name if there else None,
            allowed=wanted,
            message=f"is missing: there are {', '.join(sorted(found)) or 'no objects'}",
        ):
            report.add(
                "objects.class",
                name,
                is_class(found[name], wanted),
                value=found[name],
                allowed=wanted,
                message=f"is a {found[name]}",
            )


def _check_tree(report: Report, name: str, tree: Any, least: int) -> None:
    count = int(tree.num_entries)
    report.summary[name] = count
    report.add(
        "tree.entries", name, count >= least, value=count, allowed=f"at least {least}", message="is too short"
    )
    jagged = sorted(b.name for b in tree.branches if plain_type(b) is None)
    message = f"no plain numbers: {', '.join(jagged)}: files of several jobs cannot be merged"
    report.add(
        "tree.plain", name, not jagged, value=len(jagged), allowed="one number an entry", message=message
    )
    lengths = {b.name: int(b.num_entries) for b in tree.branches}
    uneven = sorted(n for n, length in lengths.items() if length != count)
    read = dict.fromkeys(lengths, 0)
    odd: set[str] = set()
    for part in tree.iterate(step_size=STEP, library="np"):
        for branch, values in part.items():
            read[branch] += len(values)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                odd.add(branch)
    uneven = sorted({*uneven, *(n for n, length in read.items() if length != count)})
    message = f"not {count} entries: {', '.join(uneven)}"
    report.add(
        "tree.complete",
        name,
        not uneven,
        value=len(uneven),
        allowed="as many in each branch",
        message=message,
    )
    message = f"not finite: {', '.join(sorted(odd))}"
    report.add("values.finite", name, not odd, value=len(odd), allowed="finite numbers", message=message)


def _check_histogram(report: Report, name: str, histogram: Any) -> None:
    counts, edges, variances = read_histogram(histogram)
    finite = bool(all(np.isfinite(values).all() for values in (counts, edges, variances)))
    report.add(
        "values.finite",
        name,
        finite,
        value=None,
        allowed="finite numbers",
        message="a bin, its error or an edge is not finite",
    )
    sound = finite and bool((counts >= 0).all()) and float(counts.sum()) > 0
    total = float(counts.sum()) if finite else None
    report.add(
        "histogram.contents",
        name,
        sound,
        value=total,
        allowed="entries, none below 0",
        message="is empty or negative",
    )


def _check_peak(report: Report, histogram: Any, wanted: PeakProfile) -> None:
    low, high = wanted.window_gev
    allowed = f"{low:g}..{high:g} GeV"
    try:
        peak = find_peak(*read_histogram(histogram), *wanted.search_gev)
    except NoPeak as none:
        report.add(
            "peak.window", wanted.histogram, False, value=None, allowed=allowed, message=first_line(none)
        )
        return
    report.summary["peak_mean_gev"] = peak.mean_gev
    inside = low <= peak.mean_gev <= high
    message = f"the peak is at {peak.mean_gev:.5f} GeV"
    report.add("peak.window", wanted.histogram, inside, value=peak.mean_gev, allowed=allowed, message=message)
    report.add(
        "peak.significance",
        wanted.histogram,
        peak.significance >= wanted.min_significance,
        value=peak.significance,
        allowed=f"at least {wanted.min_significance:g}",
        message=f"is {peak.significance:.2g}",
    )


def check_result(path: Path, root: Path, profile: Profile) -> Report:
    """Compare a summary with the ROOT file that it is of, measured anew."""
    report = Report(path.name, FORMAT)
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(given, dict):
            raise ValueError("it is no JSON object")
        measured = measure(root, profile)
    except (OSError, ValueError, PayloadError) as error:
        why = first_line(error)
        report.add(
            READABLE, "FILE", False, value=why, allowed="a JSON object", message=f"cannot be read: {why}"
        )
        return report
    report.add(READABLE, "FILE", True, value="read", allowed="a JSON object", message="")
    lacking = [m for m in MEMBERS if m not in given]
    sound = not lacking and given.get("format") == FORMAT
    report.add(
        "result.members",
        "FILE",
        sound,
        value=str(given.get("format")),
        allowed=", ".join(MEMBERS),
        message=f"format or members are wrong: {', '.join(lacking)}",
    )
    for name, value in measured.items():
        message = f"is {json.dumps(given.get(name))[:80]}, measured anew {json.dumps(value)[:80]}"
        report.add(
            "result.agrees",
            name,
            same(given.get(name), value),
            value=None,
            allowed="as in the file",
            message=message,
        )
    return report


def same(given: Any, wanted: Any) -> bool:
    """Compare JSON values; numbers as far as text keeps them."""
    if isinstance(wanted, dict):
        return (
            isinstance(given, dict)
            and given.keys() == wanted.keys()
            and all(same(given[k], v) for k, v in wanted.items())
        )
    if isinstance(wanted, list):
        return (
            isinstance(given, list)
            and len(given) == len(wanted)
            and all(same(g, w) for g, w in zip(given, wanted, strict=True))
        )
    if isinstance(wanted, float) and isinstance(given, int | float) and not isinstance(given, bool):
        return math.isclose(given, wanted, rel_tol=CLOSE, abs_tol=CLOSE)
    return bool(given == wanted)
