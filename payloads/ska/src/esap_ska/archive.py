"""Unpacking of an archive that somebody has brought, into the job's directory and nowhere else."""

from __future__ import annotations

import tarfile
from pathlib import Path

from esap_fits.reading import PayloadError

MOST_MEMBERS, MOST_BYTES = 5000, 500_000_000


def unpack(archive: Path, directory: Path) -> None:
    """Unpack a tar archive; PayloadError when it is none, too large, or would write where it must not."""
    try:
        with tarfile.open(archive) as opened:
            members = opened.getmembers()
            size = sum(m.size for m in members)
            if len(members) > MOST_MEMBERS or size > MOST_BYTES:
                raise PayloadError(
                    f"{archive}: {len(members)} members, {size} bytes: "
                    f"allowed at most {MOST_MEMBERS} members and {MOST_BYTES} bytes"
                )
            standing = [m.name for m in members if m.isfile() and (directory / m.name).exists()]
            if standing:
                raise PayloadError(
                    f"{archive}: it has files that the job has already: {', '.join(standing[:10])}"
                )
            opened.extractall(
                directory, filter="data"
            )  # refuses links and paths that lead outside, and devices
    except (tarfile.TarError, OSError, EOFError) as error:
        raise PayloadError(f"{archive}: it cannot be unpacked: {type(error).__name__}: {error}") from error
