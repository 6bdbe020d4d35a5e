"""Strict reading of FITS files: whole, standard, and with checksums that are compared.

astropy tells of a cut file, a card it had to repair or a wrong checksum by a warning only, and of the end of
a cut gzip stream not at all.
"""

from __future__ import annotations

import gzip
import io
import logging
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from .reading import PayloadError

LOG = logging.getLogger(__name__)
GZIP_MAGIC = b"\x1f\x8b"
ALL_ONES = 0xFFFFFFFF
WRONG, MISSING = "wrong", "missing"


class DamagedError(Exception):
    """The file is not there, or is no complete FITS file."""


def load(path: Path) -> bytes:
    """Give a file's content, unpacked; DamagedError when it cannot be read to its end."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content
    except (OSError, EOFError, zlib.error) as error:
        raise DamagedError(f"{type(error).__name__}: {error}") from error


def parse(content: bytes) -> fits.HDUList:
    """Read every header card and every table; DamagedError when one cannot be read as it stands."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyUserWarning)
            hdus = fits.open(io.BytesIO(content), lazy_load_hdus=False)
            for hdu in hdus:
                _ = list(hdu.header.items()), hdu.data
            return hdus
    except Exception as error:  # on damaged headers astropy raises nearly anything, also UnboundLocalError
        raise DamagedError(f"{type(error).__name__}: {error}") from error


def read_input(path: Path) -> fits.HDUList:
    """Read a file that another program has made; PayloadError when it is damaged.

    FITS leaves checksums to who writes a file (standard 4.0, 4.4.2.7): missing ones are told in the log.
    """
    try:
        content = load(path)
        hdus = parse(content)
    except DamagedError as error:
        raise PayloadError(f"cannot read {path.name} as FITS: {error}") from error
    found = checksum_problems(content, hdus)
    wrong, missing = (
        [f"{keyword} of {name}" for name, sums in found for keyword, state in sums.items() if state == asked]
        for asked in (WRONG, MISSING)
    )
    if wrong:
        raise PayloadError(f"{path.name} is damaged: wrong {', '.join(wrong)}")
    if missing:
        LOG.warning("%s could not be checked for damage: it has no %s", path.name, ", ".join(missing))
    return hdus


def checksum_problems(content: bytes, hdus: fits.HDUList) -> list[tuple[str, dict[str, str]]]:
    """Compare DATASUM and CHECKSUM with the bytes as they lie in the file; give what is not right by HDU.

    astropy's own comparison leaves out what it does not parse, such as the rest of a header's last block.
    """
    return [(hdu.name, _wrong_sums(content, hdu)) for hdu in hdus]


def _wrong_sums(content: bytes, hdu: Any) -> dict[str, str]:
    place = hdu.fileinfo()
    data_end = place["datLoc"] + place["datSpan"]
    data, whole = content[place["datLoc"] : data_end], content[place["hdrLoc"] : data_end]
    right = {
        "DATASUM": str(hdu.header.get("DATASUM")).strip() == str(ones_complement_sum(data)),
        "CHECKSUM": ones_complement_sum(whole) == ALL_ONES,
    }
    return {
        keyword: WRONG if keyword in hdu.header else MISSING
        for keyword, is_right in right.items()
        if not is_right or keyword not in hdu.header
    }


def ones_complement_sum(block: bytes) -> int:
    """Give the 32-bit ones' complement sum of FITS blocks (FITS standard 4.0, appendix J)."""
    total = int(np.frombuffer(block, dtype=">u4").sum(dtype=np.uint64))
    while total > ALL_ONES:
        total = (total & ALL_ONES) + (total >> 32)
    return total
