"""Checks of reduced data, read again from disk, and of the summary beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from esap_fits.reading import Key, PayloadError, read_document
from esap_fits.report import READABLE, Report

from .analysis_checks import same
from .opening import TREE, UNREADABLE, classes, first_line, open_root
from .reduced import CAMPAIGN, COLUMNS, DOMS, EVENTS, RUNS, Tables, read_campaign_of, read_tables
from .reduced_merge import FORMAT, summarise

WHOLE = "a whole ROOT file"


def _are_runs(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(v) is int for v in value)


KEYS = {
    "runs": Key("a list of run numbers", _are_runs),
    "campaign": Key("an object", lambda v: isinstance(v, dict)),
}


def read_expected(path: Path) -> dict[str, Any]:
    """Read what a file has to be about; PayloadError names what is wrong."""
    document: dict[str, Any] = read_document(path, KEYS)
    return document


def check_reduced(path: Path, expected: Mapping[str, Any]) -> Report:
    """Make all checks of reduced data: the trees have to agree with each other, number by number."""
    report = Report(path.name, "root")
    try:
        with open_root(path) as file:
            report.add(READABLE, "FILE", True, value="read", allowed=WHOLE, message="")
            if not _check_objects(report, file):
                return report
            campaign, tables = read_campaign_of(file), read_tables(file)
    except UNREADABLE as error:
        return _unreadable(report, WHOLE, error)
    right = same(campaign, expected["campaign"])
    report.note(
        "campaign.parameters", right, str(expected["campaign"].get("name")), f"is {campaign}", CAMPAIGN
    )
    _check_tables(report, tables, sorted(expected["runs"]), campaign)
    return report


def _check_objects(report: Report, file: Any) -> bool:
    found = classes(file)
    sound = report.note("objects.present", CAMPAIGN in found, "text", "is missing", CAMPAIGN)
    for name, columns in COLUMNS.items():
        there = found.get(name) == TREE
        sound &= report.note("objects.present", there, TREE, f"is {found.get(name, 'missing')}", name)
        if there:
            tree = file[name]
            lengths = {b.name: int(b.num_entries) for b in tree.branches}
            lacking = sorted(set(columns) - set(lengths))
            sound &= report.note("tree.columns", not lacking, ", ".join(columns), f"lacks {lacking}", name)
            uneven = sorted(n for n, length in lengths.items() if length != tree.num_entries)
            allowed = f"{tree.num_entries} entries in each branch"
            sound &= report.note("tree.complete", not uneven, allowed, f"other numbers in {uneven}", name)
    return sound


def _check_tables(report: Report, tables: Tables, runs: list[int], campaign: Mapping[str, Any]) -> None:
    for name, columns in tables.items():
        low = sorted(c for c, values in columns.items() if (np.asarray(values) < 0).any())
        report.note("values.range", not low, "at least 0", f"below 0: {low}", name)
    found = tables[RUNS]["run"].tolist()
    report.note("runs.expected", found == runs, f"runs {runs}", f"has runs {found}", RUNS)
    events, doms = tables[EVENTS], tables[DOMS]
    for table, counted, target in (
        ((events, None), "events_kept", EVENTS),
        ((events, "hits"), "hits_kept", EVENTS),
        ((doms, "hits"), "hits_kept", DOMS),
    ):
        told = dict(zip(found, tables[RUNS][counted].tolist(), strict=True))
        sums = _by_run(table[0], table[1], found)
        message = f"{counted} by run is {told}, {target} has {sums}"
        report.note("counts.agree", told == sums, f"{counted} of each run", message, target)
    strange = sorted(set(events["run"].tolist()) - set(found))
    report.note("runs.expected", not strange, "runs of the file", f"events of runs {strange}", EVENTS)
    least = campaign.get("min_triggered_hits", 0), campaign.get("min_doms", 0)
    cut = bool((events["triggered_hits"] >= least[0]).all() and (events["doms"] >= least[1]).all())
    cut = cut and bool((events["hits"] <= events["snapshot_hits"]).all())
    report.note(
        "campaign.cuts", cut, "what the cuts let through", "has events that the cuts take away", EVENTS
    )
    report.summary = {"runs": len(found), "events": len(events["run"])}


def _by_run(table: Mapping[str, Any], column: str | None, runs: list[int]) -> dict[int, int]:
    chosen = {run: table["run"] == run for run in runs}
    return {run: int(table[column][m].sum() if column else m.sum()) for run, m in chosen.items()}


def check_summary(path: Path, root: Path) -> Report:
    """Compare a summary with the ROOT file that it is of, added up anew."""
    report = Report(path.name, FORMAT)
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(given, dict):
            raise ValueError("it is no JSON object")
        with open_root(root) as file:
            anew = summarise(read_tables(file), read_campaign_of(file))
    except (*UNREADABLE, PayloadError) as error:
        return _unreadable(report, "a JSON object", error)
    report.add(READABLE, "FILE", True, value="read", allowed="a JSON object", message="")
    sound = given.get("format") == FORMAT and given.keys() >= anew.keys()
    report.note("summary.members", sound, ", ".join(anew), f"has {sorted(given)}", "FILE")
    for name, value in anew.items():
        message = f"is {json.dumps(given.get(name))[:80]}, added up anew {json.dumps(value)[:80]}"
        report.note("summary.agrees", same(given.get(name), value), "as in the ROOT file", message, name)
    return report


def _unreadable(report: Report, allowed: str, error: BaseException) -> Report:
    why = first_line(error)
    report.add(READABLE, "FILE", False, value=why, allowed=allowed, message=f"cannot be read: {why}")
    return report
