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
from .opening import HISTOGRAM, TREE, classes, is_class, reading
from .peak import NoPeak, find_peak, read_histogram
from .picture import draw_analysis
from .profile import Profile

log = logging.getLogger(__name__)
STEP = "20 MB"  # of a tree in memory
FORMAT = "esap-root-analysis"
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
    total: Any = None
    for path in paths:
        with reading(path) as file:
            counts, edges = file[name].to_numpy(flow=True)
        if total is None:
            total = counts.astype(float), edges
        elif not np.array_equal(edges, total[1]):
            raise PayloadError(f"{path.name}: the bins of {name} are not those of {paths[0].name}")
        else:
            total = total[0] + counts, edges
    counts, edges = total
    from uproot.writing.identify import to_TAxis, to_TH1x

    shown, bounds = counts[1:-1], edges[1:-1]
    centres = 0.5 * (bounds[1:] + bounds[:-1])
    axis = to_TAxis(
        fName="xaxis", fTitle="", fNbins=len(shown), fXmin=bounds[0], fXmax=bounds[-1], fXbins=bounds
    )
    sums = shown.sum(), (shown * centres).sum(), (shown * centres**2).sum()
    return to_TH1x(
        fName=name, fTitle=name, data=counts, fEntries=counts.sum(), fTsumw=sums[0], fTsumw2=sums[0],
        fTsumwx=sums[1], fTsumwx2=sums[2], fSumw2=counts, fXaxis=axis,
    )  # fmt: skip


def _join_trees(target: Any, name: str, paths: Sequence[Path]) -> None:
    columns: dict[str, Any] | None = None
    for path in paths:
        with reading(path) as file:
            tree = file[name]
            found = {b.name: _dtype(b, path) for b in tree.branches}
            if columns is None:
                columns = found
                target.mktree(name, columns)
            if found != columns:
                raise PayloadError(f"{path.name}: the branches of {name} are not those of {paths[0].name}")
            for part in tree.iterate(step_size=STEP, library="np"):
                target[name].extend({n: np.asarray(v) for n, v in part.items()})


def _dtype(branch: Any, path: Path) -> np.dtype[Any]:
    wanted = getattr(branch.interpretation, "to_dtype", None)
    if wanted is None or wanted.shape:
        raise PayloadError(f"{path.name}: branch {branch.name} is no plain column of numbers")
    return np.dtype(wanted)
