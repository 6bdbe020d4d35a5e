from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.responses import Response
from starlette.testclient import TestClient

from hooks.lake_outputs import LakeFile, Replica
from portal.core.http import as_text, harden
from portal.results.files import Damaged, NotServed, answer_with, checked, mime_type, place_of, places_of
from tests.unit.portal.results.conftest import Lake

CONTENT = bytes(range(256)) * 10


@pytest.fixture
def file(lake: Lake) -> LakeFile:
    return lake.put("irf.fits.gz", CONTENT, sha256=hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def http(file: LakeFile) -> TestClient:
    return TestClient(app_for(file))


def app_for(file: LakeFile) -> FastAPI:
    app = FastAPI()

    @app.api_route("/x", methods=["GET", "HEAD"])
    async def get(request: Request) -> Response:
        return await answer_with(request, file)

    return harden(app, as_text)


def test_a_file_comes_whole_with_name_type_size_and_checksums(http: TestClient, file: LakeFile) -> None:
    answer = http.get("/x")
    assert (answer.status_code, answer.content) == (200, CONTENT)
    headers = answer.headers
    assert headers["content-type"] == "application/gzip"
    assert headers["content-length"] == str(len(CONTENT))
    assert headers["content-disposition"] == 'attachment; filename="irf.fits.gz"'
    assert headers["digest"] == f"adler32={file.adler32}"
    digest = headers["repr-digest"].removeprefix("sha-256=:").removesuffix(":")
    assert base64.b64decode(digest) == hashlib.sha256(CONTENT).digest()
    assert headers["etag"] == f'"{file.sha256}-{len(CONTENT)}"'
    assert headers["accept-ranges"] == "bytes"


def test_what_it_holds_can_do_nothing_in_a_browser(http: TestClient) -> None:
    headers = http.get("/x").headers
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"].startswith("private")


def test_head_tells_the_same_without_content(http: TestClient) -> None:
    answer = http.head("/x")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(CONTENT))


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=100-", 100, 2560),
        ("bytes=-5", 2555, 2560),
        ("bytes=2550-9999", 2550, 2560),
    ],
)
def test_a_range(http: TestClient, asked: str, start: int, end: int) -> None:
    answer = http.get("/x", headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, CONTENT[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/2560"


def test_several_ranges(http: TestClient) -> None:
    answer = http.get("/x", headers={"Range": "bytes=0-1,100-101"})
    assert answer.status_code == 206
    assert answer.headers["content-type"].startswith("multipart/byteranges; boundary=")
    assert b"Content-Range: bytes 0-1/2560" in answer.content
    assert b"Content-Range: bytes 100-101/2560" in answer.content
    assert len(answer.content) == int(answer.headers["content-length"])


def test_a_range_that_is_not_there(http: TestClient) -> None:
    answer = http.get("/x", headers={"Range": "bytes=9999-"})
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */2560")


def test_a_broken_download_goes_on_only_with_the_same_content(http: TestClient, file: LakeFile) -> None:
    tag = f'"{file.sha256}-{file.size}"'
    same = http.get("/x", headers={"Range": "bytes=5-", "If-Range": tag})
    assert (same.status_code, same.content) == (206, CONTENT[5:])
    other = http.get("/x", headers={"Range": "bytes=5-", "If-Range": '"other"'})
    assert (other.status_code, other.content) == (200, CONTENT)


@pytest.mark.parametrize("condition", ["{}", "W/{}", '"other", {}', "*"])
def test_what_the_caller_has_is_not_sent_again(http: TestClient, file: LakeFile, condition: str) -> None:
    tag = f'"{file.sha256}-{file.size}"'
    answer = http.get("/x", headers={"If-None-Match": condition.format(tag)})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)


def test_names_of_any_letters_are_kept(lake: Lake) -> None:
    answer = TestClient(app_for(lake.put("Größe 1.json", b"{}"))).get("/x")
    assert answer.headers["content-disposition"] == "attachment; filename*=utf-8''Gr%C3%B6%C3%9Fe%201.json"


def test_a_file_that_is_gone_is_told_by_name_before_anything_is_sent(
    lake: Lake, file: LakeFile, http: TestClient
) -> None:
    lake.path(file).unlink()
    answer = http.get("/x")
    assert answer.status_code == 502
    assert "irf.fits.gz: gone at NEAR-DISK" in answer.text


def test_a_file_of_another_size_is_never_sent(lake: Lake, file: LakeFile, http: TestClient) -> None:
    lake.path(file).write_bytes(CONTENT[:-1])
    answer = http.get("/x")
    assert answer.status_code == 502
    assert "2559 bytes at NEAR-DISK; the lake knows it with 2560 bytes" in answer.text


def test_the_next_copy_is_taken_when_the_nearest_is_bad(lake: Lake, file: LakeFile) -> None:
    good = lake.copies[file.lfn][0]
    lake.copies[file.lfn] = [Replica("BAD-DISK", f"file://localhost:0{lake.folder}/nothing"), good]
    assert places_of([file]) == {file.lfn: good.pfn}


def test_storage_that_cannot_be_read_is_named(lake: Lake, file: LakeFile) -> None:
    elsewhere = Replica("FAR-DISK", "root://far//irf.fits.gz")
    with pytest.raises(NotServed, match=r"FAR-DISK \(root\)") as told:
        place_of(file, [elsewhere])
    assert told.value.status == 501
    assert place_of(file, [elsewhere, lake.copies[file.lfn][0]]) == lake.copies[file.lfn][0].pfn


def test_a_file_without_copy_is_told(file: LakeFile) -> None:
    with pytest.raises(Damaged, match="no whole copy"):
        place_of(file, [])


def test_many_files_are_one_question(lake: Lake) -> None:
    places_of([lake.put(f"f{n}", b"x") for n in range(50)])
    assert lake.asked == ["replicas of 50"]


def test_a_large_file_is_never_held(lake: Lake, file: LakeFile) -> None:
    """300 MB go through in pieces of at most 1 MB."""
    size = 300 << 20
    with lake.path(file).open("wb") as sparse:
        sparse.truncate(size)
    pieces: list[int] = []

    async def send(message: dict[str, Any]) -> None:
        pieces.append(len(message.get("body", b"")))

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/x", "headers": []}
    scope |= {"query_string": b"", "asgi": {"spec_version": "2.4"}}
    large = LakeFile(file.lfn, file.dataset, size, "00000000")

    async def stream() -> None:
        answer = await answer_with(Request(scope), large)
        await answer(scope, receive, send)  # type: ignore[arg-type]

    asyncio.run(stream())
    assert sum(pieces) == size
    assert max(pieces) == 1 << 20


def test_a_wrong_checksum_breaks_off_before_the_last_piece(lake: Lake, file: LakeFile) -> None:
    pfn = lake.copies[file.lfn][0].pfn
    assert b"".join(checked(file, pfn)) == CONTENT
    lake.path(file).write_bytes(bytes(len(CONTENT)))
    with pytest.raises(Damaged, match="the lake knows"):
        list(checked(file, pfn))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("irf.fits.gz", "application/gzip"),
        ("events.fits", "application/fits"),
        ("raw.fits.fz", "application/fits"),
        ("irf.png", "image/png"),
        ("verdict.json", "application/json"),
        ("DAT000001.zst", "application/zstd"),
        ("DAT000001", "application/octet-stream"),
        ("page.html", "text/html"),
    ],
)
def test_types(name: str, kind: str) -> None:
    assert mime_type(name) == kind
