"""Checks that hold for every FITS file: it can be read as a whole, and its checksums are right."""

from __future__ import annotations

from pathlib import Path

from astropy.io import fits

from .report import READABLE, Report
from .strict import DamagedError, checksum_problems, load, parse

FILE = "FILE"


def open_checked(path: Path, report: Report) -> fits.HDUList | None:
    """Read a file, and note whether that worked and its checksums are right; None when it did not."""
    try:
        content = load(path)
        hdus = parse(content)
    except DamagedError as error:
        _note_readable(report, f"{error}")
        return None
    _note_readable(report, "")
    for name, sums in checksum_problems(content, hdus):
        problems = ", ".join(f"{keyword} is {state}" for keyword, state in sums.items())
        report.add(
            "file.checksum",
            name,
            not problems,
            value=problems or "right",
            allowed="CHECKSUM and DATASUM of the HDU's bytes",
            message=problems,
        )
    return hdus


def _note_readable(report: Report, problem: str) -> None:
    report.add(
        READABLE,
        FILE,
        not problem,
        value=problem or "read",
        allowed="a complete FITS file",
        message=f"cannot be read as FITS: {problem}",
    )
