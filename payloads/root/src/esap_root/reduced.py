"""The reduced data of runs: three trees and the campaign's parameters in one ROOT file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import uproot

EVENTS, RUNS, DOMS, CAMPAIGN = "events", "runs", "doms", "campaign"
COLUMNS = {
    EVENTS: (
        *("run", "frame_index", "utc_s", "trigger_counter", "trigger_mask", "snapshot_hits", "hits"),
        *("triggered_hits", "doms", "sum_tot_ns", "span_ns"),
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


def read_tables(file: Any) -> dict[str, dict[str, Any]]:
    """Read all tables of an open file to the last entry."""
    return {name: file[name].arrays(list(columns), library="np") for name, columns in COLUMNS.items()}


def read_campaign_of(file: Any) -> dict[str, Any]:
    """Read the campaign of an open file; ValueError when it is no JSON object."""
    document = json.loads(str(file[CAMPAIGN]))
    if not isinstance(document, dict):
        raise ValueError("the campaign is no JSON object")
    return document
