from __future__ import annotations

import io
import json
import zipfile

import pytest
from fastapi import FastAPI, Request
from starlette.responses import Response
from starlette.testclient import TestClient

from hooks.lake_outputs import LakeFile
from portal.core.http import as_text, harden
from portal.results.archive import archive
from portal.results.files import Damaged
from tests.unit.portal.results.conftest import DATASET, Lake

OTHER = DATASET.replace("-g1", "-g2")


def http(files: list[LakeFile], **documents: object) -> TestClient:
    app = FastAPI()

    @app.api_route("/x", methods=["GET", "HEAD"])
    async def get(request: Request) -> Response:
        return await archive(request, "cta_irf-7.zip", files, documents)

    return TestClient(harden(app, as_text))


def test_all_files_and_documents_are_in_it_as_they_are(lake: Lake) -> None:
    files = [lake.put("irf.fits.gz", b"\x1f\x8b" + bytes(3 << 20)), lake.put("verdict.json", b"{}")]
    answer = http(files, **{"a.json": {"b": 1}, "dag.py": "print()"}).get("/x")
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == 'attachment; filename="cta_irf-7.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archived:
        assert archived.testzip() is None
        assert archived.namelist() == ["a.json", "dag.py", "irf.fits.gz", "verdict.json"]
        assert archived.read("irf.fits.gz") == b"\x1f\x8b" + bytes(3 << 20)
        assert json.loads(archived.read("a.json")) == {"b": 1}
        assert {one.compress_type for one in archived.infolist()} == {zipfile.ZIP_STORED}


def test_its_size_is_known_beforehand(lake: Lake) -> None:
    files = [lake.put("a", bytes(100)), lake.put("b", b"")]
    client = http(files)
    answer = client.get("/x")
    assert int(answer.headers["content-length"]) == len(answer.content)
    asked = client.head("/x")
    assert (asked.headers["content-length"], asked.content) == (answer.headers["content-length"], b"")


def test_files_of_several_products_do_not_meet(lake: Lake) -> None:
    files = [lake.put("steering.json", b"1"), lake.put("steering.json", b"2", dataset=OTHER)]
    with zipfile.ZipFile(io.BytesIO(http(files).get("/x").content)) as archived:
        names = archived.namelist()
        assert names == [f"{d.rsplit('/', 1)[-1]}.steering.json" for d in (DATASET, OTHER)]
        assert [archived.read(name) for name in names] == [b"1", b"2"]


def test_one_file_that_is_gone_refuses_the_whole_archive_before_it_begins(lake: Lake) -> None:
    files = [lake.put("a", b"1"), lake.put("b", b"2")]
    lake.path(files[1]).unlink()
    answer = http(files).get("/x")
    assert answer.status_code == 502
    assert "b: gone at NEAR-DISK" in answer.text


def test_a_file_that_changes_under_way_breaks_the_archive_off(lake: Lake) -> None:
    files = [lake.put("a", bytes(10)), lake.put("b", bytes(10))]
    lake.path(files[1]).write_bytes(b"0123456789")
    with pytest.raises(RuntimeError, match="already started") as told:
        http(files).get("/x")
    assert isinstance(told.value.__cause__, Damaged)
    assert "b: adler32" in str(told.value.__cause__)


def test_places_are_one_question(lake: Lake) -> None:
    http([lake.put(f"f{n}", b"x") for n in range(40)]).get("/x")
    assert lake.asked == ["replicas of 40"]
