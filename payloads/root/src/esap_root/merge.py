"""Puts the ROOT files of several jobs together: histograms are summed, trees follow each other."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import uproot
from esap_fits.reading import Key, PayloadError, names, read_document, text

from . import CREATOR
from .opening import HISTOGRAM, TREE, classes, is_class, plain_type, reading
from .peak import NoPeak, find_peak, read_histogram
from .picture import draw_analysis
from .profile import Profile

log = logging.getLogger(__name__)
STEP = "20 MB"  # of a tree in memory
FORMAT = "esap-root-analysis"
MOMENTS = ("fEntries", "fTsumw", "fTsumw2", "fTsumwx", "fTsumwx2")  # of a TH1, for means and their errors
KEYS = {
    "files": names(),
    "output": text(120),
    "result": text(120),
    "picture": text(120),
    "title": text(120),
    "profile": Key("an object", lambda v: isinstance(v, dict)),
}


def merge(config: Path) -> None:
    """Make of the files in `config` one ROOT file, a summary in JSON and a picture."""
    told = read_document(config, KEYS)
    profile, output = Profile.of(told["profile"], f"{config}: profile"), Path(told["output"])
    paths = [Path(name) for name in told["files"]]
    kept = _shared(paths)
    with uproot.recreate(output) as target:
        for name, kind in kept.items():
            if kind == TREE:
                _join_trees(target, name, paths)
            else:
                target[name] = _sum_histograms(name, paths)
    result = {"format": FORMAT, "creator": CREATOR, "files": len(paths), **measure(output, profile)}
    Path(told["result"]).write_text(json.dumps(result, indent=1) + "\n")
    draw_analysis(output, profile, told["title"], Path(told["picture"]))


def measure(path: Path, profile: Profile) -> dict[str, Any]:
    """Read a product again: entries of its trees, sums of its histograms, and the peak (null without one)."""
    with reading(path) as file:
        found = classes(file)
        trees = {n: int(file[n].num_entries) for n, c in found.items() if c == TREE}
        sums = {n: float(file[n].values().sum()) for n, c in found.items() if is_class(c, HISTOGRAM)}
        peak = None
        if profile.peak and profile.peak.histogram in sums:
            try:
                where = read_histogram(file[profile.peak.histogram])
                peak = find_peak(*where, *profile.peak.search_gev).document()
            except NoPeak as none:
                log.warning("%s", none)
    return {"entries": trees, "histograms": sums, "peak": peak}


def _shared(paths: Sequence[Path]) -> dict[str, str]:
    """Give the trees and histograms that all files have; PayloadError when a file lacks one of another's."""
    kinds: dict[str, str] = {}
    holders: dict[str, int] = {}
    for path in paths:
        with reading(path) as file:
            for name, kind in classes(file).items():
                if kind == TREE or is_class(kind, HISTOGRAM):
                    holders[name] = holders.get(name, 0) + 1
                    if kinds.setdefault(name, kind) != kind:
                        raise PayloadError(f"{path.name}: {name} is a {kind}, elsewhere a {kinds[name]}")
                else:
                    log.warning("%s: %s is left out: a %s cannot be merged", path.name, name, kind)
    lacking = sorted(name for name, count in holders.items() if count < len(paths))
    if lacking:
        raise PayloadError(f"not in every file: {', '.join(lacking)}")
    return kinds


def _sum_histograms(name: str, paths: Sequence[Path]) -> Any:
    """Sum contents, variances and moments: a bin's error is that of its weights, not of its content."""
    counts, variances, moments, edges = 0.0, 0.0, np.zeros(len(MOMENTS)), None
    for path in paths:
        with reading(path) as file:
            histogram = file[name]
            more, bounds = histogram.to_numpy(flow=True)
            if edges is None:
                edges = bounds
            if not np.array_equal(bounds, edges):
                raise PayloadError(f"{path.name}: the bins of {name} are not those of {paths[0].name}")
            counts = counts + more.astype(float)
            variances = variances + histogram.variances(flow=True)
            moments += [histogram.member(m) for m in MOMENTS]
    from uproot.writing.identify import to_TAxis, to_TH1x

    assert edges is not None
    axis = to_TAxis(
        fName="xaxis", fTitle="", fNbins=len(edges) - 3, fXmin=edges[1], fXmax=edges[-2], fXbins=edges[1:-1]
    )
    told = dict(zip(MOMENTS, moments, strict=True))
    return to_TH1x(fName=name, fTitle=name, data=counts, fSumw2=variances, fXaxis=axis, **told)


def _join_trees(target: Any, name: str, paths: Sequence[Path]) -> None:
    columns: dict[str, Any] | None = None
    for path in paths:
        with reading(path) as file:
            tree = file[name]
            found = {b.name: plain_type(b) for b in tree.branches}
            if odd := sorted(n for n, wanted in found.items() if wanted is None):
                raise PayloadError(f"{path.name}: {name} has branches of no plain numbers: {', '.join(odd)}")
            if columns is None:
                columns = found
                target.mktree(name, columns)
            if found != columns:
                raise PayloadError(f"{path.name}: the branches of {name} are not those of {paths[0].name}")
            for part in tree.iterate(step_size=STEP, library="np"):
                target[name].extend({n: np.asarray(v) for n, v in part.items()})
