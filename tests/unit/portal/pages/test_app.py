"""The pages with a user who is logged in and jobs that are made up; the real ones are in tests/e2e."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from access import pages
from access.users import EsapUser, current_user
from esap_batch.identity import load_identities
from esap_batch.progress import PROGRESS
from hooks.errors import BackendUnavailable
from hooks.settings import config_dir
from portal.core import offers
from portal.core.jobs import EXTERNAL, JobView, Wanted
from portal.core.phases import Phase
from portal.core.refusals import NotFound
from portal.core.service import Jobs, Order
from portal.pages import job, lists
from portal.pages.app import create_app
from portal.results.failures import Failure
from portal.results.listing import Stored
from portal.results.run import News, Run
from tests.unit.portal.results.conftest import MOMENT, finished, task
from tests.unit.portal.results.conftest import job as view

PEOPLE = {"accept": "text/html"}
EVIL = "<script>alert(1)</script>"


def user(name: str, *groups: str) -> EsapUser:
    identities = load_identities(config_dir() / "identity.yaml")
    return EsapUser(name, identities.identity_from_groups(name, list(groups)))


def client(app: FastAPI, **headers: str) -> TestClient:
    """Mount the app as Airflow does."""
    server = FastAPI()
    server.mount("/batch", app)
    return TestClient(server, headers=headers, follow_redirects=False)


@pytest.fixture
def app() -> FastAPI:
    app = create_app()
    app.dependency_overrides[current_user] = lambda: user("alice", "ctao/users")
    return app


@pytest.fixture
def http(app: FastAPI) -> TestClient:
    return client(app, **PEOPLE)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[int, JobView]:
    """Jobs by number; what the pages ask of them is put in their place."""
    known: dict[int, JobView] = {}

    async def get(_self: Jobs, number: int) -> JobView:
        if number not in known:
            raise NotFound(f"there is no job {number}")
        return known[number]

    async def listed(_self: Jobs, wanted: Wanted) -> list[JobView]:
        found = [j for j in known.values() if not wanted.phases or j.phase in wanted.phases]
        newest = sorted(found, key=lambda j: -j.id)[wanted.skip :][: wanted.last]
        return newest[::-1]

    async def no_failure(_job: JobView, _jobs: Jobs) -> None:
        return None

    async def nothing(_job: JobView, _run: Run) -> Stored:
        return Stored()

    async def no_lines(*_: Any) -> list[str]:
        return []

    monkeypatch.setattr(Jobs, "get", get)
    monkeypatch.setattr(Jobs, "list", listed)
    monkeypatch.setattr(lists, "news_of", lambda _jobs: {})
    monkeypatch.setattr(job, "read_run", lambda _job: Run())
    monkeypatch.setattr(job, "_in_order", lambda _job, run: run.tasks)
    monkeypatch.setattr(job, "failure_of", no_failure)
    monkeypatch.setattr(job, "stored", nothing)
    monkeypatch.setattr(job, "tail", no_lines)
    return known


def token_of(page: str) -> str:
    found = re.search(r'name="token" value="([^"]+)"', page)
    assert found
    return found[1]


def test_who_is_not_logged_in_is_led_to_the_login_and_back() -> None:
    answer = client(create_app(), **PEOPLE).get("/batch/jobs/7?x=1")
    assert answer.status_code == 303
    where = answer.headers["location"]
    assert where.startswith("http://testserver/auth/login?next=")
    assert where.endswith("testserver%2Fbatch%2Fjobs%2F7%3Fx%3D1")


@pytest.mark.parametrize("headers", [{}, {**PEOPLE, "authorization": "Basic x"}])
def test_programs_are_refused_with_words_instead(headers: dict[str, str]) -> None:
    answer = client(create_app(), **headers).get("/batch/")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"].startswith("text/plain")


def test_a_change_by_nobody_is_refused_and_not_led_anywhere() -> None:
    answer = client(create_app(), **PEOPLE).post("/batch/jobs/7/abort")
    assert answer.status_code == 401
    assert "Log in" in answer.text


def test_pages_let_nothing_in_from_elsewhere(http: TestClient, known: dict[int, JobView]) -> None:
    answer = http.get("/batch/")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe-inline" not in policy
    assert answer.headers["cache-control"] == "private, no-store"
    assert not re.search(r"\sstyle=|\son[a-z]+=|<script>", answer.text)


def test_all_text_is_shown_as_text(http: TestClient, known: dict[int, JobView], monkeypatch: Any) -> None:
    known[7] = view(run_label=EVIL, request={"message": EVIL, EVIL: EVIL}, phase=Phase.ERROR, owner="alice")
    run = Run((task(EVIL, state="deferred"),), {EVIL: {PROGRESS: {"text": EVIL, "of": 3, "done": 1}}})

    async def failure(*_: Any) -> Failure:
        return Failure(EVIL)

    monkeypatch.setattr(lists, "news_of", lambda _jobs: {7: News(EVIL, EVIL)})
    monkeypatch.setattr(job, "read_run", lambda _job: run)
    monkeypatch.setattr(job, "failure_of", failure)
    for path in ("/batch/", "/batch/jobs/7", "/batch/jobs/7/now", f"/batch/find?id={EVIL}"):
        answer = http.get(path)
        assert EVIL not in answer.text, path
        assert "&lt;script&gt;" in answer.text, path


def test_the_list_goes_from_new_to_old_page_by_page(http: TestClient, known: dict[int, JobView]) -> None:
    known |= {n: view(id=n) for n in range(1, 31)}
    first, second = http.get("/batch/").text, http.get("/batch/?page=2").text
    assert re.findall(r"/batch/jobs/(\d+)", first) == [str(n) for n in range(30, 5, -1)]
    assert re.findall(r"/batch/jobs/(\d+)", second) == ["5", "4", "3", "2", "1"]
    assert 'rel="next"' in first
    assert 'rel="prev"' not in first
    assert 'rel="prev"' in second
    assert 'rel="next"' not in second


@pytest.mark.parametrize(
    "query", ["phase=SLEEPING", "workflow=nothing", "page=0", "page=x", "page=99999999999999999999"]
)
def test_a_filter_that_cannot_be_is_told(http: TestClient, known: dict[int, JobView], query: str) -> None:
    answer = http.get(f"/batch/?{query}")
    assert answer.status_code == 400
    assert query.split("=", maxsplit=1)[0] in answer.text


@pytest.mark.parametrize(("number", "status"), [("7", 303), (" 7 ", 303), ("8", 404)])
def test_a_job_is_found_by_its_number(
    http: TestClient, known: dict[int, JobView], number: str, status: int
) -> None:
    known[7] = view()
    answer = http.get("/batch/find", params={"id": number})
    assert answer.status_code == status
    if status == 303:
        assert answer.headers["location"] == "http://testserver/batch/jobs/7"


@pytest.mark.parametrize("number", ["", "x", "-1", "0", "7.5", "9" * 19, "9" * 5000, "\u0667"])
def test_what_is_no_number_is_refused(http: TestClient, known: dict[int, JobView], number: str) -> None:
    assert http.get("/batch/find", params={"id": number}).status_code == 400


@pytest.mark.parametrize("path", ["/batch/jobs/0", "/batch/jobs/x", "/batch/jobs/99999999999999999999"])
def test_a_number_that_no_job_can_have_is_no_fault(http: TestClient, path: str) -> None:
    assert http.get(path).status_code == 400


def test_a_form_needs_the_token_of_its_page_and_user(
    app: FastAPI, http: TestClient, known: dict[int, JobView], monkeypatch: pytest.MonkeyPatch
) -> None:
    known[7] = view(phase=Phase.EXECUTING)
    aborted: list[int] = []

    async def abort(_self: Jobs, number: int) -> None:
        aborted.append(number)

    monkeypatch.setattr(Jobs, "abort", abort)
    token = token_of(http.get("/batch/jobs/7").text)
    for wrong in ("", "x", token + "x", token[::-1]):
        assert http.post("/batch/jobs/7/abort", data={"token": wrong}).status_code == 403
    app.dependency_overrides[current_user] = lambda: user("bob", "ctao/users")
    assert http.post("/batch/jobs/7/abort", data={"token": token}).status_code == 403
    assert aborted == []
    app.dependency_overrides[current_user] = lambda: user("alice", "ctao/users")
    assert http.post("/batch/jobs/7/abort", data={"token": token}).status_code == 303
    assert aborted == [7]
    monkeypatch.setattr(pages, "FORM_S", -1)
    assert http.post("/batch/jobs/7/abort", data={"token": token}).status_code == 403


def test_who_only_sees_a_job_is_offered_no_changes(http: TestClient, known: dict[int, JobView]) -> None:
    known[7] = view(owner="bob", phase=Phase.EXECUTING)
    page = http.get("/batch/jobs/7").text
    assert "of bob" in page
    assert 'method="post"' not in page


def test_results_of_a_worker_are_shown_as_links_and_text(http: TestClient, known: dict[int, JobView]) -> None:
    results = [
        {"key": "map", "value": "https://a.example/map?b=1&c", "size": 2000, "mimeType": "image/fits"},
        {"key": EVIL, "value": "javascript:alert(1)", "size": None, "mimeType": None},
        {"key": "sum", "value": EVIL},
    ]
    known[7] = view(dag_id=EXTERNAL, dag_run_id=None, workflow="external.sum", notes={"results": results})
    page = http.get("/batch/jobs/7").text
    link = "https://a.example/map?b=1&amp;c"
    assert f'<dt>map</dt><dd><a href="{link}" rel="noopener">{link}</a>' in page
    assert "2.0 kB" in page
    assert "<dd>javascript:alert(1)</dd>" in page
    assert 'href="javascript' not in page
    assert EVIL not in page


def test_a_job_is_shown_although_the_lake_is_away(
    http: TestClient, known: dict[int, JobView], monkeypatch: pytest.MonkeyPatch
) -> None:
    known[7] = view()

    async def away(*_: Any) -> Stored:
        raise BackendUnavailable("Rucio", "http://lake", "connection refused")

    monkeypatch.setattr(job, "read_run", lambda _job: finished())
    monkeypatch.setattr(job, "stored", away)
    answer = http.get("/batch/jobs/7")
    assert answer.status_code == 200
    assert "Rucio at http://lake does not answer" in answer.text


@pytest.mark.parametrize(
    ("told", "counts"),
    [
        ({"done": 3, "of": 8, "running": 2, "queued": 3}, {"queued": 3, "running": 2, "done": 3}),
        ({"done": 3, "of": 8}, {"done": 3, "to come": 5}),
        ({"observations": {"done": 5, "waiting": 2}}, {"done": 5, "waiting": 2}),
        ({"text": "waits"}, {}),
        ({"of": 8}, {}),
    ],
)
def test_jobs_by_state(told: dict[str, Any], counts: dict[str, int]) -> None:
    assert job._counts(told) == counts


def test_only_workflows_of_the_user_are_offered(app: FastAPI, http: TestClient) -> None:
    offered = re.findall(r"/batch/new/(\w+)", http.get("/batch/new").text)
    assert "cta_irf" in offered
    assert "km3net_concordia" not in offered
    assert http.get("/batch/new/km3net_concordia").status_code == 403
    assert http.get("/batch/new/nothing").status_code == 404


def ordered(http: TestClient, monkeypatch: pytest.MonkeyPatch, **fields: str) -> tuple[Any, list[Any]]:
    made: list[Any] = []

    async def make(_self: Jobs, order: Order, *, start: bool) -> JobView:
        made.append((order, start))
        return view(id=9)

    async def quote(*_: Any) -> None:
        return None

    monkeypatch.setattr(Jobs, "create", make)
    monkeypatch.setattr(offers, "quote", quote)
    token = token_of(http.get("/batch/new/hello_world").text)
    return http.post("/batch/new/hello_world", data={"token": token, **fields}), made


def test_a_filled_form_becomes_a_job(http: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"field.n_jobs": "4", "field.message": "hi", "field.job_name": "first", "action": "run"}
    answer, made = ordered(http, monkeypatch, **fields)
    assert (answer.status_code, answer.headers["location"]) == (303, "http://testserver/batch/jobs/9")
    ((order, start),) = made
    assert start
    assert order.request == {"n_jobs": 4, "message": "hi", "job_name": "first"}
    assert (order.workflow, order.run_label) == ("hello_world", "first")


def test_a_name_that_cannot_be_shown_is_told_at_its_field(
    http: TestClient, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def quote(*_: Any) -> None:
        return None

    monkeypatch.setattr(offers, "quote", quote)
    token = token_of(http.get("/batch/new/hello_world").text)
    for name in ("first\nsecond", "first\u200bsecond"):
        fields = {"token": token, "field.job_name": name, "action": "create"}
        answer = http.post("/batch/new/hello_world", data=fields)
        assert answer.status_code == 400
        assert 'id="e-job_name"' in answer.text
        assert "runId" not in answer.text


def test_it_may_be_created_only(http: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    _, made = ordered(http, monkeypatch, action="create")
    assert [start for _, start in made] == [False]


def test_a_form_with_mistakes_comes_back_as_it_was_with_words(
    http: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"field.n_jobs": "many", "field.duration_s": "-1", "field.message": EVIL, "action": "run"}
    answer, made = ordered(http, monkeypatch, **fields)
    assert answer.status_code == 400
    assert made == []
    page = answer.text
    assert "2 problems to mend" in page
    assert re.search(
        r'id="f-n_jobs"[^>]* value="many"[^>]*aria-describedby="h-n_jobs e-n_jobs" aria-invalid', page
    )
    assert re.search(r'id="e-duration_s">below the minimum', page)
    assert EVIL not in page
    assert 'value="&lt;script&gt;' in page


def test_an_action_that_is_not_there_is_told(http: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, made = ordered(http, monkeypatch, action="explode")
    assert (answer.status_code, made) == (400, [])


def uploaded(http: TestClient, content: bytes, workflow: str = "") -> Any:
    token = token_of(http.get("/batch/new").text)
    data = {"token": token, "workflow": workflow}
    return http.post("/batch/new", data=data, files={"file": ("steering.json", content)})


def test_a_steering_file_fills_its_form_in(http: TestClient) -> None:
    document = {"workflow": "hello_world", "request": {"n_jobs": 5, "message": "from a file"}}
    answer = uploaded(http, json.dumps(document).encode())
    assert answer.status_code == 200
    assert re.search(r'id="f-n_jobs"[^>]* value="5"', answer.text)
    assert 'value="from a file"' in answer.text


def test_esaps_flat_file_fills_the_form_in_too(http: TestClient) -> None:
    document = {"workflow": "CONCORDIA", "Parameters": {"NSHOW": "200", "ERANGE": "1.E3 1.E5"}}
    answer = uploaded(http, json.dumps(document).encode())
    assert re.search(r'id="f-NSHOW"[^>]* value="200"', answer.text)
    assert re.search(r'id="f-ERANGE"[^>]* value="1000.0, 100000.0"', answer.text)


def test_mistakes_of_a_file_stand_at_the_fields(http: TestClient) -> None:
    answer = uploaded(http, json.dumps({"workflow": "hello_world", "request": {"n_jobs": 0}}).encode())
    assert "1 problem to mend" in answer.text
    assert "below the minimum" in answer.text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "allowed is JSON"),
        (b"{", "allowed is JSON"),
        (b"[]", "allowed is a JSON object"),
        (b"\xff\xfe", "allowed is UTF-8"),
        (b'{"workflow": "nothing"}', "nothing"),
        (b'{"workflow": "km3net_concordia", "request": {}}', "may not run"),
        (b"[" * 100_000, "allowed is JSON"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(http: TestClient, content: bytes, words: str) -> None:
    answer = uploaded(http, content)
    assert answer.status_code == 400
    assert words in answer.text


def test_a_form_without_file_is_told(http: TestClient) -> None:
    token = token_of(http.get("/batch/new").text)
    answer = http.post("/batch/new", data={"token": token, "file": "not a file"})
    assert answer.status_code == 400
    assert "Choose a file first" in answer.text


def test_files_of_the_page_are_there(http: TestClient) -> None:
    for name in ("style.css", "refresh.js"):
        answer = http.get(f"/batch/static/{name}")
        assert answer.status_code == 200
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert http.get("/batch/static/../app.py").status_code == 404


def test_a_date_that_is_none_is_told(http: TestClient, known: dict[int, JobView]) -> None:
    known[7] = view()
    token = token_of(http.get("/batch/jobs/7").text)
    answer = http.post("/batch/jobs/7/destruction", data={"token": token, "destruction": "tomorrow"})
    assert answer.status_code == 400
    assert "YYYY-MM-DD" in answer.text


@pytest.mark.parametrize("given", ["2027-03-01T12:00", "2027-03-01T12:00Z", "2027-03-01T14:00+02:00"])
def test_a_date_is_in_utc_unless_it_names_its_zone(
    http: TestClient, known: dict[int, JobView], monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    known[7] = view()
    told: list[datetime] = []

    async def set_destruction(_self: Jobs, _number: int, when: datetime) -> None:
        told.append(when)

    monkeypatch.setattr(Jobs, "set_destruction", set_destruction)
    token = token_of(http.get("/batch/jobs/7").text)
    http.post("/batch/jobs/7/destruction", data={"token": token, "destruction": given})
    assert told == [datetime(2027, 3, 1, 12, tzinfo=UTC)]


def test_a_running_job_is_shown_anew_without_script(http: TestClient, known: dict[int, JobView]) -> None:
    known[7] = view(phase=Phase.EXECUTING)
    page = http.get("/batch/jobs/7").text
    assert '<noscript><meta http-equiv="refresh"' in page
    known[7] = view(phase=Phase.COMPLETED, end_time=MOMENT)
    assert "http-equiv" not in http.get("/batch/jobs/7").text
