"""All files of a job in one archive, made while it is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from zipstream import ZipStream

from portal.results.files import AS_DATA, checked, places_of
from portal.results.listing import names_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from hooks.lake_outputs import LakeFile


async def archive(
    request: Request, name: str, files: Sequence[LakeFile], documents: Mapping[str, Any]
) -> Response:
    """Stream an archive of files and JSON documents; Damaged or NotServed before the first byte.

    Nothing is compressed: most of it is already, and so its size is known beforehand.
    """
    zipped = await run_in_threadpool(_zipped, files, documents)
    headers = {
        **AS_DATA,
        "Content-Length": str(len(zipped)),
        "Content-Disposition": f'attachment; filename="{name}"',
    }
    if request.method == "HEAD":
        return Response(headers=headers, media_type="application/zip")
    return StreamingResponse(iter(zipped), headers=headers, media_type="application/zip")


def _zipped(files: Sequence[LakeFile], documents: Mapping[str, Any]) -> ZipStream:
    places = places_of(files)
    zipped = ZipStream(sized=True)
    for name, document in documents.items():
        text = document if isinstance(document, str) else json.dumps(document, indent=1)
        zipped.add(text, name)
    for name, file in names_of(files).items():
        zipped.add(checked(file, places[file.lfn]), name, size=file.size)
    return zipped
