"""Fetching sandboxes.

DiracX's own `download_sandbox` extracts with `tarfile`'s `filter`, which Python has from 3.11.4 on; Debian 12
has 3.11.2.
"""
# ruff: noqa: TID253  this runs in DiracX's environment

from __future__ import annotations

import shutil
import tarfile
import tempfile
from pathlib import Path

import httpx
from diracx.api.jobs import tarfile_open
from diracx.client.aio import AsyncDiracClient

from localgrid.programs.site.access import RefusedError


async def download(pfn: str, destination: Path, client: AsyncDiracClient) -> None:
    """Fetch a sandbox and extract it.

    Raises:
        httpx.HTTPError: the sandbox store does not answer or has no such sandbox.
        RefusedError: the sandbox has a member that does not belong in one.

    """
    place = await client.jobs.get_sandbox_file(pfn=pfn)
    with tempfile.TemporaryFile() as stream:
        async with httpx.AsyncClient(trust_env=False) as http, http.stream("GET", place.url) as answer:
            answer.raise_for_status()
            async for block in answer.aiter_bytes():
                stream.write(block)
        stream.seek(0)
        with tarfile_open(stream) as archive:
            extract(archive, destination)


def extract(archive: tarfile.TarFile, destination: Path) -> None:
    """Extract files and directories, and nothing that would land elsewhere.

    Raises:
        RefusedError: a member is a link or device, or its name leads out of the destination.

    """
    destination.mkdir(parents=True, exist_ok=True)
    for member in archive:
        target = destination / member.name
        inside = target.resolve().is_relative_to(destination.resolve())
        if not inside or not (member.isfile() or member.isdir()):
            raise RefusedError(
                f"sandbox member {member.name!r}: allowed are files and directories inside the job's"
            )
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        content = archive.extractfile(member)
        assert content is not None
        with content, target.open("wb") as stream:
            shutil.copyfileobj(content, stream)
        target.chmod(0o755 if member.mode & 0o100 else 0o644)
