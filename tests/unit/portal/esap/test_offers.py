"""Offers: asked for, looked at, accepted; by whom not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from portal.core import offers
from store import sessions

Esap = Callable[..., TestClient]
WORKFLOW, STEERING = "urn:esap-batch:workflow-1.0", "urn:esap-batch:steering-file-1.0"
HELLO = {"type": WORKFLOW, "workflow": "hello_world", "request": {"n_jobs": 4}}


def asked(client: TestClient, executable: Any = HELLO) -> dict[str, Any]:
    answer = client.post("offersets", json={"name": "n", "executable": executable})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def update(value: str = "ACCEPTED", **options: Any) -> dict[str, Any]:
    return {"update": {"type": "uri:enum-value-update", "path": "phase", "value": value}, **options}


def test_offers_come_from_what_the_user_may_use(alice: TestClient, esap: Esap) -> None:
    found = asked(alice)
    assert (found["result"], found["name"]) == ("YES", "n")
    assert [o["esap"]["facility"] for o in found["offers"]] == ["lapalma", "cscs", "fair-slurm"]
    assert "7 of 2000 jobs are taken" in found["offers"][0]["esap"]["reasons"]
    refused = {m["values"]["facility"] for m in found["messages"]}
    assert {"km3net-local", "cta-dirac", "egi-dirac", "reana"} <= refused
    assert [o["esap"]["facility"] for o in asked(esap("dave"))["offers"]] == ["km3net-local", "fair-slurm"]
    assert esap().post("offersets", json={"executable": HELLO}).status_code == 401


def test_the_same_offers_are_there_to_look_at_again(alice: TestClient, bob: TestClient) -> None:
    found = asked(alice)
    again = alice.get(found["href"]).json()
    assert [o["uuid"] for o in again["offers"]] == [o["uuid"] for o in found["offers"]]
    assert [o["expires"] for o in again["offers"]] == [o["expires"] for o in found["offers"]]
    one = alice.get(found["offers"][0]["href"]).json()
    assert (one["phase"], one["uuid"]) == ("OFFERED", found["offers"][0]["uuid"])
    assert bob.get(found["href"]).status_code == 404
    assert bob.get(found["offers"][0]["href"]).status_code == 404


def test_accepting_makes_one_job_there(alice: TestClient, bob: TestClient, triggered: list[Any]) -> None:
    offer = asked(alice)["offers"][1]
    assert bob.post(offer["href"], json=update()).status_code == 404
    waiting = alice.post(offer["href"], json=update(start=False, runId="label")).json()
    assert (waiting["phase"], waiting["job"]["phase"], triggered) == ("ACCEPTED", "PENDING", [])
    alice.post(offer["href"], json=update())
    alice.post(offer["href"], json=update())
    assert [(dag, conf) for dag, _run, conf in triggered] == [
        ("hello_world", {"n_jobs": 4, "facility": "cscs"})
    ]
    job = alice.get(waiting["job"]["url"]).json()
    assert (job["runId"], job["quote"]) == ("label", offer["esap"]["expected_end"])
    assert alice.get("uws/jobs/").json()["count"] == 1


def test_an_offer_makes_no_job_beside_an_equal_one_elsewhere(alice: TestClient, triggered: list[Any]) -> None:
    first, second, _ = asked(alice)["offers"]
    standing = alice.post(first["href"], json=update()).json()["job"]
    refused = alice.post(second["href"], json=update())
    assert refused.status_code == 409
    assert f"job {standing['jobId']} of an equal request is QUEUED, at lapalma" in refused.json()["detail"]
    assert alice.get(second["href"]).json()["phase"] == "OFFERED"
    assert len(triggered) == 1


def test_an_offer_holds_for_an_hour_and_what_was_accepted_stays(
    alice: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, _ = asked(alice)["offers"]
    alice.post(first["href"], json=update(start=False))
    later = sessions.now() + timedelta(seconds=3601)
    for module in (offers, sessions):
        monkeypatch.setattr(module, "now", lambda: later)
    assert alice.get(second["href"]).json()["phase"] == "EXPIRED"
    refused = alice.post(second["href"], json=update())
    assert refused.status_code == 409
    assert "has expired" in refused.json()["detail"]
    assert alice.get(first["href"]).json()["phase"] == "ACCEPTED"
    assert alice.post(first["href"], json=update("CANCELLED")).json()["phase"] == "CANCELLED"


def test_nothing_is_cancelled_that_was_not_accepted(alice: TestClient) -> None:
    assert alice.post(asked(alice)["offers"][0]["href"], json=update("CANCELLED")).status_code == 409


@pytest.mark.parametrize("change", ["x", "", "."])
def test_a_token_that_was_never_given(alice: TestClient, change: str) -> None:
    offer = asked(alice)["offers"][0]["href"]
    assert alice.get(f"{offer[:-4]}{change}/").status_code == 404
    as_set = asked(alice)["href"].replace("/offersets/", "/sessions/")
    assert alice.get(as_set).status_code == 404


@pytest.mark.parametrize(
    ("executable", "status"),
    [
        (None, 400),
        ({}, 400),
        ({"type": WORKFLOW}, 400),
        ({"type": WORKFLOW, "workflow": "hello_world", "request": []}, 400),
        ({"type": WORKFLOW, "workflow": "hello_world", "request": {"n_jobs": 0}}, 400),
        ({"type": WORKFLOW, "workflow": "hello_world", "evil": 1}, 400),
        ({"type": WORKFLOW, "workflow": "no_such"}, 404),
        ({"type": WORKFLOW, "workflow": "km3net_concordia"}, 403),
        ({"type": STEERING}, 400),
        ({"type": STEERING, "steering": "no-such"}, 404),
    ],
)
def test_what_cannot_be_asked(alice: TestClient, executable: Any, status: int) -> None:
    answer = alice.post("offersets", json={"executable": executable})
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    "body",
    [
        {
            "executable": {
                "type": "https://www.purl.org/ivoa.net/EB/schema/types/executable/docker-container-1.0"
            }
        },
        {"executable": HELLO, "computer": {"cores": {"min": 4}}},
        {"executable": HELLO, "schedule": {"requested": {"duration": "PT1H"}}},
    ],
)
def test_what_the_standard_has_and_this_service_not_is_answered_no(alice: TestClient, body: Any) -> None:
    answer = alice.post("offersets", json=body)
    assert (answer.status_code, answer.json()["result"]) == (200, "NO")
    assert answer.json()["messages"][0]["message"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        update("REJECTED"),
        update(start="yes"),
        update(runId="a\nb"),
        update(evil=1),
        {"update": {"type": "uri:string-value-update", "path": "phase", "value": "ACCEPTED"}},
        {"update": {"type": "uri:enum-value-update", "path": "owner", "value": "ACCEPTED"}},
        {"update": {"type": ["x"], "path": {}, "value": 1}},
    ],
)
def test_updates_that_are_none(alice: TestClient, triggered: list[Any], body: Any) -> None:
    offer = asked(alice)["offers"][0]["href"]
    assert alice.post(offer, json=body).status_code == 400
    assert triggered == []
    assert alice.get(offer).json()["phase"] == "OFFERED"


def test_a_steering_file_gets_offers_too(alice: TestClient, bob: TestClient) -> None:
    file = alice.post("batch/steering/", json={"workflow": "hello_world", "request": {"n_jobs": 2}}).json()
    executable = {"type": STEERING, "steering": file["uuid"]}
    assert asked(alice, executable)["offers"][0]["esap"]["jobs"] == 2
    assert bob.post("offersets", json={"executable": executable}).status_code == 404


def test_the_longest_request_is_refused_rather_than_cut(alice: TestClient) -> None:
    long = {"OPTIONS": ["CERENKOV"], "job_name": "".join(chr(0x4E00 + n) for n in range(80)), "NSHOW": 20}
    found = asked(alice, {"type": WORKFLOW, "workflow": "cta_concordia", "request": long})
    assert all(len(o["href"]) < 6500 for o in found["offers"])
