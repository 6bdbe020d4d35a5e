"""Reduction of KM3NeT's runs: of every hit of every event, one line an event and one an optical module."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from esap_fits.reading import Key, PayloadError, complete, integer, read_document, text

from . import __version__
from .km3net import Chunk, clock, read_events
from .reduced import COLUMNS, DOMS, EVENTS, RUNS, joined, write_reduced

log = logging.getLogger(__name__)


def _are_inputs(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(type(v) is int and v > 0 for v in value.values())


KEYS = {
    "inputs": Key("file names, and for each the number of its run", _are_inputs),
    "output": text(120),
    "campaign": Key("an object", lambda v: isinstance(v, dict)),
}
CAMPAIGN_KEYS = {
    "name": text(),
    "software_version": text(),
    "tot_min_ns": integer(0, 255),
    "tot_max_ns": integer(0, 255),
    "trigger_mask": integer(0, 2**62),
    "min_triggered_hits": integer(0, 10**6),
    "min_doms": integer(0, 10**4),
}


def read_campaign(document: Any, where: str) -> dict[str, Any]:
    """Read what holds for a whole campaign; PayloadError, also when it is for another version of this."""
    campaign: dict[str, Any] = complete(document, CAMPAIGN_KEYS, where)
    if campaign["software_version"] != __version__:
        raise PayloadError(
            f"{where}: campaign {campaign['name']} is for esap-root {campaign['software_version']}, "
            f"this is {__version__}"
        )
    return campaign


def reduce(config: Path) -> None:
    """Reduce the files of `config` by the cuts of the campaign."""
    told = read_document(config, KEYS)
    campaign = read_campaign(told["campaign"], f"{config}: campaign")
    tables = [reduce_file(Path(name), run, campaign) for name, run in told["inputs"].items()]
    all_of_them = joined(tables)
    write_reduced(Path(told["output"]), all_of_them, campaign)
    log.info("%d files: %d events kept", len(tables), len(all_of_them[EVENTS]["run"]))


def reduce_file(path: Path, run: int, campaign: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Give the tables of one file; PayloadError when its events are of another run than `run`."""
    read = _of_run(path, run)
    chunks = [_reduce_chunk(chunk, campaign) for chunk in read]
    events = {c: np.concatenate([one[0][c] for one in chunks]) for c in chunks[0][0]} if chunks else {}
    hits: Counter[int] = Counter()
    for _, found, _ in chunks:
        hits.update(found)
    totals = np.sum([one[2] for one in chunks], axis=0) if chunks else np.zeros(3, dtype="i8")
    columns = {c: events.get(c, np.zeros(0, dtype="i8")) for c in COLUMNS[EVENTS]}
    doms = sorted(hits)
    return {
        EVENTS: columns,
        RUNS: _one_row(
            run=run,
            detector_id=int(read[0].headers["detector_id"][0]) if read else 0,
            bytes_read=path.stat().st_size,
            events_read=int(totals[0]),
            hits_read=int(totals[1]),
            events_kept=len(columns["run"]),
            hits_kept=int(totals[2]),
        ),
        DOMS: {
            "run": np.full(len(doms), run, dtype="i8"),
            "dom_id": np.array(doms, dtype="i8"),
            "hits": np.array([hits[d] for d in doms], dtype="i8"),
        },
    }


def _of_run(path: Path, run: int) -> Sequence[Chunk]:
    chunks = []
    for chunk in read_events(path):
        others = sorted(set(chunk.headers["run"].tolist()) - {run})
        if others:
            raise PayloadError(f"{path.name} has events of run {others[0]}, the lake says run {run}")
        chunks.append(chunk)
    return chunks


def _reduce_chunk(
    chunk: Chunk, campaign: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[int, int], tuple[int, int, int]]:
    """Give the kept events' columns, the hits of each module, and events read, hits read, hits kept."""
    tot = chunk.snapshot.tot_ns
    hits = chunk.snapshot[(tot >= campaign["tot_min_ns"]) & (tot <= campaign["tot_max_ns"])]
    doms = np.array([len(np.unique(ak.to_numpy(d))) for d in hits.dom_id], dtype="i8")
    triggered = ak.to_numpy(ak.num(chunk.triggered.tot_ns)).astype("i8")
    mask = chunk.headers["trigger_mask"].astype("u8")
    kept = (triggered >= campaign["min_triggered_hits"]) & (doms >= campaign["min_doms"])
    if campaign["trigger_mask"]:
        kept &= (mask & np.uint64(campaign["trigger_mask"])) != 0
    times = ak.values_astype(hits.time_ns, "i8")
    span = ak.fill_none(ak.max(times, axis=1) - ak.min(times, axis=1), 0)
    seconds, status = clock(chunk.headers["utc_s"])
    columns: dict[str, Any] = {
        **{n: chunk.headers[n].astype("i8") for n in ("run", "frame_index")},
        "utc_s": seconds.astype("i8"),
        "wr_status": status.astype("i8"),
        "trigger_counter": chunk.headers["trigger_counter"].astype("i8"),
        "trigger_mask": mask.astype("i8"),
        "snapshot_hits": ak.to_numpy(ak.num(tot)).astype("i8"),
        "hits": ak.to_numpy(ak.num(hits.tot_ns)).astype("i8"),
        "triggered_hits": triggered,
        "doms": doms,
        "sum_tot_ns": ak.to_numpy(ak.sum(ak.values_astype(hits.tot_ns, "i8"), axis=1)).astype("i8"),
        "span_ns": ak.to_numpy(span).astype("i8"),
    }
    ids, counts = np.unique(ak.to_numpy(ak.flatten(hits[kept].dom_id)), return_counts=True)
    totals = len(mask), int(columns["snapshot_hits"].sum()), int(columns["hits"][kept].sum())
    by_dom = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    return {name: column[kept] for name, column in columns.items()}, by_dom, totals


def _one_row(**values: int) -> dict[str, Any]:
    return {name: np.array([value], dtype="i8") for name, value in values.items()}
