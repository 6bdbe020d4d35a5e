"""KM3NeT's DAQ files: events with all hits of the detector's snapshot, as its triggers have kept them.

The layouts are those of KM3NeT's JDAQ classes, which ROOT writes without a description that uproot knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from esap_fits.reading import PayloadError
from uproot.interpretation.jagged import AsJagged
from uproot.interpretation.numerical import AsDtype

from .opening import reading

EVENTS = "KM3NET_EVENT"
STEP = 500  # events in memory: a snapshot may have 20,000 hits
PMTS = 31  # of an optical module
# `_` are ROOT's counts and versions of the classes.
HEADER = np.dtype(
    [
        ("_1", "V18"),
        ("detector_id", ">i4"),
        ("run", ">i4"),
        ("frame_index", ">i4"),
        ("_2", "V6"),
        ("utc_s", ">u4"),
        ("utc_16ns", ">u4"),
        ("_3", "V6"),
        ("trigger_counter", ">u8"),
        ("_4", "V6"),
        ("trigger_mask", ">u8"),
        ("overlays", ">u4"),
    ]
)
HIT = [("dom_id", ">i4"), ("channel_id", "u1"), ("time_ns", "<u4"), ("tot_ns", "u1")]
TRIGGERED = [*HIT, ("_1", ">u4"), ("_2", ">u2"), ("trigger_mask", ">u8")]
HIT_BYTES = 10  # before the hits of an event
SECONDS, STATUS_BIT = 0x7FFFFFFF, 31  # of `utc_s`, as JDAQUTCExtended has them


@dataclass(frozen=True)
class Chunk:
    """Some events of a file: their headers, all hits, and the hits that a trigger has used."""

    headers: Any
    snapshot: Any
    triggered: Any


def clock(utc_s: Any) -> tuple[Any, Any]:
    """Give the UTC in s of headers' `utc_s`, and beside it the status bit of the White Rabbit clock."""
    return utc_s & SECONDS, utc_s >> STATUS_BIT


def read_events(path: Path) -> Iterator[Chunk]:
    """Read a DAQ file piece by piece; PayloadError when it is none, or another layout's."""
    with reading(path) as file:
        if EVENTS not in file:
            raise PayloadError(f"{path.name} has no {EVENTS}: it is no DAQ file of KM3NeT")
        tree = file[EVENTS]
        for start in range(0, tree.num_entries, STEP):
            yield _read_chunk(tree, path, start, start + STEP)


def _read_chunk(tree: Any, path: Path, start: int, stop: int) -> Chunk:
    bounds = {"entry_start": start, "entry_stop": stop}
    headers = tree["KM3NETDAQ::JDAQEventHeader"].array(AsDtype(HEADER), library="np", **bounds)
    hits = AsJagged(AsDtype(np.dtype(HIT)), header_bytes=HIT_BYTES)
    used = AsJagged(AsDtype(np.dtype(TRIGGERED)), header_bytes=HIT_BYTES)
    chunk = Chunk(
        headers, tree["snapshotHits"].array(hits, **bounds), tree["triggeredHits"].array(used, **bounds)
    )
    channels = ak.flatten(chunk.snapshot.channel_id)
    if len(channels) and int(ak.max(channels)) >= PMTS:
        raise PayloadError(
            f"{path.name}: a hit of PMT {int(ak.max(channels))}, a module has {PMTS}: another layout"
        )
    return chunk
