"""Files of the lake as answers: found at a copy, compared with what the lake knows, streamed."""

from __future__ import annotations

import base64
import mimetypes
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response

from hooks.lake_outputs import LakeFile, OutputLake, Replica
from hooks.rucio_lake import RucioLake
from hooks.settings import LAKE_CONNECTION
from hooks.storage_element import CHUNK, StorageElement, is_served, local_path
from portal.core.refusals import Refusal

if TYPE_CHECKING:
    from starlette.requests import Request

# What a product holds is data, never a page of this site: nothing in it may run or be taken for another type.
AS_DATA = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, no-cache",
    "Vary": "Authorization, Cookie",
}
# Else Airflow would compress it on the way, and size, ranges and checksum would be of something else.
AS_IT_IS = {"Content-Encoding": "identity"}
TYPES = {
    ".gz": "application/gzip",
    ".zst": "application/zstd",
    ".fits": "application/fits",
    ".fz": "application/fits",
}
ANY_TYPE = "application/octet-stream"


class Damaged(Refusal):
    """No copy of a file is what the lake says it is."""

    status = 502


class NotServed(Refusal):
    """A file lies on storage that this service cannot read from."""

    status = 501


class Streamed(FileResponse):
    """A file in pieces of 1 MB, with ranges."""

    chunk_size = CHUNK


def lake() -> OutputLake:
    """Open the lake with the service's own account."""
    return OutputLake(RucioLake.from_connection(LAKE_CONNECTION))


def mime_type(name: str) -> str:
    """Give the type of a file by its name; of a compressed one that of the compression."""
    suffix = "." + name.rsplit(".", 1)[-1].lower()
    guessed, encoding = mimetypes.guess_type(name)
    return TYPES.get(suffix) or (None if encoding else guessed) or ANY_TYPE


def etag(file: LakeFile) -> str:
    """Name the content: a dataset's file never changes under one checksum and size."""
    return f'"{file.sha256 or file.adler32}-{file.size}"'


def digests(file: LakeFile) -> dict[str, str]:
    """Give what is known of the content (RFC 9530, and RFC 3230 as grid clients have it)."""
    known = {"Digest": f"adler32={file.adler32}"}
    if file.sha256:
        value = base64.b64encode(bytes.fromhex(file.sha256)).decode()
        known["Repr-Digest"] = f"sha-256=:{value}:"
    return known


async def answer_with(request: Request, file: LakeFile) -> Response:
    """Stream a file, all or ranges of it; Damaged or NotServed before the first byte when that cannot be."""
    headers = {"ETag": etag(file), **AS_DATA}
    if _is_known(request.headers.get("if-none-match", ""), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    place = (await run_in_threadpool(places_of, [file]))[file.lfn]
    return Streamed(
        local_path(place),
        headers={**headers, **digests(file), **AS_IT_IS},
        media_type=mime_type(file.name),
        filename=file.name,
    )


def _is_known(condition: str, tag: str) -> bool:
    given = [one.strip().removeprefix("W/") for one in condition.split(",")]
    return "*" in given or tag in given


def places_of(files: Sequence[LakeFile]) -> dict[str, str]:
    """Give the PFN of a good copy of each file by LFN: one question to the lake for all of them."""
    replicas = lake().replicas([f.lfn for f in files])
    return {f.lfn: place_of(f, replicas.get(f.lfn, [])) for f in files}


def place_of(file: LakeFile, replicas: Sequence[Replica]) -> str:
    """Choose the nearest copy that is there in full size; Damaged or NotServed with what is wrong at each."""
    storage, wrong = StorageElement(), []
    for one in replicas:
        if not is_served(one.pfn):
            continue
        found = storage.size(one.pfn)
        if found == file.size:
            return one.pfn
        wrong.append(f"gone at {one.rse}" if found is None else f"{found} bytes at {one.rse}")
    if wrong:
        raise Damaged(
            f"{file.name}: {', '.join(wrong)}; the lake knows it with {file.size} bytes ({file.lfn})"
        )
    elsewhere = ", ".join(f"{r.rse} ({r.pfn.split(':', 1)[0]})" for r in replicas)
    if elsewhere:
        raise NotServed(f"{file.name}: it lies at {elsewhere}, which cannot be read from here ({file.lfn})")
    raise Damaged(f"{file.name}: the lake knows no whole copy of it ({file.lfn})")


def checked(file: LakeFile, pfn: str) -> Iterator[bytes]:
    """Read a file piece by piece; Damaged instead of its last piece when the checksum is another one."""
    value, held = 1, b""
    for chunk in StorageElement().chunks(pfn):
        if held:
            yield held
        value, held = zlib.adler32(chunk, value), chunk
    if f"{value:08x}" != file.adler32:
        raise Damaged(f"{file.name}: adler32 {value:08x}, the lake knows {file.adler32} ({file.lfn})")
    yield held
