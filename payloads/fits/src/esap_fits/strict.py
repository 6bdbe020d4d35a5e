"""Strict reading of FITS files: whole, standard, and with checksums that are compared.

astropy tells of a cut file, a card it had to repair or a wrong checksum by a warning only, and of the end of a
cut gzip stream not at all.
"""

from __future__ import annotations

import gzip
import io
import warnings
import zlib
from pathlib import Path

from astropy.io import fits
from astropy.io.fits.verify import VerifyError
from astropy.utils.exceptions import AstropyUserWarning

GZIP_MAGIC = b"\x1f\x8b"
MATCHES, MISSING = 1, 2  # what astropy's verify_checksum and verify_datasum give; 0 is a mismatch


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
            hdus = _open(content)
            for hdu in hdus:
                _ = list(hdu.header.items()), hdu.data
            return hdus
    except (OSError, TypeError, ValueError, LookupError, VerifyError, AstropyUserWarning) as error:
        raise DamagedError(f"{type(error).__name__}: {error}") from error


def checksum_problems(content: bytes) -> dict[str, list[str]]:
    """Compare DATASUM and CHECKSUM with the bytes as they lie in the file; give what is wrong by HDU."""
    # astropy compares the file's own bytes only as long as neither header nor data have been touched.
    outcomes = {hdu.name: (hdu.verify_datasum(), hdu.verify_checksum()) for hdu in _open(content)}
    return {
        name: [
            f"{keyword} is {'missing' if outcome == MISSING else 'wrong'}"
            for keyword, outcome in zip(("DATASUM", "CHECKSUM"), both, strict=True)
            if outcome != MATCHES
        ]
        for name, both in outcomes.items()
    }


def _open(content: bytes) -> fits.HDUList:
    return fits.open(io.BytesIO(content), lazy_load_hdus=False)
