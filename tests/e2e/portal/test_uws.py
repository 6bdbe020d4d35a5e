"""UWS 1.1 statement by statement, with jobs that are not started; with sections of REC-UWS-1.1-20161024."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Runs
from tests.e2e.uws import QUIET, Uws, number, utc
from tests.uws_schema import HREF, said

PHASES = (
    "PENDING", "QUEUED", "EXECUTING", "COMPLETED", "ERROR",
    "ABORTED", "UNKNOWN", "HELD", "SUSPENDED", "ARCHIVED",
)  # fmt: skip
LIST = f"{QUIET}/jobs"


@pytest.fixture(scope="session")
def uws(users: Callable[[str], Runs]) -> Callable[[str], Uws]:
    return lambda user: Uws(users(user).api)


@pytest.fixture(scope="session")
def alice(uws: Callable[[str], Uws]) -> Uws:
    return uws("alice")


@pytest.fixture(scope="session")
def bob(uws: Callable[[str], Uws]) -> Uws:
    return uws("bob")


class TestJobList:
    """2.1.1, 2.2.2.1."""

    def test_a_job_in_the_list_has_id_link_phase_owner_run_id_and_creation_time(self, alice: Uws) -> None:
        path = alice.make(RUNID="my run")
        (ref,) = [r for r in alice.xml("jobs") if r.get("id") == number(path)]
        assert ref.get(HREF) == f"{alice.api.url}/uws/jobs/{number(path)}"
        assert [said(ref, n) for n in ("phase", "runId", "ownerId")] == ["PENDING", "my run", "alice"]
        assert said(ref, "creationTime") == alice.say(path, "creationTime")

    def test_the_version_is_told(self, alice: Uws) -> None:
        assert alice.xml("jobs").get("version") == "1.1"
        assert alice.xml(alice.make()).get("version") == "1.1"

    def test_the_list_of_a_workflow_has_its_jobs_only_under_the_same_ids(self, alice: Uws) -> None:
        one, other = number(alice.make()), number(alice.make("cta_irf"))
        assert {one, other} <= set(alice.ids())
        assert one in alice.ids(LIST)
        assert other not in alice.ids(LIST)
        assert "no job" in alice.refused("GET", f"{LIST}/{other}", 404)
        assert "there are jobs, " in alice.refused("GET", "no_such/jobs", 404)

    @pytest.mark.parametrize("phase", PHASES)
    def test_phase_filters(self, alice: Uws, phase: str) -> None:
        alice.make()
        assert {said(ref, "phase") for ref in alice.xml("jobs", PHASE=phase)} <= {phase}

    def test_phase_repeats_for_jobs_in_any_of_them(self, alice: Uws) -> None:
        one, two, three = (alice.make() for _ in range(3))
        alice.post(f"{two}/phase", PHASE="ABORT")
        alice.post(three, ACTION="DELETE")
        found = alice.ids(LIST, PHASE=["PENDING", "ABORTED"])
        assert {number(one), number(two)} <= set(found)
        assert number(three) not in found
        assert number(two) not in alice.ids(LIST, PHASE="PENDING")

    def test_last_gives_the_newest_in_ascending_order_of_creation(self, alice: Uws) -> None:
        made = [number(alice.make()) for _ in range(3)]
        assert alice.ids(LIST, LAST=2) == made[1:]
        assert alice.ids(LIST, LAST=0) == []
        times = [said(ref, "creationTime") for ref in alice.xml("jobs", LAST=1_000_000)]
        assert times == sorted(times)  # type: ignore[type-var]

    def test_after_gives_what_was_made_later_than_that(self, alice: Uws) -> None:
        one, two = alice.make(), alice.make()
        when = alice.say(one, "creationTime")
        assert when is not None
        assert number(one) not in alice.ids(LIST, AFTER=when)
        assert number(two) in alice.ids(LIST, AFTER=when)
        assert number(two) in alice.ids(LIST, AFTER=when.removesuffix("Z"))
        assert alice.ids(LIST, AFTER="2999") == []
        assert number(one) in alice.ids(LIST, AFTER="2015-10")

    def test_filters_combine_and_last_counts_what_the_others_leave(self, alice: Uws) -> None:
        first, *made = [alice.make() for _ in range(4)]
        alice.post(f"{made[-1]}/phase", PHASE="ABORT")
        when = alice.say(first, "creationTime")
        found = alice.ids(LIST, PHASE="PENDING", AFTER=when, LAST=1)
        assert found == [number(made[1])]
        assert alice.ids(LIST, phase="PENDING", after=when) == [number(p) for p in made[:2]]

    @pytest.mark.parametrize(
        ("query", "says"),
        [
            ("PHASE=SUCCESS", "PHASE"),
            ("PHASE=pending", "PHASE"),
            ("PHASE=", "PHASE"),
            ("LAST=-1", "LAST"),
            ("LAST=many", "LAST"),
            ("LAST=1.5", "LAST"),
            ("LAST=1&LAST=2", "2 times"),
            ("AFTER=sometext", "AFTER"),
            ("AFTER=2015-26-10", "AFTER"),
            ("AFTER=2015-10-26T09", "AFTER"),
            ("AFTER=2015-10-26T09:00%2B01:00", "AFTER"),
            ("AFTER=2015&AFTER=2016", "2 times"),
            ("PAHSE=ERROR", "PAHSE"),
            ("PHASE=%00", "printable"),
            ("PHASE=%ff", "UTF-8"),
        ],
    )
    def test_what_is_no_filter_is_refused_by_name(self, alice: Uws, query: str, says: str) -> None:
        assert says in alice.refused("GET", f"jobs?{query}")

    def test_archived_jobs_are_listed_when_they_are_asked_for(self, alice: Uws, wait_for: Any) -> None:
        """2.2.2.1 with 2.1.5: at its destruction a job is archived; all but its results stays."""
        path = alice.make(DESTRUCTION=utc(seconds=1))
        wait_for(lambda: alice.phase(path) == "ARCHIVED")
        assert number(path) not in alice.ids()
        assert number(path) in alice.ids(PHASE="ARCHIVED")
        assert alice.parameters(path)["message"]
        assert "ARCHIVED" in alice.refused("POST", f"{path}/phase", 409, data={"PHASE": "RUN"})


class TestCreating:
    """2.2.3.1."""

    def test_a_new_job_is_pending_with_all_its_parts(self, alice: Uws) -> None:
        root = alice.xml(alice.make(n_jobs=2))
        assert [said(root, n) for n in ("phase", "ownerId", "executionDuration")] == ["PENDING", "alice", "0"]
        assert [said(root, n) for n in ("startTime", "endTime")] == [None, None]
        for name in ("creationTime", "destruction"):
            assert (said(root, name) or "").endswith("Z")

    def test_form_query_document_and_steering_file_make_the_same_job(self, alice: Uws) -> None:
        fields = {"N_JOBS": "2", "message": "the same ☄ <&>", "force": "true", "RUNID": "x"}
        document = json.dumps({"n_jobs": 2, "message": "the same ☄ <&>", "force": True, "runId": "x"})
        with_workflow = {"WORKFLOW": QUIET, **fields}
        made = [
            alice.http.post(LIST, data=fields),
            alice.http.post("jobs", data=with_workflow),
            alice.http.post("jobs", params=with_workflow),
            alice.http.post("jobs/", content=document, params={"workflow": QUIET}, headers=JSON),
            alice.http.post(LIST, files={"upload": ("steering.json", document)}),
        ]
        wanted = {"n_jobs": "2", "message": "the same ☄ <&>", "force": "true"}
        for answer in made:
            path = alice.led(answer)
            assert alice.parameters(path) == wanted
            assert alice.say(path, "runId") == "x"

    def test_the_answer_leads_to_the_job_in_the_same_list(self, alice: Uws) -> None:
        assert alice.make().startswith(f"{LIST}/")
        assert alice.post("jobs", WORKFLOW=QUIET).startswith("jobs/")

    def test_behind_a_proxy_addresses_are_the_configured_ones(self, alice: Uws) -> None:
        answer = alice.http.post(LIST, headers={"X-Forwarded-Host": "evil.example", "Host": "inside.example"})
        assert alice.led(answer).startswith(LIST)

    def test_times_can_be_given(self, alice: Uws) -> None:
        when = utc(days=2)
        path = alice.make(destruction=when, executionduration="60")
        assert (alice.text(f"{path}/destruction"), alice.text(f"{path}/executionduration")) == (when, "60")

    @pytest.mark.parametrize(
        ("fields", "says"),
        [
            ({"n_jbos": "2"}, 'n_jbos = "2": allowed is n_jobs'),
            ({"n_jobs": "many"}, 'n_jobs = "many": allowed a whole number from 1 to 1000'),
            ({"n_jobs": "1001"}, "n_jobs = 1001"),
            ({"n_jobs": "1e999"}, "finite"),
            ({"n_jobs": ["1", "2"]}, "it is given 2 times"),
            ({"message": "a\x00b"}, "message"),
            ({"message": "x" * 201}, "message"),
            ({"behaviour": "dance", "n_jobs": "0"}, "behaviour"),
            ({"behaviour": "dance", "n_jobs": "0"}, "n_jobs = 0"),
            ({"PHASE": "ABORT"}, 'PHASE = "ABORT": allowed RUN'),
            ({"PHASE": "run"}, 'PHASE = "run": allowed RUN'),
            ({"RUNID": "a\r\nSet-Cookie: b"}, "runId"),
            ({"RUNID": "x" * 201}, "runId"),
            ({"WORKFLOW": "cta_irf"}, "this is the job list of that workflow"),
            ({"DESTRUCTION": "tomorrow"}, "DESTRUCTION"),
            ({"DESTRUCTION": "2015-10-26"}, "a time to come"),
            ({"EXECUTIONDURATION": "-5"}, "EXECUTIONDURATION"),
            ({"ACTION": "DELETE"}, "ACTION"),
        ],
    )
    def test_what_cannot_be_made_is_refused_by_name_and_leaves_nothing(
        self, alice: Uws, fields: dict[str, Any], says: str
    ) -> None:
        before = alice.ids(LIST)
        assert says in alice.refused("POST", LIST, data=fields)
        assert alice.ids(LIST) == before

    @pytest.mark.parametrize(
        ("body", "kind", "status", "says"),
        [
            (b"<job/>", "text/xml", 415, "text/xml"),
            (b'{"n_jobs": NaN}', "application/json", 400, "NaN"),
            (b'{"n_jobs": 1, "n_jobs": 2}', "application/json", 400, "more than once"),
            (b'{"a":' * 50_000, "application/json", 400, "nested"),
            (b"[]", "application/json", 400, "JSON object"),
            (b"n_jobs=%ff", "application/x-www-form-urlencoded", 400, "UTF-8"),
            (b"x" * 300_000, "application/json", 413, "at most"),
            (b"--X\r\n", "multipart/form-data", 400, "boundary"),
        ],
    )
    def test_bodies_that_cannot_be_read_are_refused(
        self, alice: Uws, body: bytes, kind: str, status: int, says: str
    ) -> None:
        before = alice.ids(LIST)
        told = alice.refused("POST", LIST, status, content=body, headers={"Content-Type": kind})
        assert says in told
        assert alice.ids(LIST) == before

    def test_a_body_that_grows_is_cut_off(self, alice: Uws) -> None:
        def endless() -> Any:
            for _ in range(100):
                yield b"x" * 100_000

        assert "at most" in alice.refused("POST", LIST, 413, content=endless(), headers=JSON)

    def test_a_workflow_has_to_be_named_where_the_list_does_not(self, alice: Uws) -> None:
        assert "WORKFLOW = (not given): allowed cta_" in alice.refused("POST", "jobs", data={"n_jobs": "1"})
        assert 'WORKFLOW = "no"' in alice.refused("POST", "jobs", data={"WORKFLOW": "no"})

    def test_a_workflow_of_others_is_refused(self, alice: Uws, uws: Callable[[str], Uws]) -> None:
        assert "may not run" in alice.refused("POST", "jobs", 403, data={"WORKFLOW": "km3net_concordia"})
        assert "may not run" in uws("dave").refused("POST", "cta_irf/jobs", 403)


JSON = {"Content-Type": "application/json"}


class TestJob:
    """2.1.2 and 2.2.1: the resources of a job."""

    def test_each_part_has_an_address(self, alice: Uws) -> None:
        path = alice.make(n_jobs=4)
        root = alice.xml(path)
        assert alice.text(f"{path}/phase") == "PENDING"
        assert alice.text(f"{path}/owner") == "alice"
        assert alice.text(f"{path}/executionduration") == "0"
        assert alice.text(f"{path}/destruction") == said(root, "destruction")
        assert alice.text(f"{path}/quote") == (said(root, "quote") or "")
        assert alice.text(f"{path}/error") == ""
        assert alice.text(f"{path}/parameters/N_Jobs") == "4"
        assert alice.parameters(path)["n_jobs"] == "4"
        assert list(alice.xml(f"{path}/results")) == []

    @pytest.mark.parametrize(
        "name", ["", "0", "017", "x", "-1", "1.0", "99999999", "9" * 30, "%2e%2e", "1%00"]
    )
    def test_what_is_no_job_is_not_there(self, alice: Uws, name: str) -> None:
        path = f"jobs/{name}/phase"
        assert alice.http.get(path).status_code in (400, 404)

    def test_what_a_job_does_not_have_is_not_there(self, alice: Uws) -> None:
        path = alice.make()
        for part in ("nothing", "parameters/n_jobs", "results/x", "results/..%2f..%2fetc"):
            alice.refused("GET", f"{path}/{part}", 404)

    def test_other_methods_are_not_allowed(self, alice: Uws) -> None:
        path = alice.make()
        for method, part in (("PUT", ""), ("PATCH", ""), ("DELETE", "/phase"), ("POST", "/owner")):
            answer = alice.http.request(method, f"{path}{part}")
            assert answer.status_code == 405
            assert "GET" in answer.headers["allow"]

    def test_nobody_else_reaches_it(self, alice: Uws, bob: Uws, uws: Callable[[str], Uws]) -> None:
        """3: a job belongs to its owner."""
        path = alice.make()
        for other in (bob, uws("dave")):
            assert number(path) not in other.ids()
            for part in ("", "/phase", "/parameters", "/results", "/error", "/owner", "/destruction"):
                other.refused("GET", f"{path}{part}", 404)
            for part, data in (
                ("/phase", {"PHASE": "RUN"}),
                ("", {"ACTION": "DELETE"}),
                ("", {"n_jobs": "2"}),
            ):
                other.refused("POST", f"{path}{part}", 404, data=data)
            other.refused("DELETE", path, 404)
        assert alice.phase(path) == "PENDING"
        assert number(path) in uws("carol").ids()  # an administrator sees all

    def test_nobody_comes_in_without_credentials(self, alice: Uws) -> None:
        for path in ("jobs", LIST, alice.make()):
            answer = httpx.get(f"{alice.api.url}/uws/{path}")
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")

    def test_a_token_may_come_as_a_password_but_no_password_does(self, alice: Uws) -> None:
        """Clients of UWS 1.0 know Basic authentication only."""
        url = f"{alice.api.url}/uws/jobs"
        assert httpx.get(url, auth=("whoever", alice.api.token)).status_code == 200
        assert httpx.get(url, auth=(alice.api.token, "")).status_code == 401
        assert httpx.get(url, auth=("alice", "alice")).status_code == 401


class TestChanging:
    """2.2.3 and 2.1.11: requests that change a job's state."""

    def test_parameters_change_while_a_job_is_pending(self, alice: Uws) -> None:
        path = alice.make(n_jobs=1)
        assert alice.post(path, N_JOBS="2") == path
        assert alice.post(f"{path}/parameters", behaviour="slow") == f"{path}/parameters"
        answer = alice.http.put(f"{path}/parameters/Duration_S", content=b"7.5")
        assert alice.led(answer) == f"{path}/parameters"
        found = alice.parameters(path)
        assert (found["n_jobs"], found["behaviour"], found["duration_s"]) == ("2", "slow", "7.5")

    def test_a_wrong_change_changes_nothing(self, alice: Uws) -> None:
        path = alice.make(n_jobs=1)
        assert "n_jobs = 0" in alice.refused("POST", path, data={"n_jobs": "0", "behaviour": "slow"})
        assert "nn" in alice.refused("PUT", f"{path}/parameters/nn", content=b"1")
        assert "allowed are parameters" in alice.refused("POST", path)
        assert "PHASE" in alice.refused("POST", f"{path}/parameters", data={"PHASE": "RUN"})
        assert "RUNID" in alice.refused("POST", path, data={"RUNID": "late"})
        assert "n_jobs" in alice.refused("POST", f"{path}/phase", data={"PHASE": "RUN", "n_jobs": "2"})
        assert "PHASE = (not given)" in alice.refused("POST", f"{path}/phase")
        found = alice.parameters(path)
        assert (found["n_jobs"], found.get("behaviour"), alice.phase(path)) == ("1", None, "PENDING")

    def test_parameters_of_an_aborted_job_stay(self, alice: Uws) -> None:
        path = alice.make(n_jobs=1)
        alice.post(f"{path}/phase", PHASE="ABORT")
        assert "is ABORTED" in alice.refused("POST", path, 409, data={"n_jobs": "2"})

    def test_destruction_changes_within_limits(self, alice: Uws) -> None:
        """2.2.3.3: the service may give another time than was asked for; the client reads it back."""
        path = alice.make()
        when = utc(days=3)
        assert alice.post(f"{path}/destruction", DESTRUCTION=when) == path
        assert alice.text(f"{path}/destruction") == when
        alice.post(path, DESTRUCTION="2999-01-01")
        assert alice.text(f"{path}/destruction") < utc(days=366)
        assert "a time to come" in alice.refused("POST", path, data={"DESTRUCTION": "2015-01-01"})

    def test_execution_duration_changes(self, alice: Uws) -> None:
        """2.2.3.4."""
        path = alice.make()
        assert alice.post(f"{path}/executionduration", ExecutionDuration="90") == path
        assert alice.say(path, "executionDuration") == "90"
        assert "EXECUTIONDURATION" in alice.refused("POST", path, data={"EXECUTIONDURATION": str(2**31)})

    def test_abort_ends_a_job_that_was_not_started(self, alice: Uws) -> None:
        """2.2.3.6; a second ABORT finds what it wants."""
        path = alice.make()
        for _ in range(2):
            assert alice.post(f"{path}/phase", PHASE="ABORT") == path
            assert alice.phase(path) == "ABORTED"
        assert alice.say(path, "endTime") is not None
        assert "ABORTED" in alice.refused("POST", f"{path}/phase", 409, data={"PHASE": "RUN"})

    @pytest.mark.parametrize("phase", ["RUNNING", "COMPLETED", "run", ""])
    def test_only_run_and_abort_are_phases_to_ask_for(self, alice: Uws, phase: str) -> None:
        assert "allowed RUN or ABORT" in alice.refused("POST", f"{alice.make()}/phase", data={"PHASE": phase})

    def test_delete_and_its_form_for_browsers_remove_a_job(self, alice: Uws) -> None:
        """2.2.3.2: both lead to the job list."""
        one, two = alice.make(), alice.make()
        assert alice.led(alice.http.delete(one)) == LIST
        assert alice.post(two, ACTION="DELETE") == LIST
        for path in (one, two):
            alice.refused("GET", path, 404)
            alice.refused("DELETE", path, 404)
            assert number(path) not in alice.ids(PHASE=list(PHASES))
        assert "ACTION" in alice.refused("POST", alice.make(), data={"ACTION": "STOP"})


