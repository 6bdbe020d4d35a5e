"""What tests of esap-root do with ROOT files, in the environment that has uproot.

python root_helpers.py corrupt-analysis IN DIR | corrupt-reduced IN DIR | objects IN | TREE IN |
    clock SECONDS
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


def clock(utc_s: int) -> list[int]:
    """Read a header's time as the reduction does: seconds, and the status of the clock."""
    import numpy as np
    from esap_root.km3net import HEADER
    from esap_root.km3net import clock as read

    header = np.zeros(1, dtype=HEADER)
    header["utc_s"] = utc_s
    return [int(values[0]) for values in read(header["utc_s"])]


def main(command: str, *arguments: str) -> Any:
    """Run one command; give what it prints as JSON."""
    match command:
        case "corrupt-analysis":
            return corrupt(arguments[0], arguments[1], ANALYSES)
        case "corrupt-reduced":
            return corrupt(arguments[0], arguments[1], REDUCED)
        case "clock":
            return clock(int(arguments[0]))
    content = _read(Path(arguments[0]))
    if command == "objects":
        return sorted(content)
    return {name: column.tolist() for name, column in content[command].items()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:])))
