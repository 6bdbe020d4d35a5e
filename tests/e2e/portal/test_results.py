"""What jobs have to give, fetched with the user's rights."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from prov.model import ProvAgent, ProvDocument
from rocrate.rocrate import ROCrate

from hooks.lake_outputs import OutputLake
from hooks.rucio_lake import RucioLake
from hooks.storage_element import local_path
from localgrid.grid import Grid
from localgrid.samples.blank import fill_blank
from tests.e2e.conftest import Runs
from tests.e2e.tokens import REFUSED, Mint, require_refusal
from tests.e2e.uws import Uws, number
from tests.uws_schema import HREF

MESSAGE = uuid.uuid4().hex
CONTENT = (
    "results/hello_00000.json",
    "results.zip",
    "ro-crate-metadata.json",
    "steering.json",
    "provenance.json",
    "logs/await_jobs",
)
EVERYTHING = (*CONTENT, "reports/submit_jobs", "logs/submit_jobs/jobs/0")


@pytest.fixture(scope="module")
def http(users: Callable[[str], Runs]) -> Callable[[str], httpx.Client]:
    """Give a client below /batch/jobs for each user."""

    def client(user: str) -> httpx.Client:
        api = users(user).api
        headers = {"Authorization": f"Bearer {api.token}"}
        return httpx.Client(base_url=f"{api.url}/batch/jobs/", headers=headers, timeout=60)

    return client


@pytest.fixture(scope="module")
def finish(users: Callable[[str], Runs], wait_for: Callable[..., Any]) -> Callable[..., str]:
    """Give a function that runs a job to its end and gives its number."""

    def run(user: str, workflow: str, end: str = "COMPLETED", **fields: Any) -> str:
        uws = Uws(users(user).api)
        path = uws.make(workflow, PHASE="RUN", **fields)
        wait_for(lambda: uws.phase(path) not in ("QUEUED", "EXECUTING"), 300)
        assert uws.phase(path) == end, uws.text(f"{path}/error")
        return number(path)

    return run


@pytest.fixture(scope="module")
def job(finish: Callable[..., str]) -> str:
    return finish("alice", "hello_world", n_jobs=2, message=MESSAGE)


@pytest.fixture
def alice(http: Callable[[str], httpx.Client]) -> httpx.Client:
    return http("alice")


def test_every_link_of_the_list_delivers_what_it_says(users: Callable[[str], Runs], job: str) -> None:
    uws = Uws(users("alice").api)
    found = uws.results(f"jobs/{job}")
    assert {"hello_00000.json", "hello_00001.json", "archive", "crate", "steering", "provenance"} <= set(
        found
    )
    assert {"log.validate_request", "log.await_jobs", "log.report_end"} <= set(found)
    for name, result in found.items():
        answer = uws.fetch(result)
        assert answer.status_code == 200, name
        assert answer.headers["content-type"].split(";")[0] == result.get("mime-type"), name
        if size := result.get("size"):
            assert len(answer.content) == int(size), name


def test_a_file_is_that_of_the_lake(alice: httpx.Client, job: str, lake: RucioLake) -> None:
    answer = alice.get(f"{job}/results/hello_00001.json")
    assert json.loads(answer.content)["message"] == MESSAGE
    dataset = json.loads(alice.get(f"{job}/steering.json").content)["product_lfn"] + "-g1"
    known = {f["name"].rsplit("/", 1)[-1]: f for f in lake.files(dataset)}["hello_00001.json"]
    assert len(answer.content) == known["bytes"]
    assert f"{zlib.adler32(answer.content):08x}" == known["adler32"]
    assert answer.headers["digest"] == f"adler32={known['adler32']}"
    if "repr-digest" in answer.headers:
        assert hashlib.sha256(answer.content).hexdigest() in answer.headers["etag"]
    assert answer.headers["content-disposition"] == 'attachment; filename="hello_00001.json"'


def test_ranges_are_of_the_file_itself_whatever_the_client_can_unpack(alice: httpx.Client, job: str) -> None:
    path = f"{job}/results/verdict.json"
    whole = alice.get(path, headers={"Accept-Encoding": "gzip"})
    assert whole.headers["content-length"] == str(len(whole.content))
    assert len(whole.content) > 1024, "Airflow compresses larger answers"
    part = alice.get(path, headers={"Accept-Encoding": "gzip", "Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    rest = alice.get(path, headers={"Range": "bytes=20-", "If-Range": whole.headers["etag"]})
    assert whole.content[:20] + rest.content == whole.content
    assert alice.get(path, headers={"Range": "bytes=99999999-"}).status_code == 416
    again = alice.get(path, headers={"If-None-Match": whole.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert alice.head(path).headers["content-length"] == whole.headers["content-length"]


def test_the_archive_is_a_crate_with_all_files_in_it(alice: httpx.Client, job: str, tmp_path: Path) -> None:
    answer = alice.get(f"{job}/results.zip")
    assert answer.headers["content-length"] == str(len(answer.content))
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archived:
        assert archived.testzip() is None
        archived.extractall(tmp_path)
    crate = ROCrate(tmp_path)
    files = {file.id: file for file in crate.get_by_type("File", exact=True)}
    assert {"hello_00000.json", "hello_00001.json", "steering.json", "provenance.json"} <= set(files)
    assert set(files) | {"hello_world.py", "ro-crate-metadata.json"} == {p.name for p in tmp_path.iterdir()}
    for name, file in files.items():
        content = (tmp_path / name).read_bytes()
        assert str(len(content)) == file["contentSize"]
        assert file.get("sha256") in (None, hashlib.sha256(content).hexdigest())
    assert crate.mainEntity.id == "hello_world.py"
    assert "IngestProduct" in (tmp_path / "hello_world.py").read_text()
    (action,) = crate.get_by_type("CreateAction")
    assert action["agent"]["name"] == "alice"
    assert action["actionStatus"] == "http://schema.org/CompletedActionStatus"
    assert {v["name"]: v["value"] for v in action["object"]}["message"] == MESSAGE


def test_the_papers_tell_what_was_asked_and_where_it_comes_from(alice: httpx.Client, job: str) -> None:
    steering = alice.get(f"{job}/steering.json").json()
    assert (steering["owner"], steering["request"]["message"]) == ("alice", MESSAGE)
    provenance = ProvDocument.deserialize(content=alice.get(f"{job}/provenance.json").text, format="json")
    assert "esap:user/alice" in {str(agent.identifier) for agent in provenance.get_records(ProvAgent)}
    crate = ROCrate(alice.get(f"{job}/ro-crate-metadata.json").json())
    links = [file["contentUrl"] for file in crate.get_by_type("File", exact=True)]
    assert all(alice.head(link).status_code == 200 for link in links)


def test_the_log_of_a_task(alice: httpx.Client, job: str) -> None:
    log = alice.get(f"{job}/logs/await_jobs").text
    assert "jobs 2 of 2 done" in log
    assert "/logs/dag_id=" not in log, "no paths of the server"
    for path in ("logs/no_task", "logs/submit_jobs/jobs/2", "logs/await_jobs/jobs/0", "reports/await_jobs"):
        assert alice.get(f"{job}/{path}").status_code == 404, path


@pytest.mark.parametrize("user", ["bob", "dave"])
def test_nothing_of_another_user_is_there(http: Callable[[str], httpx.Client], job: str, user: str) -> None:
    other = http(user)
    for path in EVERYTHING:
        answer = other.get(f"{job}/{path}")
        assert (answer.status_code, answer.text) == (404, f"there is no job {job}\n"), path
        assert other.head(f"{job}/{path}").status_code in (404, 405), path


def test_an_administrator_fetches_everything(http: Callable[[str], httpx.Client], job: str) -> None:
    carol = http("carol")
    assert {carol.get(f"{job}/{path}").status_code for path in CONTENT} == {200}


def test_bad_credentials_get_nothing(grid: Grid, job: str) -> None:
    mint = Mint(grid.info)
    with httpx.Client(base_url=f"{grid.info['airflow']['url']}/batch/jobs/", timeout=60) as nobody:
        for kind in REFUSED:
            for path in EVERYTHING:
                require_refusal(nobody.get(f"{job}/{path}", headers=mint.headers(kind, "alice")), kind)


@pytest.mark.parametrize(
    "path",
    [
        "results/..%2f..%2f..%2fetc%2fpasswd",
        "results/%2e%2e",
        "results/%2Fetc%2Fpasswd",
        "results/hello_00000.json%00.png",
        "results/hello_00000.json%0d%0aX-Evil:%201",
        "results/" + "x" * 600,
        "reports/..%2f..%2f",
        "logs/..%2f..%2fawait_jobs",
        "logs/submit_jobs/jobs/-1",
        "logs/submit_jobs/jobs/99999999999999999999",
    ],
)
def test_no_path_leads_out(alice: httpx.Client, job: str, path: str) -> None:
    answer = alice.get(f"{job}/{path}")
    assert answer.status_code in (400, 404), answer.text
    assert "x-evil" not in answer.headers
    assert "root:" not in answer.text


def test_a_product_that_was_found_is_there_for_who_found_it(
    http: Callable[[str], httpx.Client], finish: Callable[..., str], job: str
) -> None:
    same = finish("bob", "hello_world", n_jobs=2, message=MESSAGE)
    bob = http("bob")
    assert json.loads(bob.get(f"{same}/results/hello_00000.json").content)["message"] == MESSAGE
    assert bob.get(f"{same}/steering.json").json()["owner"] == "bob"
    assert bob.get(f"{job}/results/hello_00000.json").status_code == 404


def test_a_failed_job_has_its_logs_and_reports_and_a_crate_that_says_why(
    http: Callable[[str], httpx.Client], finish: Callable[..., str]
) -> None:
    alice, bob = http("alice"), http("bob")
    failed = finish("alice", "hello_world", "ERROR", n_jobs=1, behaviour="always_fail")
    assert alice.get(f"{failed}/results.zip").status_code == 404
    (report,) = alice.get(f"{failed}/reports/submit_jobs").json()["reports"].values()
    assert (report["index"], report["attempt"], report["reason"]) == (0, 3, "PAYLOAD_FAILED")
    tail = alice.get(f"{failed}/logs/submit_jobs/jobs/0").text
    assert tail.startswith("job 0, attempt 3")
    assert "PAYLOAD_FAILED" in tail
    assert {bob.get(f"{failed}/{path}").status_code for path in EVERYTHING} == {404}
    assert "DIAGNOSIS PAYLOAD_FAILED" in alice.get(f"{failed}/logs/await_jobs").text
    (action,) = ROCrate(alice.get(f"{failed}/ro-crate-metadata.json").json()).get_by_type("CreateAction")
    assert action["actionStatus"] == "http://schema.org/FailedActionStatus"
    assert "1 of 1 jobs failed" in action["error"]


@contextmanager
def replaced(paths: list[Path], content: bytes | None) -> Iterator[None]:
    """Damage files for a while; None takes them away."""
    kept = {path: path.read_bytes() for path in paths}
    for path in paths:
        path.unlink()
        if content is not None:
            path.write_bytes(content)
    try:
        yield
    finally:
        for path, was in kept.items():
            path.write_bytes(was)


def test_a_damaged_file_is_told_by_name_and_a_good_copy_is_found(
    alice: httpx.Client, job: str, lake: RucioLake, wait_for: Callable[..., Any]
) -> None:
    dataset = alice.get(f"{job}/steering.json").json()["product_lfn"] + "-g1"
    lfn, outputs = f"{dataset}/hello_00000.json", OutputLake(lake)
    wait_for(lambda: len(outputs.replicas([lfn])[lfn]) == 2)
    near, far = (local_path(r.pfn) for r in outputs.replicas([lfn])[lfn])
    path = f"{job}/results/hello_00000.json"
    with replaced([near], None):
        assert alice.get(path).status_code == 200
    for content, words in ((None, "gone at"), (b"short", "5 bytes at")):
        with replaced([near, far], content):
            answer = alice.get(path)
            assert answer.status_code == 502
            assert "hello_00000.json" in answer.text
            assert words in answer.text
            assert alice.get(f"{job}/results.zip").status_code == 502
    same_size = bytes(near.stat().st_size)
    with (
        replaced([near, far], same_size),
        pytest.raises(httpx.RemoteProtocolError),
    ):
        alice.get(f"{job}/results.zip")
    assert alice.get(f"{job}/results.zip").status_code == 200


def test_a_campaign_has_the_files_of_all_its_products(
    alice: httpx.Client, finish: Callable[..., str], lake: RucioLake, users: Callable[[str], Runs]
) -> None:
    with tempfile.TemporaryDirectory(prefix="esap-dl0-") as folder:
        fill_blank(lake, Path(folder), project="PI-2026-077", first=977_001, count=2, files=1)
    done = finish("alice", "cta_reprocessing", project="PI-2026-077", processor="esap-noop")
    uws = Uws(users("alice").api)
    found = uws.results(f"jobs/{done}")
    papers = [name for name in found if name.endswith(".verdict.json")]
    assert len(papers) == 2
    for name in papers:
        assert urlsplit(found[name].get(HREF)).path.endswith(f"/batch/jobs/{done}/results/{name}")
        assert uws.fetch(found[name]).json()["passed"] is True
    provenance = alice.get(f"{done}/provenance.json")
    bundles = ProvDocument.deserialize(content=provenance.text, format="json").bundles
    assert len(list(bundles)) == 2
    with zipfile.ZipFile(io.BytesIO(alice.get(f"{done}/results.zip").content)) as archived:
        assert archived.testzip() is None
        assert set(papers) <= set(archived.namelist())