class TestWaiting:
    """2.2.1.1. A test of what returns at once asks for more than the client's own patience."""

    def test_a_pending_job_blocks_for_the_whole_time(self, alice: Uws) -> None:
        path = alice.make()
        for part in ("", "/phase"):
            began = time.monotonic()
            assert alice.http.get(f"{path}{part}", params={"WAIT": 1}).status_code == 200
            assert time.monotonic() - began >= 1

    @pytest.mark.parametrize("seconds", [200, -1])
    def test_it_returns_when_the_phase_changes(self, alice: Uws, seconds: int) -> None:
        path = alice.make()
        told: list[Any] = []
        waiting = threading.Thread(target=lambda: told.append(alice.xml(path, wait=seconds, phase="PENDING")))
        waiting.start()
        Uws(alice.api).post(f"{path}/phase", PHASE="ABORT")
        waiting.join(60)
        assert [said(root, "phase") for root in told] == ["ABORTED"]

    def test_another_phase_than_the_job_is_in_is_not_waited_for(self, alice: Uws) -> None:
        path = alice.make()
        for phase in PHASES[1:]:
            assert said(alice.xml(path, WAIT=200, PHASE=phase), "phase") == "PENDING"

    def test_a_job_that_has_ended_is_not_waited_for(self, alice: Uws) -> None:
        path = alice.make()
        alice.post(f"{path}/phase", PHASE="ABORT")
        assert said(alice.xml(path, WAIT=-1), "phase") == "ABORTED"
        assert said(alice.xml(path, WAIT=200, PHASE="ABORTED"), "phase") == "ABORTED"
        assert said(alice.xml(alice.make(), WAIT=0), "phase") == "PENDING"

    @pytest.mark.parametrize(
        "query",
        ["WAIT=-2", "WAIT=soon", "WAIT=1.5", "WAIT=", "WAIT=1&WAIT=2", "WAIT=1&PHASE=pending", "WAYT=1"],
    )
    def test_what_cannot_be_waited_for_is_refused(self, alice: Uws, query: str) -> None:
        assert query.partition("=")[0] in alice.refused("GET", f"{alice.make()}?{query}") or "PHASE" in query

    def test_a_job_that_is_deleted_meanwhile_is_gone(self, alice: Uws) -> None:
        path = alice.make()
        told: list[int] = []
        waiting = threading.Thread(
            target=lambda: told.append(alice.http.get(path, params={"WAIT": 200}).status_code)
        )
        waiting.start()
        alice.led(Uws(alice.api).http.delete(path))
        waiting.join(60)
        assert told == [404]
