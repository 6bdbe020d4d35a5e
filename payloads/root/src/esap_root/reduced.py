"""The reduced data of runs: three trees and the campaign's parameters in one ROOT file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import uproot

EVENTS, RUNS, DOMS, CAMPAIGN = "events", "runs", "doms", "campaign"
COLUMNS = {
    EVENTS: (
        *("run", "frame_index", "utc_s", "wr_status", "trigger_counter", "trigger_mask", "snapshot_hits"),
        *("hits", "triggered_hits", "doms", "sum_tot_ns", "span_ns"),
    ),
    RUNS: ("run", "detector_id", "bytes_read", "events_read", "hits_read", "events_kept", "hits_kept"),
    DOMS: ("run", "dom_id", "hits"),
}
Tables = Mapping[str, Mapping[str, Any]]


def write_reduced(path: Path, tables: Tables, campaign: Mapping[str, Any]) -> None:
    """Write all tables, 64-bit integers throughout, and the campaign as JSON."""
    with uproot.recreate(path) as file:
        for name, columns in COLUMNS.items():
            file.mktree(name, dict.fromkeys(columns, np.dtype("i8")))
            if len(tables[name]["run"]):
                file[name].extend({c: np.asarray(tables[name][c], dtype="i8") for c in columns})
        file[CAMPAIGN] = json.dumps(campaign, sort_keys=True)


def joined(some: Sequence[Tables]) -> dict[str, dict[str, Any]]:
    """Put tables together: events in the order of time, and one row for each run and module of a run."""
    tables = {
        name: {c: np.concatenate([t[name][c] for t in some]) for c in columns}
        for name, columns in COLUMNS.items()
    }
    return {
        EVENTS: _ordered(tables[EVENTS], "run", "frame_index", "trigger_counter"),
        RUNS: _summed(tables[RUNS], "run", highest="detector_id"),  # 0 in a file without events
        DOMS: _summed(tables[DOMS], "run", "dom_id"),
    }


def read_tables(file: Any) -> dict[str, dict[str, Any]]:
    """Read all tables of an open file to the last entry."""
    return {name: file[name].arrays(list(columns), library="np") for name, columns in COLUMNS.items()}


def read_campaign_of(file: Any) -> dict[str, Any]:
    """Read the campaign of an open file; ValueError when it is no JSON object."""
    document = json.loads(str(file[CAMPAIGN]))
    if not isinstance(document, dict):
        raise ValueError("the campaign is no JSON object")
    return document


def _ordered(table: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    order = np.lexsort([table[key] for key in reversed(keys)])
    return {name: column[order] for name, column in table.items()}


def _summed(table: Mapping[str, Any], *keys: str, highest: str = "") -> dict[str, Any]:
    """Give one row for each value of the keys: sums, and of the column `highest` the highest value."""
    pairs = np.stack([table[key] for key in keys], axis=1)
    found, which = np.unique(pairs, axis=0, return_inverse=True)
    summed = {key: found[:, n] for n, key in enumerate(keys)}
    for name, column in table.items():
        if name not in keys:
            total = np.zeros(len(found), dtype="i8")
            together = np.maximum if name == highest else np.add
            together.at(total, which.reshape(-1), column)
            summed[name] = total
    return summed
