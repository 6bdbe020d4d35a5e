"""Checks that hold for every FITS file: it can be read as a whole, and its checksums are right."""

from __future__ import annotations

import gzip
import warnings
import zlib
from pathlib import Path

from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from .report import READABLE, Report

FILE = "FILE"
MATCHES, MISSING = 1, 2  # what astropy's verify_checksum and verify_datasum give; 0 is a mismatch
NOT_FITS = (OSError, EOFError, TypeError, ValueError, KeyError, zlib.error, gzip.BadGzipFile)


def open_checked(path: Path, report: Report) -> fits.HDUList | None:
    """Open a file with every block read, and note whether that went well; None when it did not.

    astropy tells of a cut file by a warning only, so warnings count as failures here.
    """
    hdus, problem = None, ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyUserWarning)
            hdus = fits.open(path, memmap=False, lazy_load_hdus=False)
            for hdu in hdus:
                _ = hdu.data
    except (*NOT_FITS, AstropyUserWarning) as error:
        hdus, problem = None, f"{type(error).__name__}: {error}"
    report.add(
        READABLE,
        FILE,
        hdus is not None,
        value=problem or "read",
        allowed="a complete FITS file",
        message=f"cannot be read as FITS: {problem}",
    )
    return hdus


def check_checksums(path: Path, report: Report) -> None:
    """Note for each HDU whether it has checksums and they are those of its bytes."""
    with fits.open(path, memmap=False, lazy_load_hdus=False) as hdus:
        for hdu in hdus:  # asked before the data is touched, these compare the bytes as they lie in the file
            problems = [
                f"{keyword} is {'missing' if outcome == MISSING else 'wrong'}"
                for keyword, outcome in (
                    ("DATASUM", hdu.verify_datasum()),
                    ("CHECKSUM", hdu.verify_checksum()),
                )
                if outcome != MATCHES
            ]
            report.add(
                "file.checksum",
                hdu.name,
                not problems,
                value=", ".join(problems) or "right",
                allowed="CHECKSUM and DATASUM of the HDU's bytes",
                message=", ".join(problems),
            )
