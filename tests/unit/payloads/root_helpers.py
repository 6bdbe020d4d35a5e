"""What tests of esap-root do with ROOT files, in the environment that has uproot.

python root_helpers.py corrupt-analysis IN DIR | corrupt-reduced IN DIR | objects IN | TREE IN |
    clock SECONDS | weighted DIR WEIGHT... | jagged IN OUT | histogram IN NAME |
    significance IN WEIGHT
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Content = dict[str, Any]  # name -> columns of a tree, contents and edges of a histogram, or text
Change = Callable[[Content], None]


def _read(path: Path) -> Content:
    import uproot

    with uproot.open(path) as file:
        content: Content = {}
        for name, kind in file.classnames(cycle=False).items():
            if kind == "TTree":
                content[name] = dict(file[name].arrays(library="np"))
            else:
                content[name] = file[name].to_numpy() if kind.startswith("TH") else str(file[name])
        return content


def _write(path: Path, content: Content) -> None:
    import uproot

    with uproot.recreate(path) as file:
        for name, value in content.items():
            if isinstance(value, dict):
                file.mktree(name, {n: c.dtype for n, c in value.items()})
                file[name].extend(value)
            else:
                file[name] = value


def _without(name: str) -> Change:
    return lambda content: content.pop(name)


def _cell(tree: str, column: str, value: float, row: int = 0) -> Change:
    def apply(content: Content) -> None:
        content[tree][column] = content[tree][column].copy()
        content[tree][column][row] = value

    return apply


def _rows(tree: str, rows: slice) -> Change:
    def apply(content: Content) -> None:
        content[tree] = {n: c[rows] for n, c in content[tree].items()}

    return apply


def _bins(change: Callable[[Any, Any], Any]) -> Change:
    def apply(content: Content) -> None:
        content["mass"] = change(content["mass"][0].astype(float), content["mass"][1])

    return apply


def _one(counts: Any, value: float) -> Any:
    counts[3] = value
    return counts


def _swap(content: Content) -> None:
    content["mass"], content["candidates"] = content["candidates"], content["mass"]


def _two_dimensions(content: Content) -> None:
    import numpy as np

    content["mass"] = np.histogram2d([1.0, 2.0], [1.0, 2.0], bins=2)


def _campaign(**changes: Any) -> Change:
    def apply(content: Content) -> None:
        content["campaign"] = json.dumps(json.loads(content["campaign"]) | changes)

    return apply


def _text(name: str, text: str) -> Change:
    return lambda content: content.update({name: text})


def _column(content: Content) -> None:
    del content["events"]["sum_tot_ns"]


def _nothing(_content: Content) -> None:
    return


ANALYSES: dict[str, Change] = {
    "untouched": _nothing,
    "tree-missing": _without("candidates"),
    "histogram-missing": _without("mass"),
    "swapped": _swap,
    "two-dimensions": _two_dimensions,
    "few-entries": _rows("candidates", slice(10)),
    "nan": _cell("candidates", "mass", float("nan"), 5),
    "infinite": _cell("candidates", "pt", float("inf")),
    "bin-nan": _bins(lambda c, e: (_one(c, float("nan")), e)),
    "bin-negative": _bins(lambda c, e: (_one(c, -5.0), e)),
    "empty": _bins(lambda c, e: (c * 0, e)),
    "peak-moved": _bins(lambda c, e: (c, e + 0.011)),
    "flat": _bins(lambda c, e: (c * 0 + 100, e)),
    "other-range": _bins(lambda c, e: (c, e + 1)),
}
REDUCED: dict[str, Change] = {
    "untouched": _nothing,
    "tree-missing": _without("runs"),
    "campaign-missing": _without("campaign"),
    "campaign-no-json": _text("campaign", "none"),
    "column-missing": _column,
    "event-lost": _rows("events", slice(1, None)),
    "run-lost": _rows("runs", slice(1, None)),
    "module-lost": _rows("doms", slice(1, None)),
    "negative": _cell("events", "span_ns", -1),
    "count": _cell("runs", "events_kept", 999),
    "hits": _cell("events", "hits", 1_000_000),
    "strange-run": _cell("events", "run", 7),
    "cut": _cell("events", "triggered_hits", 0),
    "campaign": _campaign(tot_min_ns=6),
}


def corrupt(source: str, target: str, changes: dict[str, Change]) -> list[str]:
    """Write a file for each change into a directory."""
    for name, change in changes.items():
        content = _read(Path(source))
        change(content)
        _write(Path(target) / f"{name}.root", content)
    return sorted(changes)


def weighted(directory: Path, weights: list[float]) -> list[str]:
    """Write a file for each weight: three entries of it, in the first bins of three, and one below them."""
    import numpy as np
    import uproot
    from uproot.writing.identify import to_TAxis, to_TH1x

    axis = to_TAxis(fName="xaxis", fTitle="", fNbins=3, fXmin=0, fXmax=3)
    entries, places = np.array([1.0, 2.0, 1.0, 0.0, 0.0]), np.array([-0.5, 0.5, 1.5, 2.5, 3.5])
    for number, weight in enumerate(weights):
        inside = (weight * entries)[1:-1]
        histogram = to_TH1x(
            fName="mass", fTitle="", data=weight * entries, fEntries=4.0, fTsumw=inside.sum(),
            fTsumw2=3 * weight**2, fTsumwx=(inside * places[1:-1]).sum(),
            fTsumwx2=(inside * places[1:-1] ** 2).sum(), fSumw2=weight**2 * entries, fXaxis=axis,
        )  # fmt: skip
        with uproot.recreate(directory / f"w{number}.root") as file:
            file["mass"] = histogram
            file.mktree("candidates", {"mass": "f8"})
            file["candidates"].extend({"mass": np.zeros(100)})
    return [f"w{number}.root" for number in range(len(weights))]


def histogram(path: Path, name: str) -> dict[str, Any]:
    """Give contents and errors with under- and overflow, and what ROOT keeps of the entries themselves."""
    import uproot

    with uproot.open(path) as file:
        found = file[name]
        kept = ("fEntries", "fTsumw", "fTsumw2", "fTsumwx", "fTsumwx2")
        members = {member: float(found.member(member)) for member in kept}
        values, errors = found.values(flow=True).tolist(), found.errors(flow=True).tolist()
    return {"values": values, "errors": errors, **members}


def significance(path: Path, weight: float) -> float:
    """Give the significance of a product's peak, had each of its entries this weight."""
    from esap_root.opening import reading
    from esap_root.peak import find_peak, read_histogram

    with reading(path) as file:
        counts, edges, variances = read_histogram(file["mass"])
    found = find_peak(weight * counts, edges, weight**2 * variances, 0.4726, 0.5226)
    return float(found.significance)


