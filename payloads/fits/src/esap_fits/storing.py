"""Writing of FITS files whose bytes depend on nothing but their content."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path

from astropy.io import fits

FIXED_DATE = "2026-01-01T00:00:00"


def write_fits(hdus: fits.HDUList, path: Path, date: str) -> None:
    """Write checksummed HDUs, compressed when the name ends in .gz, and only ever complete.

    `date` (UTC, ISO 8601) becomes DATE and the time in the checksums' comments, which would else be now.
    """
    hdus.update_extend()
    for hdu in hdus:
        hdu.header["DATE"] = (date, "creation date (UTC)")
        hdu.add_checksum(when=date)
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    content = buffer.getvalue()
    if path.suffix == ".gz":
        content = gzip.compress(content, compresslevel=6, mtime=0)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)  # noqa: PTH105 - same call, and says what it does
