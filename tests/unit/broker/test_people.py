from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker import consents, credentials
from broker.app import create_app
from store.sessions import now
from store.tables import Consent
from tests.unit.broker.conftest import Database, Issuer, Site
from tests.unit.broker.proxies import Chain

DIRAC = "dirac:dirac_local"


def form_token(client: TestClient) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', client.get("/credentials").text)
    assert found
    return found[1]


def press(client: TestClient, button: str, **fields: str) -> Any:
    return client.post(f"/credentials/{button}", data={"form_token": form_token(client), **fields})


def begun(site: Site, issuer: Issuer, user: str = "alice", system: str = DIRAC) -> dict[str, str]:
    """Go to the login page and log in; gives what the browser brings back."""
    answer = press(site.as_user(user), "connect", system=system)
    assert answer.status_code == 303
    return issuer.log_in(answer.headers["location"])


def standing(site: Site, user: str = "alice") -> dict[str, str]:
    found = site.as_user(user).get("/api/credentials").json()["credentials"]
    return {row["system"]: row["standing"] for row in found}


def test_a_user_connects_dirac_with_pkce(site: Site, issuer: Issuer) -> None:
    assert standing(site) == {DIRAC: "not connected", "iam": "not connected", "x509": "not connected"}
    location = press(site.client, "connect", system=DIRAC).headers["location"]
    assert location.startswith(f"{issuer.url}/authorization?")
    assert "code_challenge_method=S256" in location
    assert "scope=vo%3Actao+group%3Actao_user" in location
    back = site.client.get("/callback", params=issuer.log_in(location))
    assert back.status_code == 303
    assert back.headers["location"].endswith("/batch-broker/credentials?told=dirac%3Adirac_local")
    assert standing(site)[DIRAC] == "connected"
    assert "connected" in site.client.get("/credentials", params={"told": DIRAC}).text
    assert standing(site, "bob")[DIRAC] == "not connected"


def test_the_code_alone_gives_nobody_a_token(site: Site, issuer: Issuer) -> None:
    issuer.codes["stolen"] = "of another verifier"
    state = begun(site, issuer)["state"]
    answer = site.client.get("/callback", params={"code": "stolen", "state": state})
    assert answer.status_code == 400
    assert "does not take the code" in answer.text
    assert standing(site)[DIRAC] == "not connected"


