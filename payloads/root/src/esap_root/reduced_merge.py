"""Puts the reduced data of a campaign's jobs together, with a summary and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from esap_fits.reading import Key, PayloadError, names, read_document, text

from . import CREATOR
from .opening import reading
from .reduce import read_campaign
from .reduced import DOMS, RUNS, Tables, joined, read_campaign_of, read_tables, write_reduced
from .reduced_picture import draw_reduction

FORMAT = "esap-root-reduction"
LOUDEST = 5  # optical modules that the summary names
KEYS = {
    "files": names(),
    "output": text(120),
    "summary": text(120),
    "picture": text(120),
    "campaign": Key("an object", lambda v: isinstance(v, dict)),
}


def merge_reduced(config: Path) -> None:
    """Make of all files of `config` one ROOT file, its summary and its picture."""
    told = read_document(config, KEYS)
    campaign = read_campaign(told["campaign"], f"{config}: campaign")
    tables = joined([_read(Path(name), campaign) for name in told["files"]])
    output = Path(told["output"])
    write_reduced(output, tables, campaign)
    summary = {"format": FORMAT, "creator": CREATOR, **summarise(tables, campaign)}
    Path(told["summary"]).write_text(json.dumps(summary, indent=1) + "\n")
    draw_reduction(tables, campaign, Path(told["picture"]))


def summarise(tables: Tables, campaign: Mapping[str, Any]) -> dict[str, Any]:
    """Say in numbers what a reduction has made: counts of each run, and the modules with most hits."""
    runs, doms = tables[RUNS], tables[DOMS]
    ids, which = np.unique(doms["dom_id"], return_inverse=True)
    hits = np.bincount(which, weights=doms["hits"], minlength=len(ids)).astype(int)
    order = sorted(range(len(ids)), key=lambda i: (-hits[i], ids[i]))[:LOUDEST]
    return {
        "campaign": dict(campaign),
        "runs": [{c: int(v[i]) for c, v in runs.items()} for i in range(len(runs["run"]))],
        "total": {c: int(v.sum()) for c, v in runs.items() if c not in ("run", "detector_id")},
        "modules": len(ids),
        "loudest": [{"dom_id": int(ids[i]), "hits": int(hits[i])} for i in order],
    }


def _read(path: Path, campaign: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    with reading(path) as file:
        theirs = read_campaign_of(file)
        if theirs != dict(campaign):
            raise PayloadError(f"{path.name} is of another campaign, or of other parameters of it: {theirs}")
        return read_tables(file)