def jagged(source: Path, target: Path) -> str:
    """Write the objects of a file, and in its tree a branch with several numbers an entry."""
    import awkward as ak
    import uproot

    content = _read(source)
    columns = content["candidates"]
    hits = ak.Array([[1.0] * (n % 3) for n in range(len(columns["mass"]))])
    with uproot.recreate(target) as file:
        file["mass"] = content["mass"]
        file.mktree("candidates", {**{n: c.dtype for n, c in columns.items()}, "hits": "var * float64"})
        file["candidates"].extend({**columns, "hits": hits})
    return target.name


def clock(utc_s: int) -> list[int]:
    """Read a header's time as the reduction does: seconds, and the status of the clock."""
    import numpy as np
    from esap_root.km3net import HEADER
    from esap_root.km3net import clock as read

    header = np.zeros(1, dtype=HEADER)
    header["utc_s"] = utc_s
    return [int(values[0]) for values in read(header["utc_s"])]


COMMANDS: dict[str, Callable[..., Any]] = {
    "corrupt-analysis": lambda source, target: corrupt(source, target, ANALYSES),
    "corrupt-reduced": lambda source, target: corrupt(source, target, REDUCED),
    "weighted": lambda directory, *weights: weighted(Path(directory), [float(w) for w in weights]),
    "jagged": lambda source, target: jagged(Path(source), Path(target)),
    "histogram": lambda path, name: histogram(Path(path), name),
    "significance": lambda path, weight: significance(Path(path), float(weight)),
    "clock": lambda utc_s: clock(int(utc_s)),
    "objects": lambda path: sorted(_read(Path(path))),
}


def main(command: str, *arguments: str) -> Any:
    """Run one command; give what it prints as JSON."""
    if command in COMMANDS:
        return COMMANDS[command](*arguments)
    return {name: column.tolist() for name, column in _read(Path(arguments[0]))[command].items()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:])))
