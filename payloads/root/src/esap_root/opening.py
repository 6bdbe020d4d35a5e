"""Opening of ROOT files so that nothing that is cut off or missing goes unnoticed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uproot
from esap_fits.reading import PayloadError

# What uproot and its decompressors raise for content that is not as ROOT writes it.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, RuntimeError, AssertionError)
TREE, HISTOGRAM = "TTree", "TH1"


@contextmanager
def open_root(path: Path) -> Iterator[Any]:
    """Open a ROOT file that is as long as its header says; ValueError or OSError when it is not."""
    size = path.stat().st_size
    with uproot.open(path) as file:
        if file.file.fEND != size:
            raise ValueError(f"it has {size} bytes, its header says {file.file.fEND}")
        yield file


@contextmanager
def reading(path: Path) -> Iterator[Any]:
    """Open a ROOT file that a step needs; PayloadError when it, or what is asked of it, cannot be read."""
    try:
        with open_root(path) as file:
            yield file
    except UNREADABLE as error:
        raise PayloadError(f"cannot read {path.name}: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Give the first line of an error: uproot's go on about the file for many."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def classes(file: Any) -> dict[str, str]:
    """Give the class of each object at the top of a file, by its name."""
    found: Mapping[str, str] = file.classnames(recursive=False, cycle=False)
    return dict(found)


def is_class(actual: str, wanted: str) -> bool:
    """Tell whether a class is one of a family: TH1D is a TH1."""
    return actual.startswith(wanted) if wanted == HISTOGRAM else actual == wanted
