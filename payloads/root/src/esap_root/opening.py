"""Opening of ROOT files so that nothing that is cut off or missing goes unnoticed."""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cramjam
import numpy as np
import uproot
from esap_fits.reading import PayloadError
from uproot.deserialization import DeserializationError

# What uproot and its decompressors raise for content that is not as ROOT writes it.
UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, IndexError, EOFError, RuntimeError, AssertionError),
    *(struct.error, zlib.error, lzma.LZMAError, DeserializationError, cramjam.DecompressionError),
)
MAGIC, HEADER, LONG_HEADER = (
    b"root",
    ">iii",
    ">iiq",
)  # version, begin and end; long ones since version 1000000
LONG_FROM = 1_000_000
TREE, HISTOGRAM = "TTree", "TH1"


@contextmanager
def open_root(path: Path) -> Iterator[Any]:
    """Open a ROOT file that is as long as its header says; ValueError or OSError when it is not."""
    size, told = path.stat().st_size, _told_size(path)
    if size != told:
        raise ValueError(f"it has {size} bytes, its header says {told}")
    with uproot.open(path) as file:
        yield file


def _told_size(path: Path) -> int:
    with path.open("rb") as stream:
        magic, header = stream.read(len(MAGIC)), stream.read(struct.calcsize(LONG_HEADER))
    if magic != MAGIC or len(header) < struct.calcsize(LONG_HEADER):
        raise ValueError("it does not begin as a ROOT file does")
    version, _, end = struct.unpack_from(HEADER, header)
    return int(struct.unpack(LONG_HEADER, header)[2] if version >= LONG_FROM else end)


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


def plain_type(branch: Any) -> np.dtype[Any] | None:
    """Give the type of a branch that has one number an entry; None for others, which cannot be merged."""
    wanted = getattr(branch.interpretation, "to_dtype", None)
    return None if wanted is None or wanted.shape else np.dtype(wanted)