def test_a_state_works_once_for_its_user_for_ten_minutes(
    site: Site, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = begun(site, issuer)
    assert site.as_user("bob").get("/callback", params=back).status_code == 400
    assert site.as_user("alice").get("/callback", params=back).status_code == 303
    assert site.client.get("/callback", params=back).status_code == 400
    late, really = begun(site, issuer), now
    monkeypatch.setattr(consents, "now", lambda: really() + timedelta(minutes=11))
    assert site.client.get("/callback", params=late).status_code == 400
    assert standing(site, "bob")[DIRAC] == "not connected"


def test_the_database_has_neither_state_nor_verifier(site: Site, issuer: Issuer, database: Database) -> None:
    location = press(site.client, "connect", system=DIRAC).headers["location"]
    state = issuer.log_in(location)["state"]
    with database.transaction() as session:
        (consent,) = session.query(Consent).all()
        assert consent.state != state
        assert b"verifier" not in consent.secret


def test_somebody_else_at_the_login_page_connects_nothing(site: Site, issuer: Issuer) -> None:
    issuer.user = "bob"
    answer = site.client.get("/callback", params=begun(site, issuer))
    assert answer.status_code == 400
    assert "says that bob has logged in, and you are alice here" in answer.text
    assert standing(site)[DIRAC] == "not connected"
    assert issuer.live == set()  # given back


@pytest.mark.parametrize("system", [DIRAC, "iam"])
def test_a_refusal_at_the_login_page_is_told_in_words(site: Site, issuer: Issuer, system: str) -> None:
    state = begun(site, issuer, system=system)["state"]
    told = {"error": "access_denied", "error_description": "refused <b>by</b> the user", "state": state}
    answer = site.client.get("/callback", params=told)
    assert answer.status_code == 400
    assert f"{system} was not connected: refused &lt;b&gt;by&lt;/b&gt; the user" in answer.text


@pytest.mark.parametrize("query", [{}, {"state": "x"}, {"code": "x"}, {"state": "\x00", "code": "\x00"}])
def test_a_callback_that_nobody_began_is_refused(site: Site, query: dict[str, str]) -> None:
    answer = site.client.get("/callback", params=query)
    assert answer.status_code == 400
    assert "begun by another user" in answer.text


@pytest.mark.parametrize("button", ["connect", "disconnect", "proxy"])
@pytest.mark.parametrize("whose", ["nobody's", "another user's"])
def test_forms_of_another_page_are_refused(site: Site, button: str, whose: str) -> None:
    token = form_token(site.as_user("bob")) if whose == "another user's" else ""
    data = {"form_token": token, "system": DIRAC}
    answer = site.as_user("alice").post(f"/credentials/{button}", data=data, files={"proxy": b"x"})
    assert answer.status_code == 403
    assert "open the page again" in answer.text


@pytest.mark.parametrize(
    "system", ["", "x509", "dirac:other", "dirac_local", "dirac:esap_vault", "../x", "x" * 300]
)
def test_what_is_no_system_cannot_be_connected(site: Site, system: str) -> None:
    assert press(site.client, "connect", system=system).status_code in (400, 404)


def test_a_user_disconnects_their_own_and_no_others(site: Site, issuer: Issuer) -> None:
    site.client.get("/callback", params=begun(site, issuer))
    assert press(site.as_user("bob"), "disconnect", system=DIRAC).status_code == 404
    assert site.client.delete(f"/api/credentials/{DIRAC}").status_code == 404
    assert press(site.as_user("alice"), "disconnect", system=DIRAC).status_code == 303
    assert issuer.live == set()
    assert standing(site)[DIRAC] == "not connected"


def test_a_script_connects_by_the_device_flow(site: Site, issuer: Issuer) -> None:
    begin = site.client.post("/api/devices", json={"system": DIRAC})
    assert begin.status_code == 201
    flow = begin.json()
    assert flow["user_code"] == "AB-CD"
    assert "device_code" not in flow

    def poll(user: str) -> Any:
        return site.as_user(user).post("/api/devices/poll", json={"id": flow["id"]})

    assert poll("alice").status_code == 202
    assert poll("bob").status_code == 400
    issuer.devices = dict.fromkeys(issuer.devices, True)
    assert poll("alice").json() == {"standing": "connected", "system": DIRAC}
    assert poll("alice").status_code == 400
    assert standing(site)[DIRAC] == "connected"


def test_an_answer_of_one_flow_does_not_fit_the_other(site: Site, issuer: Issuer) -> None:
    flow = site.client.post("/api/devices", json={"system": DIRAC}).json()
    answer = site.client.get("/callback", params={"state": flow["id"], "code": "x"})
    assert answer.status_code == 400
    state = begun(site, issuer)["state"]
    assert site.client.post("/api/devices/poll", json={"id": state}).status_code == 400


def test_a_refused_device_is_over(site: Site, issuer: Issuer) -> None:
    flow = site.client.post("/api/devices", json={"system": DIRAC}).json()
    issuer.refuse = (400, {"error": "access_denied"})
    assert site.client.post("/api/devices/poll", json={"id": flow["id"]}).status_code == 400
    issuer.refuse = None
    assert "has been used" in site.client.post("/api/devices/poll", json={"id": flow["id"]}).json()["detail"]


def test_a_proxy_is_uploaded_on_the_page_and_by_a_script(site: Site) -> None:
    pem = Chain().pem()
    files = {"proxy": ("x509up", pem.encode())}
    data = {"form_token": form_token(site.client)}
    assert site.client.post("/credentials/proxy", data=data, files=files).status_code == 303
    assert standing(site) == {DIRAC: "not connected", "iam": "not connected", "x509": "connected"}
    assert "PRIVATE KEY" not in site.client.get("/credentials").text
    answer = site.as_user("bob").put("/api/credentials/x509", content=pem)
    assert answer.json()["subject"] == "CN=Alice Archer,O=Example,C=EU"
    assert credentials.hand_out("bob", "x509").secret == pem


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nabc\n-----END"])
def test_what_is_no_proxy_is_refused_in_words(site: Site, content: bytes) -> None:
    answer = site.client.put("/api/credentials/x509", content=content)
    assert answer.status_code == 400
    assert answer.json()["detail"]


def test_ten_megabytes_are_no_proxy(site: Site) -> None:
    assert site.client.put("/api/credentials/x509", content=b"x" * 10_000_000).status_code == 413
    files, data = {"proxy": ("x", b"x" * 10_000_000)}, {"form_token": form_token(site.client)}
    assert site.client.post("/credentials/proxy", data=data, files=files).status_code == 400


def test_administrators_see_states_and_no_secrets(site: Site, issuer: Issuer) -> None:
    site.client.get("/callback", params=begun(site, issuer))
    for path in ("/api/all-credentials", "/credentials"):
        answer = site.as_user("carol").get(path)
        assert answer.status_code == 200
        assert "sub-alice" in answer.text or "alice" in answer.text
        assert not any(refresh in answer.text for refresh in issuer.live)
    assert site.client.post("/api/reseal").json() == {"resealed": 1, "unreadable": []}
    assert site.as_user("bob").get("/api/all-credentials").status_code == 403
    assert site.client.post("/api/reseal").status_code == 403
    assert "Other users" not in site.client.get("/credentials").text


def test_without_a_session_the_page_leads_to_the_login_and_the_rest_is_refused(database: Database) -> None:
    client = TestClient(create_app(), follow_redirects=False)
    answer = client.get("/credentials")
    assert answer.status_code == 303
    assert "/auth/login?next=" in answer.headers["location"]
    refused: list[Any] = [
        client.get("/callback", params={"state": "x", "code": "y"}),
        client.post("/credentials/connect", data={"system": DIRAC}),
        client.get("/api/credentials"),
        client.post("/api/devices", json={"system": DIRAC}),
        client.put("/api/credentials/x509", content=b"x"),
        client.delete(f"/api/credentials/{DIRAC}"),
        client.post("/api/reseal"),
    ]
    assert [r.status_code for r in refused] == [401] * len(refused)
